"""A disk that is full in each stage: said as such, nothing lost, and the same tables afterwards.

The disk is a tmpfs whose size leaves a little room; made larger, the same command goes on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from night_runs import make, start, state

from likewise.errors import ExitCode
from likewise.runner import STAGES
from likewise.study import Study

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs: needs root"),
]

ROOM = (4, 64, 512)
"""KiB that are left when a stage begins."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int | None], Path]]:
    """Sets the room that is left in KiB, None for plenty; gives the disk's folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4g", "tmpfs", folder], check=True)

    def leave(room: int | None) -> Path:
        usage = os.statvfs(folder)
        used = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
        size = 4 << 30 if room is None else used + (room << 10)
        command = ["mount", "-o", f"remount,size={size}", folder]
        subprocess.run(command, check=True)
        return folder

    yield leave
    subprocess.run(["umount", folder], check=True)


def until(study: Path, stage: str) -> tuple[int, str]:
    process = start(study, 0, "--until", stage)
    said, errors = process.communicate(timeout=600)
    return process.returncode, (said + errors).decode()


def test_a_disk_is_full_in_each_stage(
    url: str, tmp_path: Path, disk: Callable[[int | None], Path]
) -> None:
    calm = make(tmp_path / "calm", url)
    rough = make(disk(None) / "rough", url)
    full: dict[str, int] = {}
    for stage in STAGES:
        for room in ROOM:
            disk(room)
            code, said = until(rough, stage)
            if code in {0, 3}:
                continue
            assert code == ExitCode.STORAGE, (stage, room, code, said)
            assert "No space left" in said or "full" in said, (stage, said)
            assert "Traceback" not in said, (stage, said)
            full[stage] = full.get(stage, 0) + 1
        disk(None)
        code, said = until(rough, stage)
        assert code in {0, 3}, (stage, said)
        code, said = until(calm, stage)
        assert code in {0, 3}, (stage, said)
    print(f"\nfull of {len(ROOM)} times by stage: {full}")
    assert {"collect", "download", "extract"} <= set(full)
    mine, yours = state(Study.open(rough, at="now")), state(Study.open(calm, at="now"))
    assert mine == yours
    shutil.rmtree(rough)
