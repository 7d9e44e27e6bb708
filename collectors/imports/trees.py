"""Files of a source, wherever they lie: a folder, a zip file or a tar file.

Nothing outside of the source is ever read: links are followed only to files inside it, folders
that are links are not entered, and members of archives are read in place, under limits, so that
no name in an archive becomes a name on this disk.
"""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
import stat
import tarfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing
from functools import cached_property
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from collectors.imports.places import address
from likewise.errors import DataError, UsageError

__all__ = ["PICTURE_ENDINGS", "Entry", "Folder", "Tree", "open_tree"]

PICTURE_ENDINGS = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".bmp", ".heic", ".tif", ".tiff"}
)

RECORD_BYTES = 256_000_000
"""Largest file of records that is read as a whole."""

MEMBERS = 5_000_000
"""Most members of one archive."""

NAMES = 50_000
"""Names of one folder that are sorted in memory."""

SAMPLE = 5_000
"""Names that a kind looks at to recognise a source."""


class Entry(NamedTuple):
    """One file of a source: path inside it, bytes, time of its last change in microseconds."""

    path: PurePosixPath
    size: int
    changed: int

    @property
    def is_picture(self) -> bool:
        """Whether the name is that of a picture."""
        return self.path.suffix.lower() in PICTURE_ENDINGS


class Tree(ABC):
    """The files of one source."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.refused: list[tuple[str, str]] = []
        """Files that were passed over while listing, with the reason."""

    @abstractmethod
    def files(self) -> Iterator[Entry]:
        """Every file, folder by folder, in the order of the names."""

    @abstractmethod
    def entry(self, path: PurePosixPath | str) -> Entry | None:
        """The file at a path; None when there is none inside the source."""

    @abstractmethod
    def read(self, path: PurePosixPath | str, limit: int = RECORD_BYTES) -> bytes:
        """Content of a file. Raises DataError when it is missing, unreadable or too large."""

    @abstractmethod
    def address(self, path: PurePosixPath | str) -> str:
        """Where ``download`` finds the file."""

    @cached_property
    def sample(self) -> list[Entry]:
        """The first files, enough to tell what a source is."""
        return list(islice(self.files(), SAMPLE))

    def place(self, path: PurePosixPath | str) -> str:
        """The file's name for people."""
        return f"{self.root.name}/{path}"

    def find(self, name: str) -> PurePosixPath | None:
        """The first file of the sample with this name, in whatever folder."""
        return next((e.path for e in self.sample if e.path.name == name), None)


class Folder(Tree):
    """A folder on this machine."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._real = root.resolve()

    def files(self) -> Iterator[Entry]:
        """Every file; links to folders are not entered, so there are no loops."""
        self.refused.clear()
        # Folders on the way down, not calls: a tree may be deeper than Python's stack.
        within = [self._names(str(self._real), PurePosixPath())]
        while within:
            if (found := next(within[-1], None)) is None:
                within.pop()
                continue
            place, path = found
            try:
                about = os.lstat(place)
            except OSError as error:
                self.refused.append((self.place(path), error.strerror or "cannot be read"))
                continue
            if stat.S_ISREG(about.st_mode):
                yield Entry(path, about.st_size, about.st_mtime_ns // 1000)
            elif stat.S_ISDIR(about.st_mode):
                within.append(self._names(place, path))
            elif stat.S_ISLNK(about.st_mode) and Path(place).is_dir():
                self.refused.append((self.place(path), "link to a folder"))
            elif (entry := self.entry(path)) is not None:
                yield entry
            else:
                self.refused.append((self.place(path), "link that leads nowhere or outside"))

    def _names(self, folder: str, path: PurePosixPath) -> Iterator[tuple[str, PurePosixPath]]:
        """Where each thing in a folder stands, on this machine and in the source."""
        try:
            for name in _sorted_names(folder):
                if not name.startswith("."):
                    yield f"{folder}/{name}", path / name
        except OSError as error:
            self.refused.append((self.place(path), error.strerror or "cannot be read"))

    def entry(self, path: PurePosixPath | str) -> Entry | None:
        """The file at a path inside the folder, also behind a link that stays inside."""
        try:
            real = (self._real / path).resolve(strict=True)
            about = real.stat()
        except (OSError, ValueError, RuntimeError):
            return None
        if not real.is_relative_to(self._real) or not stat.S_ISREG(about.st_mode):
            return None
        return Entry(PurePosixPath(path), about.st_size, about.st_mtime_ns // 1000)

    def read(self, path: PurePosixPath | str, limit: int = RECORD_BYTES) -> bytes:
        entry = self.entry(path)
        if entry is None:
            raise DataError(f"{self.place(path)}: there is no such file inside {self.root}")
        _check_size(self.place(path), entry.size, limit)
        try:
            return (self._real / path).read_bytes()
        except OSError as error:
            raise DataError(f"{self.place(path)}: {error.strerror}") from error

    def address(self, path: PurePosixPath | str) -> str:
        return address(path)


def _sorted_names(folder: str) -> Iterator[str]:
    """Names in a folder, in their order. Those of a large one are sorted in a file."""
    with os.scandir(folder) as found:
        names = [one.name for one in islice(found, NAMES)]
        if len(names) < NAMES:
            yield from sorted(names)
            return
        # SQLite's database without a name: a file that goes when it is closed.
        with closing(sqlite3.connect("")) as db:
            db.execute("CREATE TABLE names (name BLOB)")
            every = chain(names, (one.name for one in found))
            db.executemany("INSERT INTO names VALUES (?)", ((os.fsencode(n),) for n in every))
            del names
            # Bytes of UTF-8 are ordered as code points are.
            for (name,) in db.execute("SELECT name FROM names ORDER BY name"):
                yield os.fsdecode(name)


class ZipTree(Tree):
    """A zip file, read in place."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        try:
            self._file = zipfile.ZipFile(root)
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"{root} is no whole zip file: {error}") from error
        infos = [info for info in self._file.infolist() if not info.is_dir()]
        _check_members(root, len(infos))
        self._infos = {str(_inner(info.filename)): info for info in infos}

    def files(self) -> Iterator[Entry]:
        """Every member that is a file."""
        yield from (self._entry(name) for name in sorted(self._infos))

    def _entry(self, name: str) -> Entry:
        info = self._infos[name]
        try:
            changed = dt.datetime(*info.date_time, tzinfo=dt.UTC).timestamp()
        except ValueError:
            changed = self.root.stat().st_mtime
        return Entry(PurePosixPath(name), info.file_size, int(changed * 1e6))

    def entry(self, path: PurePosixPath | str) -> Entry | None:
        name = str(_inner(str(path)))
        return self._entry(name) if name in self._infos else None

    def read(self, path: PurePosixPath | str, limit: int = RECORD_BYTES) -> bytes:
        info = self._infos.get(str(_inner(str(path))))
        if info is None:
            raise DataError(f"{self.place(path)}: there is no such member")
        _check_size(self.place(path), info.file_size, limit)
        try:
            with self._file.open(info) as member:
                # The header's size is the packer's word: no more than the limit is unpacked.
                data = member.read(limit + 1)
        except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
            raise DataError(f"{self.place(path)}: {error}") from error
        _check_size(self.place(path), len(data), limit)
        return data

    def address(self, path: PurePosixPath | str) -> str:
        return address("", member=self._infos[str(_inner(str(path)))].filename)


class _Member(NamedTuple):
    """Where a file lies in a tar file, its bytes, and the time of its last change."""

    offset: int
    size: int
    changed: int


class TarTree(Tree):
    """An uncompressed tar file, read in place; links and devices in it are passed over."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._members: dict[str, _Member] = {}
        try:
            with tarfile.open(root, "r:") as file:
                while (info := file.next()) is not None:
                    # tarfile keeps every header, a kilobyte each; typeshed does not know where.
                    file.members = []  # type: ignore[attr-defined]
                    _check_members(root, len(self._members))
                    if info.isfile():
                        member = _Member(info.offset_data, info.size, int(info.mtime * 1e6))
                        self._members[str(_inner(info.name))] = member
                    elif not info.isdir():
                        self.refused.append((self.place(info.name), "no plain file in the archive"))
        except (tarfile.TarError, OSError) as error:
            raise DataError(f"{root} is no whole tar file: {error}") from error

    def files(self) -> Iterator[Entry]:
        """Every member that is a plain file."""
        yield from (self._entry(name) for name in sorted(self._members))

    def _entry(self, name: str) -> Entry:
        member = self._members[name]
        return Entry(PurePosixPath(name), member.size, member.changed)

    def entry(self, path: PurePosixPath | str) -> Entry | None:
        name = str(_inner(str(path)))
        return self._entry(name) if name in self._members else None

    def read(self, path: PurePosixPath | str, limit: int = RECORD_BYTES) -> bytes:
        member = self._members.get(str(_inner(str(path))))
        if member is None:
            raise DataError(f"{self.place(path)}: there is no such member")
        _check_size(self.place(path), member.size, limit)
        with self.root.open("rb") as file:
            file.seek(member.offset)
            return file.read(member.size)

    def address(self, path: PurePosixPath | str) -> str:
        member = self._members[str(_inner(str(path)))]
        return address("", at=member.offset, size=member.size)


def _inner(name: str) -> PurePosixPath:
    """A member's name without root and ``..``: it is a key, never a path on this disk."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in {"", ".", ".."}]
    return PurePosixPath(*parts)


def _check_size(place: str, size: int, limit: int) -> None:
    if size > limit:
        raise DataError(f"{place}: {size:,} bytes, at most {limit:,} are read")


def _check_members(root: Path, count: int) -> None:
    if count > MEMBERS:
        raise DataError(f"{root} holds more than {MEMBERS:,} files")


def open_tree(source: Path) -> Tree:
    """The files of a folder or an archive; a single file is seen in its folder.

    Raises:
        UsageError: there is nothing at that path, or it is a compressed tar file.
        DataError: the archive is broken.
    """
    if source.is_dir():
        return Folder(source)
    if not source.is_file():
        is_what = "is neither a file nor a folder" if source.exists() else "does not exist"
        raise UsageError(f"{source} {is_what}", hint="give a file or a folder to import")
    if zipfile.is_zipfile(source) and source.suffix.lower() != ".xlsx":
        return ZipTree(source)
    if source.suffix.lower() == ".tar":
        return TarTree(source)
    return Folder(source.parent)
