"""Studies of one machine share a host's budget: one at a time, and calls of all are counted."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from collectors.budgets.buckets import BucketSpec
from collectors.budgets.pool import Pool
from collectors.crawling.journal import Journal
from collectors.crawling.neighbours import alone_with
from collectors.platforms import get
from collectors.tokens.store import Token
from likewise.config import Source

HOLDER = """
import asyncio, sys
from pathlib import Path
from collectors.crawling.neighbours import alone_with

async def hold():
    async with alone_with("mastodon", "a.example", Path(sys.argv[1])):
        print("held", flush=True)
        await asyncio.sleep(600)

asyncio.run(hold())
"""


class Limited(get("mastodon")):  # type: ignore[misc]
    """Three calls a minute, whoever makes them."""

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        return [BucketSpec("a.example anonymous", 3, 60.0, "sliding")]


def pool() -> Pool[Limited]:
    source = Source(platform="mastodon", host="https://a.example", tags=["x"], permission="x")
    return Pool(Limited(source), [])


def called(path: Path, calls: int) -> None:
    """A journal in which so many calls have just been answered."""

    async def work() -> None:
        mine = pool()
        with Journal(path) as journal:
            for _ in range(calls):
                lease = await mine.acquire("page")
                number = journal.budgets.call_started(lease)
                mine.settle(lease)
                journal.budgets.call_ended(number, time.time())
            journal.flush()

    asyncio.run(work())


def remaining(path: Path) -> int:
    async def work() -> int:
        mine = pool()
        async with alone_with("mastodon", "a.example", path) as spent:
            mine.restore(*spent)
        return mine.bucket("a.example anonymous").remaining(time.time())

    return asyncio.run(work())


def test_calls_of_another_study_count(tmp_path: Path) -> None:
    one, two = tmp_path / "one.sqlite", tmp_path / "two.sqlite"
    called(one, 2)
    called(two, 0)
    assert remaining(one) == 3  # its own calls are its journal's to tell, and two made none
    assert remaining(two) == 1
    assert remaining(one) == 3
    called(two, 1)
    assert remaining(one) == 2
    one.unlink()  # a study that was deleted
    assert remaining(two) == 3


def test_other_hosts_are_none_of_it(tmp_path: Path) -> None:
    async def both() -> None:
        async with (
            alone_with("mastodon", "a.example", tmp_path / "one"),
            alone_with("mastodon", "b.example", tmp_path / "two"),
        ):
            pass

    asyncio.run(asyncio.wait_for(both(), 10))


def test_one_waits_for_the_other_and_outlives_its_kill(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "one")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"

        async def second() -> float:
            began = time.monotonic()
            asyncio.get_running_loop().call_later(1.0, os.kill, holder.pid, signal.SIGKILL)
            async with alone_with("mastodon", "a.example", tmp_path / "two"):
                return time.monotonic() - began

        assert 0.9 < asyncio.run(asyncio.wait_for(second(), 60)) < 30
    assert "another study reads it now" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LIKEWISE_CONFIG_HOME", str(tmp_path / "file"))
    asyncio.run(_through(tmp_path))
    assert "other studies are not looked at" in capsys.readouterr().err


async def _through(folder: Path) -> None:
    async with alone_with("mastodon", "a.example", folder / "one") as spent:
        assert spent == ([], {})
