"""Every hostile file goes through the process that decodes: none crashes it, hangs or bloats it."""

from __future__ import annotations

import contextlib
import hashlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from picture_files import bomb_png, encoded, jpeg_of_many_scans, scene

import collectors.downloading.guarded as guarded_module
from collectors.downloading.inspectors import Inspectors, open_inspectors
from filters.pictures.decode import Hygiene

LOOSE = Hygiene(min_side=1, max_aspect=1e9, min_contrast=0)


class Table:
    """Files by status and reason, the slowest, and the workers' peak memory."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self.slowest = (0.0, "")
        self.peak_mb = 0.0

    def add(self, name: str, reason: str, seconds: float) -> None:
        self.reasons[reason] += 1
        self.slowest = max(self.slowest, (seconds, name))

    def __str__(self) -> str:
        lines = [f"| {reason} | {n} |" for reason, n in self.reasons.most_common()]
        seconds, name = self.slowest
        tail = f"slowest {seconds:.2f} s ({name}), peak {self.peak_mb:.0f} MB"
        return "\n".join(["| Reason | Files |", "|---|---|", *lines, tail])


def cpu_of(children: list[psutil.Process]) -> float:
    times = [child.cpu_times() for child in children]
    return sum(used.user + used.system for used in times)


@contextlib.asynccontextmanager
async def one_worker(rules: Hygiene) -> AsyncIterator[tuple[Inspectors, set[int]]]:
    """A pool of one worker, and the children that this process had before (a JVM, perhaps)."""
    others = {child.pid for child in psutil.Process().children()}
    async with open_inspectors(rules, 1) as inspectors:
        yield inspectors, others


def workers(others: set[int]) -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.pid not in others]


async def run_over(files: dict[str, bytes], rules: Hygiene) -> Table:
    """Inspect all files in one worker. CPU seconds count: the machine may be busy."""
    table = Table()
    async with one_worker(rules) as (inspectors, others):
        children = workers(others)
        for name, data in files.items():
            before = cpu_of(children)
            answer = await inspectors.inspect(data)
            now = workers(others)
            assert answer.sha256 is not None, f"{name} was the end of a worker"
            assert now == children
            table.add(name, answer.found.error_class or "ok", cpu_of(now) - before)
            table.peak_mb = max(table.peak_mb, *(peak_mb(child) for child in now))
    return table


def peak_mb(process: psutil.Process) -> float:
    """VmHWM of a process, MB."""
    for line in Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1000
    return 0.0


async def test_hostile_files(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shared / "hostile"
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    table = await run_over({name: path.read_bytes() for name, path in files.items()}, LOOSE)
    with capsys.disabled():
        print(f"\n{table}")
    assert sum(table.reasons.values()) == len(files) > 900
    assert table.slowest[0] < 2.0
    assert table.peak_mb < 700


async def test_bombs() -> None:
    files = {
        "60,000 x 60,000": bomb_png(60_000, 60_000),
        "8,100 x 8,100": bomb_png(8_100, 8_100),
        "many scans": jpeg_of_many_scans(2_000, 500),
        "ordinary": encoded(scene(1)),
    }
    table = await run_over(files, LOOSE)
    assert table.reasons == {"ok": 2, "too_many_pixels": 1, "too_costly": 1}
    assert table.slowest[0] < 2.0
    assert table.peak_mb < 700


async def test_a_decoder_that_never_ends_is_stopped(tmp_path: Path) -> None:
    """A worker that spins is ended by the kernel, and the next picture finds a new one."""
    async with one_worker(LOOSE) as (inspectors, others):
        (child,) = workers(others)
        child.suspend()
        child.send_signal(27)  # SIGPROF, as its timer sends it after the allowed CPU seconds
        child.resume()
        started = time.monotonic()
        lost = await inspectors.inspect(encoded(scene(2)))
        assert lost.found.error_class == "decode_timeout"
        assert (await inspectors.inspect(encoded(scene(2)))).found.status == "ok"
        assert time.monotonic() - started < 20


async def test_a_worker_killed_from_outside_costs_no_picture() -> None:
    async with one_worker(LOOSE) as (inspectors, others):
        (child,) = workers(others)
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        good = encoded(scene(3))
        found = await inspectors.inspect(good)
        assert (found.found.status, found.sha256) == ("ok", hashlib.sha256(good).hexdigest())


async def test_a_decoder_that_crashes_takes_nothing_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = guarded_module._PROGRAM.replace(
        "importlib.import_module",
        "import filters.pictures.inspect_worker as w, signal\n"
        "answer = w.answer\n"
        "def crash(data, rules):\n"
        "    if data == b'crash': os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    return answer(data, rules)\n"
        "w.answer = crash\nimportlib.import_module",
    )
    monkeypatch.setattr(guarded_module, "_PROGRAM", program)
    async with one_worker(LOOSE) as (inspectors, _others):
        assert (await inspectors.inspect(b"crash")).found.error_class == "decoder_crashed"
        assert (await inspectors.inspect(encoded(scene(3)))).found.status == "ok"


async def test_workers_have_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKEWISE_SECRET", "a token")
    async with one_worker(LOOSE) as (inspectors, others):
        (child,) = workers(others)
        assert (await inspectors.inspect(encoded(scene(4)))).found.status == "ok"
        assert child.environ() == {}
