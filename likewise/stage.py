"""A table in the making: parts that nobody sees, and the commit that publishes them."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likewise.errors import StudyError
from likewise.store import Manifest, unique
from likewise.tables import TABLES
from likewise.whole import fingerprint, sha256_of

if TYPE_CHECKING:
    import pyarrow as pa

    from likewise.funnel import Funnel
    from likewise.home import Home

__all__ = ["Stage"]


class Stage:
    """A table in the making. Nothing it writes is visible before ``publish``.

    Parts gather in ``.unfinished/TABLE/MADE/`` of the study's folder, where a killed run finds the
    buckets it had finished; ``publish`` gives them to the store and commits them as one version.
    """

    def __init__(
        self,
        study: Home,
        table: str,
        made_from: Mapping[str, Any],
        n_buckets: int,
        *,
        redo: bool = False,
    ) -> None:
        self.study = study
        self.table = table
        self.made_from = made_from
        self.fingerprint = fingerprint(made_from)
        self.n_buckets = n_buckets
        self.redo = redo
        self.path = study.root / ".unfinished" / table / self.fingerprint

    @property
    def done(self) -> bool:
        """True when the newest version is what this stage would make."""
        manifest = self.study.manifest(self.table)
        return not self.redo and manifest is not None and manifest.made == self.fingerprint

    @property
    def manifest(self) -> Manifest:
        """Manifest of the published table."""
        return self.study.require(self.table)

    def missing_buckets(self) -> list[int]:
        """Buckets that no run has finished yet, in order."""
        return [b for b in range(self.n_buckets) if not (self.path / _bucket_name(b)).is_dir()]

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """A fresh directory to write the whole table's Parquet parts into; renamed on success."""
        with self._staged(self.path) as staged:
            yield staged

    @contextlib.contextmanager
    def bucket(self, bucket: int) -> Iterator[Path]:
        """A fresh directory for one bucket's parts; renamed on success."""
        with self._staged(self.path / _bucket_name(bucket)) as staged:
            yield staged

    @contextlib.contextmanager
    def _staged(self, target: Path) -> Iterator[Path]:
        staged = self.study.folder(".staging") / f"{self.table}-{uuid.uuid4().hex[:12]}"
        staged.mkdir()
        try:
            yield staged
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                shutil.rmtree(target)
            os.rename(staged, target)
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def write(self, rows: pa.Table) -> None:
        """Write the whole table as one Parquet part (small tables)."""
        import pyarrow.parquet as pq

        with self.staging() as directory:
            pq.write_table(
                rows, directory / "part-0000.parquet", compression="zstd", write_page_checksum=True
            )

    def publish(
        self, *, funnel: Funnel | None = None, rows: int | None = None, **extra: Any
    ) -> Manifest:
        """Make the table visible as its next version. ``extra`` goes into the manifest.

        Raises:
            StudyError: a part cannot be read back, or buckets are missing.
            CommitRaceError: another run has published the table meanwhile.
        """
        missing = self.missing_buckets()
        if missing:
            raise StudyError(f"table {self.table}: buckets {missing[:10]} have not been made")
        found = _footers(sorted(self.path.rglob("*.parquet")))
        manifest = self._commit(found, (), funnel, rows, extra)
        shutil.rmtree(self.path.parent, ignore_errors=True)
        return manifest

    def exchange(
        self,
        parts: Sequence[Path],
        kept: Collection[str],
        *,
        fingerprint: str | None = None,
        funnel: Funnel | None = None,
        **extra: Any,
    ) -> Manifest:
        """Publish new ``parts`` beside those of the newest version that are ``kept``, by name.

        So what is written is what is new. ``fingerprint`` names the rows, where the caller knows
        them however they are cut. Errors are those of ``publish``.
        """
        return self._commit(_footers(parts), kept, funnel, None, extra, fingerprint)

    def _commit(
        self,
        found: dict[Path, tuple[int, pa.Schema]],
        kept: Collection[str],
        funnel: Funnel | None,
        rows: int | None,
        extra: Mapping[str, Any],
        named: str | None = None,
    ) -> Manifest:
        store = self.study.store
        before = store.facts(self.table) if kept else {}
        schema = _schema(self.table, next(iter(found.values()))[1] if found else None)
        counted = sum(n for n, _ in found.values()) + sum(before[name].rows for name in kept)
        if named is None:
            named = fingerprint([*sorted(sha256_of(part) for part in found), *sorted(kept)])
        manifest = Manifest(
            table=self.table,
            fingerprint=named,
            rows=counted if rows is None else rows,
            made_from=self.made_from,
            made=self.fingerprint,
            funnel=None if funnel is None else funnel.to_dict(),
            extra=extra,
            published_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        )
        if kept and not found and len(kept) == len(before):  # the rows are those of before
            old = self.study.require(self.table)
            manifest = replace(manifest, fingerprint=old.fingerprint)
        adds = [
            store.put(part, self.table, unique(part.stem, self._bucket_of(part)), n)
            for part, (n, _) in found.items()
        ]
        key = f"{self.fingerprint} after {store.version(self.table)}"
        removes = {name: one.size for name, one in before.items() if name not in kept}
        mode = "append" if kept else "overwrite"
        store.commit(manifest, adds, schema, key=key, mode=mode, removes=removes)
        return manifest

    def _bucket_of(self, part: Path) -> int | None:
        return int(part.parent.name.removeprefix("bucket=")) if self.n_buckets else None


def _schema(table: str, written: pa.Schema | None) -> pa.Schema:
    """What the log says of the columns, with their documentation where the parts lack it."""
    spec = TABLES.get(table)
    if spec is not None and (written is None or written.equals(spec.schema)):
        return spec.schema
    assert written is not None, "a table of another layout has parts"
    return written


def _footers(parts: Sequence[Path]) -> dict[Path, tuple[int, pa.Schema]]:
    """Rows and schema of every part, in the order of their names."""
    import pyarrow.parquet as pq

    found: dict[Path, tuple[int, pa.Schema]] = {}
    for part in parts:
        try:
            with pq.ParquetFile(part) as file:
                found[part] = file.metadata.num_rows, file.schema_arrow
        except Exception as error:
            raise StudyError(
                f"{part} is not a whole Parquet file: {error}",
                hint=f"delete {part.parent} and run the stage again",
            ) from error
    return found


def _bucket_name(bucket: int) -> str:
    return f"bucket={bucket:04d}"
