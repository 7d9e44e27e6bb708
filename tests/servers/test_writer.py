"""Rows that wait for the disk when a download ends are written, not dropped."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from collectors.downloading import engine
from likewise.tables import FETCHED


class Sink:
    def __init__(self) -> None:
        self.rows = 0

    def write(self, rows: pa.Table) -> None:
        self.rows += rows.num_rows


async def test_a_flush_that_has_not_begun_when_the_download_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "FLUSH_SECONDS", 0.01)
    loop, free = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    busy = loop.run_in_executor(None, free.wait, 10)  # the only thread: a flush has to queue
    sink = Sink()
    writer = engine._Writer(sink)  # type: ignore[arg-type]
    blank = {f.name: None if f.nullable else "" for f in FETCHED}
    row = {**blank, "bucket": 0, "media_index": 0, "attempts": 1}
    await writer.add(row)
    for _ in range(200):
        await asyncio.sleep(0.01)
        if not writer._rows:
            break
    assert not writer._rows, "the ticker has taken the row"
    threading.Timer(0.2, free.set).start()
    started = time.monotonic()
    await writer.close()
    await busy
    assert sink.rows == 1 and time.monotonic() - started < 10
