"""A study folder: its tables, their fingerprints, atomic publishing and the lock.

A table is a directory ``tables/NAME/`` that holds

* ``FINGERPRINT/``: its Parquet parts, in ``bucket=NNNN/`` folders for long stages, and
* ``_table.json``: the manifest, which names the current fingerprint.

Parts are written below ``.staging/`` and renamed into place; the manifest is replaced last and at
once (``os.replace``), so a reader sees the old table or the new one and never half of one.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likewise import __version__
from likewise.errors import (
    FingerprintError,
    MissingTableError,
    StudyBusyError,
    StudyError,
)
from likewise.funnel import Funnel
from likewise.logs import study_log

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

    from likewise.config import Config

__all__ = ["MADE_BY", "Manifest", "Stage", "Study", "fingerprint", "root_of", "write_json"]

MANIFEST = "_table.json"
PARQUET_END = b"PAR1"


def fingerprint(parts: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of the sha256 of ``parts`` as canonical JSON."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_json(path: Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write JSON so that a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with staged.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, ensure_ascii=False, default=str)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(staged, path)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``_table.json`` says: which rows are current and what made them."""

    table: str
    fingerprint: str
    rows: int
    made_from: Mapping[str, Any]
    funnel: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    version: str = __version__
    published_at: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], source: Path) -> Manifest:
        """A manifest as ``source`` holds it; keys that are not known here are left aside.

        Raises:
            StudyError: a later likewise has written it, or it is no manifest.
        """
        known = {name: raw[name] for name in cls.__dataclass_fields__ if name in raw}
        written_by = str(known.get("version", __version__))
        # Patches keep the meaning of what is there (semver.org); anything larger need not.
        if _release(written_by) > _release(__version__):
            raise StudyError(
                f"{source} was written by likewise {written_by}, newer than this {__version__}",
                hint="install that version or a later one: pip install --upgrade likewise",
            )
        try:
            return cls(**known)
        except TypeError as error:
            raise StudyError(
                f"{source} is not a manifest: {error}", hint="delete it and run the stage"
            ) from None


def _release(version: str) -> tuple[int, int]:
    """Major and minor number; (0, 0) for what is no version."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def root_of(path: str | os.PathLike[str]) -> Path:
    """Absolute folder of the study at ``path``.

    Raises:
        StudyError: it is the address of an object store.
    """
    if "://" in os.fspath(path):
        raise StudyError(
            f"{path} is an address, expected a folder",
            hint="studies live in folders: mount the store and give the path it is mounted at",
        )
    return Path(path).absolute()


class Study:
    """One question's folder. ``Study.open(path)`` reads and validates its ``likewise.toml``."""

    def __init__(self, root: Path, config: Config) -> None:
        self.root = root
        self.config = config

    @classmethod
    def open(cls, path: Study | str | os.PathLike[str]) -> Study:
        """Open an existing study.

        Raises:
            StudyError: the folder is missing or is a file.
            ConfigError: ``likewise.toml`` is not valid.
        """
        if isinstance(path, Study):
            return path
        from likewise.config import load

        root = root_of(path)
        if root.is_file():
            raise StudyError(f"{root} is a file, expected a study folder")
        config_file = root / "likewise.toml"
        if not config_file.is_file():
            raise StudyError(
                f"{config_file} does not exist", hint=f"make a study with: likewise init {path}"
            )
        return cls(root, load(config_file))

    # -- places ---------------------------------------------------------------------------

    @property
    def journal_path(self) -> Path:
        """``journal.sqlite``: cursors, calls, budgets and failures of the crawl."""
        return self.root / "journal.sqlite"

    def folder(self, *names: str) -> Path:
        """A folder below the study (``models``, ``reports``, ``logs``, ...), made when missing."""
        path = self.root.joinpath(*names)
        path.mkdir(parents=True, exist_ok=True)
        return path

    # -- reading --------------------------------------------------------------------------

    def manifest(self, table: str) -> Manifest | None:
        """Manifest of the published table, or None when there is none."""
        path = self.root / "tables" / table / MANIFEST
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise StudyError(
                f"{path} is damaged: {error}", hint="delete it and run the stage"
            ) from error
        return Manifest.from_dict(raw if isinstance(raw, Mapping) else {}, path)

    def require(self, table: str, stage: str | None = None) -> Manifest:
        """Manifest of the table.

        Raises:
            MissingTableError: it has not been published; the hint names the stage that makes it.
        """
        manifest = self.manifest(table)
        if manifest is None:
            raise MissingTableError(
                f"{self.root}: there is no table {table!r} yet",
                hint=f"run: likewise {stage or MADE_BY.get(table, 'run')} {self.root}",
            )
        return manifest

    def table_path(self, table: str) -> Path:
        """Directory with the Parquet parts of the published table (for Spark and DuckDB)."""
        return self.root / "tables" / table / self.require(table).fingerprint

    def dataset(self, table: str) -> ds.Dataset:
        """The published table as a pyarrow dataset (lazy: columns and filters push down)."""
        import pyarrow.dataset as ds

        return ds.dataset(self.table_path(table), format="parquet", partitioning=None)

    def read(self, table: str, columns: Sequence[str] | None = None, **scan: Any) -> pa.Table:
        """The published table in memory; ``scan`` goes to ``Dataset.to_table`` (``filter=...``)."""
        return self.dataset(table).to_table(
            columns=None if columns is None else list(columns), **scan
        )

    def funnels(self) -> list[Funnel]:
        """Funnels of all published tables, in the order of the stages."""
        manifests = [self.manifest(name) for name in MADE_BY]
        return [Funnel.from_dict(m.funnel) for m in manifests if m is not None and m.funnel]

    # -- writing --------------------------------------------------------------------------

    def begin(
        self,
        table: str,
        *,
        inputs: Sequence[str] = (),
        params: Mapping[str, Any] | None = None,
        code: int = 1,
        redo: bool = False,
        n_buckets: int = 0,
    ) -> Stage:
        """Start (or go on with) the stage that makes ``table``.

        The fingerprint covers the fingerprints of ``inputs``, ``params`` and ``code``, a number
        that the stage raises whenever its rows would change. ``Stage.done`` is true when the
        table of this fingerprint is published already.

        Raises:
            MissingTableError: an input has not been published.
            StudyError: a part of an input is missing or damaged.
            FingerprintError: the table, or a part of it, was made from something else.
        """
        made_from = {
            "stage": MADE_BY.get(table, table),
            "inputs": {name: self._whole(name).fingerprint for name in inputs},
            "params": dict(params or {}),
            "code": code,
            "n_buckets": n_buckets,
        }
        print_now = fingerprint(made_from)
        base = self.root / "tables" / table
        others = self._other_fingerprints(table, print_now)
        if others and not redo:
            raise FingerprintError(
                f"{base} was made from something else: {self._difference(table, made_from)}",
                hint="make it anew with --redo, or bring the old inputs and parameters back",
            )
        if redo:
            for name in others:
                shutil.rmtree(base / name)
            (base / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(base / print_now, ignore_errors=True)
        return Stage(self, table, print_now, made_from, n_buckets)

    def _whole(self, table: str) -> Manifest:
        """Manifest of a table whose parts all end as Parquet files do."""
        manifest = self.require(table)
        hint = f"make it anew: likewise {MADE_BY.get(table, table)} {self.root} --redo"
        folder = self.table_path(table)
        parts = sorted(folder.rglob("*.parquet"))
        if not parts and manifest.rows:
            raise StudyError(f"{folder} holds no Parquet file, expected {table}", hint=hint)
        for part in parts:
            with part.open("rb") as file:
                file.seek(max(part.stat().st_size - len(PARQUET_END), 0))
                if file.read() != PARQUET_END:
                    raise StudyError(f"{part} is not a whole Parquet file", hint=hint)
        return manifest

    def _other_fingerprints(self, table: str, current: str) -> list[str]:
        base = self.root / "tables" / table
        if not base.is_dir():
            return []
        return sorted(p.name for p in base.iterdir() if p.is_dir() and p.name != current)

    def _difference(self, table: str, made_from: Mapping[str, Any]) -> str:
        manifest = self.manifest(table)
        if manifest is None:
            return "an unfinished run with other inputs or parameters left parts there"
        old, new = _flat(manifest.made_from), _flat(made_from)
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        return ", ".join(f"{key} was {old.get(key)!r}, is {new.get(key)!r}" for key in changed[:5])

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the study for one run. The lock dies with its process, also with kill -9.

        Raises:
            StudyBusyError: another process holds it; the error names its pid.
        """
        try:
            handle = (self.root / ".lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise StudyError(f"{self.root} cannot be written: {error.strerror}") from error
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                text = handle.read().strip()
                raise StudyBusyError(self.root, int(text) if text.isdigit() else None) from None
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            shutil.rmtree(self.root / ".staging", ignore_errors=True)
            with study_log(self.root):
                yield


class Stage:
    """A table in the making. Nothing it writes is visible before ``publish``."""

    def __init__(
        self, study: Study, table: str, print_now: str, made_from: Mapping[str, Any], n_buckets: int
    ) -> None:
        self.study = study
        self.table = table
        self.fingerprint = print_now
        self.made_from = made_from
        self.n_buckets = n_buckets
        self.path = study.root / "tables" / table / print_now

    @property
    def done(self) -> bool:
        """True when this very table is published already."""
        manifest = self.study.manifest(self.table)
        return manifest is not None and manifest.fingerprint == self.fingerprint

    @property
    def manifest(self) -> Manifest:
        """Manifest of the published table."""
        return self.study.require(self.table)

    def missing_buckets(self) -> list[int]:
        """Buckets that no run has published yet, in order."""
        return [b for b in range(self.n_buckets) if not (self.path / _bucket_name(b)).is_dir()]

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """A fresh directory to write the whole table's Parquet parts into; renamed on success."""
        with self._staged(self.path) as staged:
            yield staged

    @contextlib.contextmanager
    def bucket(self, bucket: int) -> Iterator[Path]:
        """A fresh directory for one bucket's parts; renamed into the table on success."""
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
            pq.write_table(rows, directory / "part-0000.parquet", compression="zstd")

    def publish(
        self, *, funnel: Funnel | None = None, rows: int | None = None, **extra: Any
    ) -> Manifest:
        """Make the table visible. ``extra`` goes into the manifest (bounds, thresholds, ...).

        Raises:
            StudyError: a part cannot be read back, or buckets are missing.
        """
        missing = self.missing_buckets()
        if missing:
            raise StudyError(f"table {self.table}: buckets {missing[:10]} have not been made")
        manifest = Manifest(
            table=self.table,
            fingerprint=self.fingerprint,
            rows=self._count() if rows is None else rows,
            made_from=self.made_from,
            funnel=None if funnel is None else funnel.to_dict(),
            extra=extra,
            published_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        )
        write_json(self.path.parent / MANIFEST, manifest.to_dict())
        return manifest

    def _count(self) -> int:
        import pyarrow.parquet as pq

        rows = 0
        for part in sorted(self.path.rglob("*.parquet")):
            try:
                rows += pq.read_metadata(part).num_rows
            except Exception as error:
                raise StudyError(
                    f"{part} is not a whole Parquet file: {error}",
                    hint=f"delete {part.parent} and run the stage again",
                ) from error
        return rows


def _bucket_name(bucket: int) -> str:
    return f"bucket={bucket:04d}"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


MADE_BY = {
    "posts": "collect",
    "authors": "collect",
    "kept_posts": "clean",
    "pictures": "download",
    "faces": "faces",
    "labels": "label",
    "features": "extract",
    "comparison": "compare",
    "scores": "rank",
}
