"""What a reader sees: one state of a study's tables, and the news that there is a newer one.

A reader stays on the snapshot that their cookie or link names until they ask for another. A few
are kept open; which tables a snapshot shows never changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import os
import shutil
import sqlite3
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import Depends, Query, Request

from likewise.errors import LikewiseError, StudyError
from likewise.study import Study, fingerprint
from web.children import have_done
from web.index import CODE, FOLDER
from web.index.reading import Index
from web.problems import ProblemError
from web.templating import PINNED

__all__ = ["IndexDep", "Served", "ServedDep", "Shelf", "Snapshot", "SnapshotDep"]

log = logging.getLogger("likewise.web")

KEPT = 3
"""Snapshots of a study that stay open, the newest among them."""
LOOK = 2.0
"""Seconds between two looks at the tables' logs."""


@dataclass(eq=False)
class Snapshot:
    """One state of the tables. ``study`` reads it and nothing newer.

    ``index`` is None until it has been made; ``failed`` says why it cannot be.
    """

    id: str
    study: Study
    seen_at: dt.datetime
    night: int | None = None
    """The night that left this state; None for one between two nights."""
    index: Index | None = None
    failed: str | None = None
    changes: dict[str, Any] | None = None
    """What moved between its last two nights, once somebody has asked."""


@dataclass(eq=False)
class Served:
    """One study of the server: its snapshots by id, newest last."""

    name: str
    root: Path
    cache: Path
    """Where indexes and thumbnails lie."""
    kept: OrderedDict[str, Snapshot] = field(default_factory=OrderedDict)
    _stamp: tuple[int, ...] = ()

    @property
    def newest(self) -> Snapshot:
        """The newest state that has its index; the newest of all while none has."""
        ready = [one for one in self.kept.values() if one.index is not None]
        return ready[-1] if ready else next(reversed(self.kept.values()))

    def look(self) -> Snapshot | None:
        """Note the newest state when it is another than the last one; else None.

        Raises:
            StudyError, ConfigError: the study cannot be read (any more).
        """
        stamp = _stamp(self.root)
        if stamp and stamp == self._stamp and self.kept:
            return None
        study = Study.open(self.root)
        versions = study.current()
        made = fingerprint({"versions": versions, "models": _models(study.root), "code": CODE})
        self._stamp = stamp
        if made in self.kept:
            return None
        pinned = Study.open(study, at=versions)
        snapshot = Snapshot(made, pinned, dt.datetime.now(dt.UTC), _night(study, versions))
        self.kept[made] = snapshot
        return snapshot

    def hide_deleted(self, newest: Study) -> None:
        """Show pictures that ``newest`` has no more in no older state either: their people may have
        asked for it."""
        older = [one.index for one in self.kept.values() if one.index is not None]
        if not older:
            return
        there: set[str] = set()
        if newest.manifest("pictures") is not None:
            there = set(newest.read("pictures", ["picture_id"])["picture_id"].to_pylist())
        for index in older:
            gone = set(index.all_ids()) - there
            index.hide(gone)
            for picture in gone:
                for thumbnail in self.cache.glob(f"thumbs/*/{picture[:2]}/{picture}.webp"):
                    thumbnail.unlink(missing_ok=True)

    async def make_index(self, snapshot: Snapshot) -> None:
        """Make the snapshot's index in a process of its own, unless it is there already."""
        path = self.cache / f"{snapshot.id}.sqlite"
        with contextlib.suppress(sqlite3.Error):  # one that is damaged is made again
            snapshot.index = await asyncio.to_thread(Index, path) if path.is_file() else None
        if snapshot.index is None:
            self.cache.mkdir(parents=True, exist_ok=True)
            asked = {
                "root": str(self.root),
                "path": str(path),
                "versions": dict(snapshot.study.versions or {}),
                "urgent": self.newest.index is None,
            }
            why = await have_done("web.index", asked)
            if why is not None:
                snapshot.failed = why or "the index could not be made"
                log.error("%s: %s", self.name, snapshot.failed)
                return
            snapshot.index = await asyncio.to_thread(Index, path)
        self._tidy()

    def _tidy(self) -> None:
        """Keep a few states open; files of others go."""
        ready = [key for key, one in self.kept.items() if one.index is not None]
        for key in ready[:-KEPT]:
            del self.kept[key]
        indexes = [one.index for one in self.kept.values() if one.index is not None]
        files = {index.path.name for index in indexes}
        files |= {str(index.facts["vectors"]) for index in indexes}
        for path in (*self.cache.glob("*.sqlite"), *self.cache.glob("vectors-*.npy")):
            if path.name not in files:
                path.unlink(missing_ok=True)
        for folder in (*self.cache.glob("maps/*"), *self.cache.glob("heat/*")):
            if folder.name not in self.kept:
                shutil.rmtree(folder, ignore_errors=True)


class Shelf:
    """All studies of the server."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.served: dict[str, Served] = {}
        for root in roots:
            name = root.name
            while name in self.served:  # two folders of one name
                name += "-2"
            self.served[name] = Served(name, root, _cache_of(root))

    @property
    def names(self) -> list[str]:
        """Names of the studies, in the order in which they were given."""
        return list(self.served)

    def open(self) -> None:
        """Open every study. Raises LikewiseError when one cannot be read."""
        for one in self.served.values():
            one.look()

    async def watch(self) -> None:
        """Make what is missing, and look for new states, until cancelled."""
        await asyncio.gather(*(self._watch(one) for one in self.served.values()))

    async def _watch(self, one: Served) -> None:
        for snapshot in list(one.kept.values()):
            await one.make_index(snapshot)
        while True:
            await asyncio.sleep(LOOK)
            try:
                found = await asyncio.to_thread(one.look)
                if found is not None:
                    await asyncio.to_thread(one.hide_deleted, found.study)
                    await one.make_index(found)
            except (LikewiseError, OSError, sqlite3.Error) as error:
                # A study that is being moved or erased: what is open stays so.
                log.warning("%s: %s", one.name, error)

    def get(self, name: str | None) -> Served:
        """The study of that name; the first one where none is named.

        Raises:
            ProblemError: 404.
        """
        if name is None:
            return next(iter(self.served.values()))
        if name not in self.served:
            raise ProblemError(404, f"there is no study {name!r}", hint=", ".join(self.names))
        return self.served[name]


def _cache_of(root: Path) -> Path:
    """Beside the study; where nothing can be written there, a folder of this process."""
    folder = root / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        log.warning("%s: %s; the index is kept in a temporary folder", folder, error)
        return Path(tempfile.mkdtemp(prefix="likewise-serve-"))


def _stamp(root: Path) -> tuple[int, ...]:
    """Changes whenever a table or a model is published; empty where tables lie elsewhere."""
    tables, models = root / "tables", root / "models"
    found: list[int] = []
    with contextlib.suppress(OSError):
        for folder in (tables, models):
            if folder.is_dir():
                found.append(folder.stat().st_mtime_ns)
        for table in sorted(tables.iterdir()):
            with contextlib.suppress(OSError):
                found.append((table / "_delta_log").stat().st_mtime_ns)
    return tuple(found)


def _models(root: Path) -> list[tuple[str, int]]:
    """Saved models and when each was written."""
    with contextlib.suppress(OSError):
        return sorted(
            (entry.name, (Path(entry.path) / "card.json").stat().st_mtime_ns)
            for entry in os.scandir(root / "models")
            if entry.is_dir() and (Path(entry.path) / "card.json").is_file()
        )
    return []


def _night(study: Study, versions: dict[str, int]) -> int | None:
    """The last night, when nothing was published since."""
    try:
        nights = study.nights()
    except StudyError:
        return None
    now = {name: number for name, number in versions.items() if name != "nights"}
    return int(nights[-1]["night"]) if nights and nights[-1]["versions"] == now else None


async def served(
    request: Request,
    study: Annotated[str | None, Query(description="Name of the study; the first one.")] = None,
) -> Served:
    """The study that a request is about."""
    shelf: Shelf = request.app.state.shelf
    one = shelf.get(study)
    request.state.served = one
    return one


ServedDep = Annotated[Served, Depends(served)]


async def snapshot(
    request: Request,
    one: ServedDep,
    snapshot: Annotated[
        str | None,
        Query(description="Id of the snapshot, or `newest`; else the one that was seen last."),
    ] = None,
) -> Snapshot:
    """The state that a request reads.

    Raises:
        ProblemError: 410 for a snapshot that is named and not kept any more.
    """
    if snapshot is not None and snapshot != "newest":
        found = one.kept.get(snapshot)
        if found is None:
            raise ProblemError(
                410,
                f"snapshot {snapshot[:40]!r} is not kept any more",
                hint="load the page again to see the newest state",
            )
    elif snapshot == "newest":
        found = one.newest
    else:
        name, _, pinned = unquote(request.cookies.get(PINNED, "")).rpartition(":")
        found = one.kept.get(pinned) if name == one.name else None
        found = found or one.newest
    request.state.snapshot = found
    return found


SnapshotDep = Annotated[Snapshot, Depends(snapshot)]


async def index(snapshot: SnapshotDep) -> Index:
    """The index of the state that a request reads.

    Raises:
        ProblemError: 503 until it has been made.
    """
    if snapshot.index is None:
        words = snapshot.failed or "the index of this study is being made"
        raise ProblemError(
            503,
            words,
            hint="this takes about a minute for 100,000 pictures",
            headers={"Retry-After": "2"},
        )
    return snapshot.index


IndexDep = Annotated[Index, Depends(index)]
