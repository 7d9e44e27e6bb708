"""A study: its configuration, its tables at one moment, and the lock.

``Study.open(path)`` sees the newest version of every table. ``Study.open(path, at=...)`` is a
snapshot: a night that runs meanwhile changes nothing of what it reads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from likewise.errors import MissingTableError, StorageError, StudyBusyError, StudyError
from likewise.funnel import Funnel
from likewise.growth import Growth
from likewise.logs import Run, current_run, study_log
from likewise.moments import NIGHTS, At, decoded, versions_at
from likewise.stage import Stage
from likewise.store import Manifest, Store, local_path, open_part
from likewise.tables import MADE_BY
from likewise.whole import fingerprint, sweep, write_json

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

    from likewise.config import Config

__all__ = [
    "IMPORTED",
    "MADE_BY",
    "MARK",
    "At",
    "Manifest",
    "Stage",
    "Study",
    "fingerprint",
    "lost_part",
    "open_part",
    "refuse_links",
    "root_of",
    "write_json",
]

LOOKS = 4
"""Times that a lock which is held is asked for again, 50 ms apart."""

MARK = "LIKEWISE_AT_WORK_ON"
"""Variable that a run's processes inherit: so those that outlive a killed run can be found."""

PARQUET_END = b"PAR1"


def lost_part(part: str | os.PathLike[str], table: str, study: str) -> StudyError:
    """The error about a part that somebody has deleted, with what brings its rows back."""
    verb, path = MADE_BY.get(table, table), os.fspath(part)
    again = f"{verb} {study}{'' if verb in MENDS_ITSELF else ' --redo'}"
    if path.rsplit("/", 1)[-1].startswith(IMPORTED):
        again = f"import {study} SOURCE, with the source that the part is named after"
    return StudyError(
        f"{path}, a part of {table}, is not there",
        hint=f"this brings back what it held: likewise {again}",
    )


IMPORTED = "import-"
"""So begin the names of the parts that ``import`` writes, each with its source's name."""

MENDS_ITSELF = ("collect", "download", "faces", "extract")
"""Verbs that notice a lost part of their table and make it again; others take --redo."""


def root_of(path: str | os.PathLike[str]) -> Path:
    """Absolute folder of the study at ``path``.

    Raises:
        StudyError: it is the address of an object store.
    """
    if "://" in os.fspath(path):
        raise StudyError(
            f"{path} is an address, expected a folder",
            hint="a study's journal lives in a folder; its tables may lie elsewhere: store = \""
            f'{path}" under [study] of its likewise.toml',
        )
    return Path(path).absolute()


UNLOCKED = ("score", "review")
"""Folders below ``reports`` into which servers and ``score`` write without the study's lock."""


class Study:
    """One question's folder. ``Study.open(path)`` reads and validates its ``likewise.toml``."""

    def __init__(
        self, root: Path, config: Config, versions: Mapping[str, int] | None = None
    ) -> None:
        self.root = root
        self.config = config
        self.store = Store(config.study.store.rstrip("/") or str(root / "tables"))
        self.versions = versions
        """Version of each table that this snapshot shows; None sees the newest."""

    @classmethod
    def open(
        cls, path: Study | str | os.PathLike[str], at: At | Mapping[str, int] | None = None
    ) -> Study:
        """Open an existing study; ``at`` gives a snapshot that nothing changes any more.

        Args:
            path: The study's folder.
            at: Number of a night (its tables as that run left them), a moment (the last night that
                had ended then), ``"now"`` (the newest version of every table), the ``versions`` of
                another snapshot, or None: not a snapshot, reads see what is published meanwhile.

        Raises:
            StudyError: the folder is missing or is a file; there was no such night.
            ConfigError: ``likewise.toml`` is not valid.
        """
        if isinstance(path, Study):
            return path if at is None else cls(path.root, path.config, _pinned(path, at))
        from likewise.config import load

        root = root_of(path)
        if root.is_file():
            raise StudyError(f"{root} is a file, expected a study folder")
        config_file = root / "likewise.toml"
        if not config_file.is_file():
            raise StudyError(
                f"{config_file} does not exist", hint=f"make a study with: likewise init {path}"
            )
        study = cls(root, load(config_file))
        return study if at is None else cls(root, study.config, _pinned(study, at))

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

    def tables(self) -> list[str]:
        """Tables that are there, in order of their names."""
        return sorted(self.versions) if self.versions is not None else self.store.names()

    def manifest(self, table: str) -> Manifest | None:
        """What made the table, and what it holds; None when there is none."""
        version = None if self.versions is None else self.versions.get(table)
        if self.versions is not None and version is None:
            return None
        manifest = self.store.manifest(table, version)
        # An itemwise table that no run has finished yet holds some rows, but is not published.
        unfinished = manifest is not None and manifest.extra.get("unfinished", False)
        return None if unfinished else manifest

    def require(self, table: str, stage: str | None = None) -> Manifest:
        """Manifest of the table.

        Raises:
            MissingTableError: it has not been published; the hint names the stage that makes it.
            StudyError: its rows stand in a table of an older layout.
        """
        manifest = self.manifest(table)
        if manifest is None:
            pictures = self.manifest("pictures") if table == "fetches" else None
            if pictures is not None and "publication" not in pictures.extra:
                raise StudyError(
                    f"{self.root}: 'pictures' is of the layout before 'fetches'",
                    hint=f"convert the study with: likewise upgrade {self.root}",
                )
            raise MissingTableError(
                f"{self.root}: there is no table {table!r} yet",
                hint=f"run: likewise {stage or MADE_BY.get(table, 'run')} {self.root}",
            )
        return manifest

    def parts(self, table: str, bucket: int | None = None) -> list[str]:
        """Paths (or addresses) of the table's Parquet parts, for Spark, DuckDB and workers.

        ``pyarrow.parquet`` opens them through ``open_part``. ``bucket`` gives those of one bucket.
        """
        maker = self.require(table).extra.get("maker", "")
        version = None if self.versions is None else self.versions[table]
        head = maker if bucket is None else f"b{bucket:04d}-"
        return self.store.parts(table, version, head)

    def dataset(self, table: str, parts: Sequence[str] | None = None) -> ds.Dataset:
        """The published table as a pyarrow dataset (lazy: columns and filters push down).

        ``parts`` gives only those of ``Study.parts``.
        """
        import pyarrow.dataset as ds

        from likewise.store import filesystem_of
        from likewise.tables import TABLES, features_schema

        parts = self.parts(table) if parts is None else parts
        if not parts:
            layers = self.require(table).extra.get("layers")
            schema = TABLES[table].schema if layers is None else features_schema(layers)
            return ds.dataset(schema.empty_table())
        filesystem, paths = filesystem_of(parts)
        form = ds.ParquetFileFormat(
            default_fragment_scan_options=ds.ParquetFragmentScanOptions(
                page_checksum_verification=True
            )
        )
        try:
            return ds.dataset(paths, format=form, partitioning=None, filesystem=filesystem)
        except FileNotFoundError as error:
            raise lost_part(str(error), table, str(self.root)) from error

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
        """Start (or go on with) the stage that makes ``table`` anew, as its next version.

        ``Stage.done`` is true when the newest version was made from the same rows of ``inputs``,
        the same ``params`` and the same ``code`` (a number that the stage raises whenever its rows
        would change), unless ``redo`` is true. Earlier versions stay readable.

        Raises:
            MissingTableError: an input has not been published.
            StudyError: a part of an input is missing or damaged; or this is a snapshot.
        """
        if self.versions is not None:
            raise StudyError(f"{self.root} was opened as a snapshot: nothing can be made in it")
        made_from = {
            "stage": MADE_BY.get(table, table),
            "inputs": {name: self._whole(name).fingerprint for name in inputs},
            "params": dict(params or {}),
            "code": code,
            "n_buckets": n_buckets,
        }
        return Stage(self, table, made_from, n_buckets, redo=redo)

    def grow(
        self, table: str, maker: Mapping[str, Any], inputs: Sequence[str], *, redo: bool = False
    ) -> Growth:
        """Start (or go on with) the itemwise stage that gives ``table`` the rows of missing items.

        ``maker`` is who computes them: network or detector, weights, preprocessing, code number.

        Raises:
            MissingTableError: an input has not been published.
            StudyError: a part of an input is missing or damaged; or this is a snapshot.
        """
        if self.versions is not None:
            raise StudyError(f"{self.root} was opened as a snapshot: nothing can be made in it")
        prints = {name: self._whole(name).fingerprint for name in inputs}
        return Growth(self, table, maker, prints, redo=redo)

    def _whole(self, table: str) -> Manifest:
        """Manifest of a table whose parts are there and end as Parquet files do."""
        manifest = self.require(table)
        if table == "pictures":
            self.require("fetches")  # without it these are pictures of the older layout
        for part in filter(None, map(local_path, self.parts(table))):
            try:
                with part.open("rb") as file:
                    file.seek(max(part.stat().st_size - len(PARQUET_END), 0))
                    whole = file.read() == PARQUET_END
            except FileNotFoundError:
                raise lost_part(part, table, str(self.root)) from None
            if not whole:
                lost = lost_part(part, table, str(self.root))
                raise StudyError(f"{part} is not a whole Parquet file", hint=lost.hint)
        return manifest

    def nights(self) -> list[dict[str, Any]]:
        """Runs that have ended, oldest first: ``night``, ``ended_at``, ``versions`` by table."""
        return [] if self.store.open(NIGHTS) is None else decoded(self.read(NIGHTS).to_pylist())

    def current(self) -> dict[str, int]:
        """Newest version of every table."""
        found = {name: self.store.open(name) for name in self.store.names()}
        return {name: int(table.version()) for name, table in found.items() if table is not None}

    @property
    def run(self) -> Run | None:
        """The run that holds this study here; None where nobody in this thread or task does."""
        run = current_run()
        return run if run is not None and run.root == self.root else None

    @contextlib.contextmanager
    def lock(self) -> Iterator[Run]:
        """Hold the study for one run. The lock dies with its process, also with kill -9.

        Inside of a block that holds it already it is the same run.

        Raises:
            StudyBusyError: another process holds it; the error names its pid.
            StudyError: a folder that the run would write into is a link.
        """
        if (run := self.run) is not None:
            yield run
            return
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            handle = os.fdopen(os.open(self.root / ".lock", flags, 0o644), "r+", encoding="utf-8")
        except OSError as error:
            raise StorageError(f"{self.root} cannot be written: {error.strerror}") from error
        with handle:
            try:
                _hold(handle)
            except BlockingIOError:
                handle.seek(0)
                text = handle.read().strip()
                raise StudyBusyError(self.root, int(text) if text.isdigit() else None) from None
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            refuse_links(self.root)
            shutil.rmtree(self.root / ".staging", ignore_errors=True)
            sweep(self.root / "models")
            sweep(self.root / "reports", but=UNLOCKED)
            before = os.environ.get(MARK)
            os.environ[MARK] = str(self.root)
            try:
                with study_log(self.root) as run:
                    yield run
            finally:
                if before is None:
                    os.environ.pop(MARK, None)
                else:
                    os.environ[MARK] = before


def _hold(handle: IO[str]) -> None:
    """Take the lock; `status`, which asks whether it is free, has it for an instant itself."""
    for left in reversed(range(LOOKS)):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not left:
                raise
        time.sleep(0.05)


def refuse_links(root: Path) -> None:
    """Nothing that a run writes into or deletes may be a link: it could lead anywhere."""
    places = [root, root / "tables", *(root / "tables").glob("*/")]
    for entry in (entry for place in places if place.is_dir() for entry in place.iterdir()):
        if entry.is_symlink() and entry.name != "likewise.toml":
            raise StudyError(
                f"{entry} is a link, and a run would write or delete where it leads",
                hint="put the file or folder itself in its place; another disk is mounted there",
            )


def _pinned(study: Study, at: At | Mapping[str, int]) -> dict[str, int]:
    if isinstance(at, Mapping):
        return dict(at)
    return study.current() if at == "now" else versions_at(study.nights(), at)
