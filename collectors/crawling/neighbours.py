"""Studies of one machine that read one host: one after the other, out of one budget.

A server counts calls by token or address, whichever study makes them. So one crawl at a time
reads a host, and it counts the calls that the journals of the others hold. The lock dies with its
process, and what was counted does not: it stands in the journals.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from collectors.crawling.journal.budgets import LONGEST_WINDOW_S
from collectors.tokens.store import config_home, locked
from likewise.progress import note
from likewise.whole import fingerprint, write_json

__all__ = ["Spent", "alone_with"]

POLL_S = 0.25

Spent = tuple[list[tuple[str, float | None]], dict[str, float]]
"""Calls as (bucket, answered), and buckets that a server has shut, with until when."""


@contextlib.asynccontextmanager
async def alone_with(platform: str, host: str, *journals: Path) -> AsyncIterator[Spent]:
    """Read a host while no other study of this user does; gives what the others have spent.

    ``journals`` are the study's own, whose calls are known already.
    """
    folder, name = config_home() / "hosts", fingerprint([platform, host])
    try:
        lock = await asyncio.to_thread(_lock_file, folder, name)
    except OSError as error:
        note(f"{host}: other studies are not looked at, {folder} cannot be written: {error}")
        yield [], {}
        return
    try:
        await _turn(lock, host)
        others = await asyncio.to_thread(_others, folder / f"{name}.json", journals)
        yield await asyncio.to_thread(_spent, others)
    finally:
        os.close(lock)


def _lock_file(folder: Path, name: str) -> int:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(folder / f"{name}.lock", flags, 0o600)


async def _turn(lock: int, host: str) -> None:
    told = False
    while not locked(lock):  # another process holds it: there is no event to wait for
        if not told:
            note(f"{host}: another study reads it now; this one waits for its turn")
            told = True
        await asyncio.sleep(POLL_S)


def _others(listed: Path, journals: Sequence[Path]) -> list[Path]:
    """Journals of the other studies that have read the host; these are listed for them."""
    own = {path.absolute(): None for path in journals}
    try:
        known = [Path(one) for one in json.loads(listed.read_text(encoding="utf-8"))]
    except (FileNotFoundError, json.JSONDecodeError):
        known = []
    there = [path for path in known if path.is_file() and path not in own]
    write_json(listed, [str(path) for path in (*there, *own)])
    return there


def _spent(journals: list[Path]) -> Spent:
    calls: set[tuple[str, str, float, float | None]] = set()  # a lent journal repeats some
    shut: dict[str, float] = {}
    now = time.time()
    for path in journals:
        with contextlib.suppress(sqlite3.Error), contextlib.closing(_reading(path)) as db:
            calls.update(
                db.execute(
                    "SELECT token, buckets, started, ended FROM calls WHERE started > ?",
                    (now - LONGEST_WINDOW_S,),
                )
            )
            # Journals of before do not know when it was noted; see ``Budgets.shut``.
            for key, until, *noted in db.execute("SELECT * FROM shut WHERE until > ?", (now,)):
                ahead = max(0.0, noted[0] - now) if noted and noted[0] else 0.0
                shut[key] = max(until - ahead, shut.get(key, 0.0))
    return [(key, ended) for _, keys, _, ended in calls for key in keys.split("\n")], shut


def _reading(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
