"""Where a study's tables lie: Delta tables in a folder or at an address of an object store.

Workers write Parquet parts under unique names; one commit to the table's log makes them rows. So a
part that no commit names is not there for any reader, and a reader that has opened a version keeps
it whatever is committed afterwards. What made the rows stands in the commit's metadata under the
key ``likewise``, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from likewise import __version__
from likewise.errors import CommitRaceError, StorageError, StudyError

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable
    from pyarrow.fs import FileSystem
    from pyarrow.parquet import ParquetFile

__all__ = [
    "Manifest",
    "PartFacts",
    "Put",
    "Store",
    "check_store",
    "filesystem_of",
    "local_path",
    "open_input",
    "open_part",
    "parquet_file",
    "unique",
]

KEY = "likewise"
OLD = "_table.json"
"""Manifest of the layout before Delta tables; ``likewise upgrade`` converts it."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a commit says about its table: the rows, what they were made from, and the funnel.

    ``fingerprint`` names the rows: two tables of the same bytes have the same one. ``made`` names
    inputs, parameters and code: a stage that would have the same one has nothing to do.
    """

    table: str
    fingerprint: str
    rows: int
    made_from: Mapping[str, Any]
    made: str = ""
    funnel: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    version: str = __version__
    published_at: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], source: str) -> Manifest:
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


def _said(error: Exception) -> str:
    """What a library says, in one line: delta-rs draws its causes as a tree, in colours."""
    lines = re.sub(r"\x1b\[\d*m", "", str(error)).replace("\u21b3", "\n").splitlines()
    return ": ".join(filter(None, map(str.strip, lines)))


def _object(text: str) -> dict[str, Any]:
    try:
        raw = json.loads(text)
    except json.JSONDecodeError:
        raw = None
    return raw if isinstance(raw, dict) else {}


def _release(version: str) -> tuple[int, int]:
    """Major and minor number; (0, 0) for what is no version."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def local_path(part: str) -> Path | None:
    """The part as a file of this machine; None when it lies in an object store."""
    return None if "://" in part else Path(part)


def open_part(part: str | os.PathLike[str]) -> Any:
    """A part's bytes for ``pyarrow.parquet``: its path, or a random-access file of the store."""
    text = os.fspath(part)
    if "://" not in text:
        return text
    filesystem, path = _filesystem(text)
    return filesystem.open_input_file(path)


def parquet_file(part: str | os.PathLike[str], **options: Any) -> ParquetFile:
    """A part, opened so that pages whose checksum is wrong (a flipped bit) raise OSError."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(open_part(part), page_checksum_verification=True, **options)


def open_input(part: str) -> Any:
    """A part as a random-access file, wherever it lies."""
    filesystem, path = _filesystem(part)
    return filesystem.open_input_file(path)


def filesystem_of(parts: Sequence[str]) -> tuple[FileSystem, list[str]]:
    """The file system of a table's parts, and their paths in it, for ``pyarrow.dataset``."""
    filesystem, first = _filesystem(parts[0])
    head = len(parts[0]) - len(first)
    return filesystem, [part[head:] for part in parts]


def _filesystem(address: str) -> tuple[FileSystem, str]:
    from pyarrow import fs

    if "://" not in address:
        return fs.LocalFileSystem(), address
    if address.startswith("s3://"):
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        if endpoint:
            scheme, _, host = endpoint.partition("://")
            store = fs.S3FileSystem(endpoint_override=host, scheme=scheme)
            return store, address.removeprefix("s3://")
    filesystem, path = fs.FileSystem.from_uri(address)
    return filesystem, path


@contextlib.contextmanager
def _reached(place: str) -> Iterator[None]:
    """Errors of a store that does not answer, or may not be written, named with its address."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if "://" not in place:  # a folder: what the system says of it is told elsewhere
            raise
        raise StorageError(
            f"{place} does not answer, or refuses: {_said(error)}",
            hint="is the store reachable, and do the credentials hold? What was finished stays: "
            "run the same command again",
        ) from error


class PartFacts(NamedTuple):
    """Bytes and rows of a part."""

    size: int
    rows: int


class Put(NamedTuple):
    """A part that lies at its place and that no version names yet.

    Workers answer with it, so it is no action of Delta's: they need not have that package.
    """

    path: str
    size: int
    rows: int
    at: int
    """Milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Store:
    """The place of the tables: ``address`` is an absolute folder, or ``s3://``, ``gs://``, ..."""

    address: str

    @property
    def remote(self) -> bool:
        """Whether it is an object store."""
        return "://" in self.address

    def place(self, name: str) -> str:
        """Address of one table."""
        return f"{self.address}/{name}"

    @property
    def options(self) -> dict[str, str]:
        """What delta-rs is told beside the environment's variables."""
        endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
        return {"allow_http": "true"} if endpoint.startswith("http://") else {}

    # -- reading --------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Tables that are there, in order of their names."""
        from pyarrow import fs

        filesystem, path = _filesystem(self.address)
        listing = fs.FileSelector(path, allow_not_found=True)
        with _reached(self.address):
            found = filesystem.get_file_info(listing)
        names = [info.base_name for info in found if info.type == fs.FileType.Directory]
        return sorted(name for name in names if self.open(name) is not None)

    def open(self, name: str, version: int | None = None) -> DeltaTable | None:
        """The table at a version (None: the latest); None when there is no such table.

        Raises:
            StudyError: it is of the older layout, damaged, or of a newer format.
        """
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, DeltaProtocolError, TableNotFoundError

        place = self.place(name)
        found = None
        try:
            if self.remote or Path(place, "_delta_log").is_dir():
                found = DeltaTable(place, version=version, storage_options=self.options)
        except TableNotFoundError:
            pass  # a log's folder is there before its first commit
        except (DeltaError, OSError) as error:
            if isinstance(error, DeltaProtocolError) or "Unsupported" in str(error):
                raise _newer(place, error) from error
            # What does not answer now may answer later: schedulers try that again.
            kind = StorageError if self.remote and not isinstance(error, DeltaError) else StudyError
            raise kind(
                f"{place} cannot be opened: {_said(error)}",
                hint="is the store reachable? If the log is damaged, delete the table's folder "
                "and run the stage again",
            ) from error
        if found is None and not self.remote and Path(place, OLD).is_file():
            raise StudyError(
                f"{place} is a table of an older likewise",
                hint="convert the study with: likewise upgrade STUDY",
            )
        return found

    def manifest(self, name: str, version: int | None = None) -> Manifest | None:
        """What the newest commit up to ``version`` says."""
        table = self.open(name, version)
        if table is None:
            return None
        if version is not None:
            return self._manifest_at(name, version)
        try:
            last = table.history(1)
        except OSError as error:
            raise StorageError(
                f"{self.place(name)} cannot be read: {_said(error)}",
                hint="is the store reachable?",
            ) from error
        # Commits of other programs may say nothing, or not even that they are.
        said = last[0].get(KEY) if last else None
        said = said or next(filter(None, (one.get(KEY) for one in table.history())), None)
        if not said:
            raise StudyError(f"{self.place(name)} was not written by likewise")
        return Manifest.from_dict(_object(said), self.place(name))

    def _manifest_at(self, name: str, version: int) -> Manifest:
        """As ``manifest``. A table opened at an earlier version tells the newest commits as its own
        (delta-rs numbers them down from that version), so the newest one is asked."""
        newest = self.open(name)
        assert newest is not None
        for commit in newest.history():
            if commit["version"] <= version and (said := commit.get(KEY)):
                return Manifest.from_dict(_object(said), self.place(name))
        raise StudyError(f"{self.place(name)} was not written by likewise")

    def parts(self, name: str, version: int | None = None, prefix: str = "") -> list[str]:
        """Paths or addresses of the table's parts whose names begin so, in their order."""
        table = self.open(name, version)
        found = [] if table is None else sorted(table.file_uris())
        return [part for part in found if part.rsplit("/", 1)[-1].startswith(prefix)]

    def facts(
        self, name: str, prefix: str = "", version: int | None = None
    ) -> dict[str, PartFacts]:
        """Name within the table -> bytes and rows, of a version's parts (None: the newest)."""
        table = self.open(name, version)
        if table is None:
            return {}
        # As it comes: PyArrow would load pandas, which costs more than all of this.
        actions = table.get_add_actions(flatten=True)
        columns = (actions[one].to_pylist() for one in ("path", "size_bytes", "num_records"))
        return {
            path: PartFacts(size, rows)
            for path, size, rows in zip(*columns, strict=True)
            if path.startswith(prefix)
        }

    def sizes(self, name: str, prefix: str = "") -> dict[str, int]:
        """Name within the table -> bytes, of the newest version's parts."""
        return {path: one.size for path, one in self.facts(name, prefix).items()}

    def schema(self, name: str) -> pa.Schema:
        """The table's schema, as Arrow's."""
        import pyarrow as pa

        table = self.open(name)
        assert table is not None
        return pa.schema(table.schema().to_arrow())

    def version(self, name: str) -> int:
        """The table's newest version, -1 where there is none."""
        table = self.open(name)
        return -1 if table is None else int(table.version())

    def lost(self, name: str, prefix: str = "") -> list[str]:
        """Parts of the newest version that are not there any more, or were cut off."""
        from pyarrow import fs

        facts = self.facts(name, prefix)
        if not facts:
            return []
        filesystem, path = _filesystem(self.place(name))
        with _reached(self.place(name)):
            infos = filesystem.get_file_info([f"{path}/{part}" for part in facts])
        pairs = zip(facts, infos, strict=True)
        # In a folder a part may have been mended in place; a shorter one was cut off.
        return [
            part
            for part, info in pairs
            if info.type != fs.FileType.File or info.size < facts[part].size
        ]

    def exchange(self, name: str, parts: Sequence[str], adds: Sequence[Put] = ()) -> None:
        """Take parts out of the newest version, and ``adds`` in; earlier versions keep them.

        The manifest stays: what it says of the rows is the same, or is put right by the stage.
        """
        manifest, facts = self.manifest(name), self.facts(name)
        assert manifest is not None
        removes = {part: facts[part].size for part in parts}
        key = f"exchange {uuid.uuid4().hex}"
        self.commit(manifest, adds, self.schema(name), key=key, mode="append", removes=removes)

    def every_part(self, name: str) -> list[str]:
        """Every Parquet part that lies there, of all versions and of none."""
        from pyarrow import fs

        filesystem, path = _filesystem(self.place(name))
        listing = fs.FileSelector(path, allow_not_found=True, recursive=True)
        head = self.place(name).removesuffix(path)
        found = [info.path for info in filesystem.get_file_info(listing)]
        log = f"{path}/_delta_log/"
        return sorted(head + p for p in found if p.endswith(".parquet") and not p.startswith(log))

    def bytes(self) -> int:
        """Bytes that lie at the address: every version of every table, logs of commits included."""
        from pyarrow import fs

        filesystem, path = _filesystem(self.address)
        listing = fs.FileSelector(path, allow_not_found=True, recursive=True)
        return sum(info.size or 0 for info in filesystem.get_file_info(listing))

    # -- writing --------------------------------------------------------------------------

    def put(self, source: Path, name: str, part: str, rows: int) -> Put:
        """Give a finished local file to the table under a name of its own; no reader sees it yet.

        Only whole files are put: a stream that is dropped half-way would leave half an object.
        """
        size = source.stat().st_size
        if self.remote:
            with _reached(self.place(name)):
                filesystem, path = _filesystem(self.place(name))
                there = f"{path}/{part}"
                with source.open("rb") as file, filesystem.open_output_stream(there) as out:
                    shutil.copyfileobj(file, out, 1 << 24)
        else:
            target = Path(self.place(name), part)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, target)
            except OSError:
                shutil.copyfile(source, target)
        return Put(part, size, rows, int(time.time() * 1000))

    def commit(
        self,
        manifest: Manifest,
        adds: Sequence[Put],
        schema: pa.Schema,
        *,
        key: str,
        mode: str = "overwrite",
        removes: Mapping[str, int] | None = None,
        new: bool = False,
    ) -> int:
        """Make parts rows, in one commit; returns the table's version.

        Args:
            manifest: Goes into the commit's metadata.
            adds: Parts from ``put``.
            schema: Of the parts.
            key: A commit of the same key that is there already is not made again.
            mode: ``overwrite`` replaces the rows, ``append`` adds to them.
            removes: With ``append``: parts (relative name -> bytes) that go in the same commit.
            new: The table is not there yet; what else lies at its place is not looked at.

        Raises:
            CommitRaceError: another run has committed meanwhile.
        """
        from deltalake import CommitProperties, Schema, Transaction
        from deltalake.exceptions import CommitFailedError, DeltaError
        from deltalake.transaction import (
            AddAction,
            RemoveAction,
            create_table_with_add_actions,
        )

        said = CommitProperties(
            custom_metadata={KEY: json.dumps(manifest.to_dict(), default=str)},
            app_transactions=[Transaction(key, 1)],
            # A commit stands on the version that it was made from: delta-rs would put it behind
            # another's, and a table that two runs create at once would hold the rows of both.
            max_commit_retries=0,
        )
        table = None if new else self.open(manifest.table)
        now = int(time.time() * 1000)
        came = [
            AddAction(one.path, one.size, {}, one.at, True, json.dumps({"numRecords": one.rows}))
            for one in adds
        ]
        gone = [
            RemoveAction(path, True, now, size=size, partition_values={})
            for path, size in (removes or {}).items()
        ]
        try:
            if table is None:
                create_table_with_add_actions(
                    self.place(manifest.table),
                    Schema.from_arrow(schema),
                    came,
                    mode="error",
                    storage_options=self.options,
                    commit_properties=said,
                )
            elif table.transaction_version(key) is None:
                if mode == "append":
                    _widen(table, schema)
                table.create_write_transaction([*gone, *came], mode, schema, commit_properties=said)
        except (CommitFailedError, DeltaError, OSError) as error:
            if isinstance(error, OSError):
                with _reached(self.place(manifest.table)):
                    raise
            if table is not None and _is_newer(table, error):
                raise _newer(self.place(manifest.table), error) from error
            after = self.open(manifest.table)
            if after is None or after.transaction_version(key) is None:
                raise CommitRaceError(
                    f"{self.place(manifest.table)}: another run has committed to it meanwhile, "
                    "and this one did not",
                    hint="two schedulers share this store: let one of them work on it. What is "
                    "finished stays; the same command goes on from the other's commit",
                ) from error
        after = self.open(manifest.table)
        assert after is not None
        return int(after.version())

    def unnamed(self, name: str) -> list[str]:
        """Files of a table that no version names, relative to it. Nobody may be writing."""
        table = self.open(name)
        if table is None:
            return []
        every = list(range(int(table.version()) + 1))
        found: list[str] = table.vacuum(
            0, dry_run=True, enforce_retention_duration=False, full=True, keep_versions=every
        )
        return [path for path in found if path.endswith(".parquet")]

    def delete(self, name: str, files: Sequence[str]) -> int:
        """Delete files of a table that nobody names any more; returns how many."""
        for file in files:
            filesystem, path = _filesystem(f"{self.place(name)}/{file}")
            filesystem.delete_file(path)
        return len(files)

    def vacuum(self, name: str, keep: Sequence[int]) -> int:
        """Delete what neither the latest version nor those of ``keep`` name; returns files gone.

        Parts that a killed writer left are among them. Nobody may be writing: hold the lock.
        """
        from deltalake import CommitProperties
        from deltalake.exceptions import DeltaError

        table = self.open(name)
        manifest = self.manifest(name)
        if table is None or manifest is None:
            return 0
        said = CommitProperties(custom_metadata={KEY: json.dumps(manifest.to_dict(), default=str)})
        try:
            gone = table.vacuum(
                0,
                dry_run=False,
                enforce_retention_duration=False,
                full=True,
                keep_versions=sorted({*keep, table.version()}),
                commit_properties=said,
            )
        except DeltaError as error:
            raise _newer(self.place(name), error) from error
        return len(gone)


NEWEST_WRITER = 7
"""Version of Delta's protocol for writers that delta-rs knows; later ones name features."""


def _is_newer(table: DeltaTable, error: Exception) -> bool:
    newer = table.protocol().min_writer_version > NEWEST_WRITER
    return newer or "Unsupported" in str(error)


def _newer(place: str, error: Exception) -> StudyError:
    return StudyError(
        f"{place} was written by a newer program: {error}",
        hint="install the newer likewise, or read and write the table with what wrote it",
    )


def check_store(store: Store) -> None:
    """Make a table that goes afterwards, and put one object twice on condition that it is new.

    A store that ignores the condition of a conditional PUT lets the second overwrite the first:
    one of two schedulers would lose a night without a word. A second commit of delta-rs cannot
    show that: it looks for the first one before it writes, and only a race gets past the look.

    Raises:
        StudyError: the store cannot be written, or ignores the condition.
    """
    import obstore
    import pyarrow as pa
    from deltalake import Schema
    from deltalake.transaction import create_table_with_add_actions
    from obstore.exceptions import AlreadyExistsError, BaseError
    from obstore.store import from_url

    name = f"doctor-{uuid.uuid4().hex}"
    schema = Schema.from_arrow(pa.schema([pa.field("n", pa.int64())]))
    filesystem, path = _filesystem(store.place(name))
    try:
        create_table_with_add_actions(store.place(name), schema, [], storage_options=store.options)
        address = store.place(name) if store.remote else f"file://{store.place(name)}"
        plain = store.options.get("allow_http") == "true"
        objects = from_url(address, client_options={"allow_http": plain})
        obstore.put(objects, "object", b"first", mode="create")
        with contextlib.suppress(AlreadyExistsError):
            obstore.put(objects, "object", b"second", mode="create")
            raise StudyError(
                f"{store.address} ignores the condition of a conditional PUT (If-None-Match)",
                hint="two runs at once would overwrite each other; use a store that knows it (S3, "
                "Google Cloud Storage, Azure, MinIO, Ceph from version 19)",
            )
    except (OSError, BaseError) as error:
        raise StudyError(f"{store.address} cannot be written: {_said(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            filesystem.delete_dir(path)


def _widen(table: DeltaTable, schema: pa.Schema) -> None:
    """Add the columns that the table has not; rows of before hold nulls there."""
    import pyarrow as pa
    from deltalake import CommitProperties, Schema

    known = set(pa.schema(table.schema().to_arrow()).names)
    new = [field for field in schema if field.name not in known]
    if new:
        said = next(filter(None, (one.get(KEY) for one in table.history())), None)
        properties = CommitProperties(custom_metadata={KEY: said})
        fields = list(Schema.from_arrow(pa.schema(new)).fields)
        table.alter.add_columns(fields, commit_properties=properties)


def unique(stem: str, bucket: int | None = None) -> str:
    """A part's name that nobody else has: parts are ordered by bucket, then by ``stem``."""
    head = "" if bucket is None else f"b{bucket:04d}-"
    return f"{head}{stem}-{uuid.uuid4().hex[:12]}.parquet"
