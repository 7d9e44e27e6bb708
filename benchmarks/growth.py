"""What each stage costs at ten thousand, a hundred thousand and a million simulated posts.

``python -m benchmarks.growth [--items N ...] [--only STAGE ...]`` prints a Markdown table: wall and
CPU-seconds (user + system of the process and all below it), the largest resident set of a process
and bytes of the stage's tables. Each stage runs in a process of its own. No server is asked and no
network looks at a picture (``benchmarks.night``): what stands around them is measured, since what
they cost a picture does not hang on how many there are. ``--folder DIR`` keeps the study there and
runs what ``--only`` names, so that a million can be measured stage by stage.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import night
from likewise.config import render
from likewise.study import Study

STAGES = {
    "collect": ("posts", "authors", "post_counts"),
    "clean": ("kept_posts",),
    "pictures": ("pictures", "fetches"),
    "label": ("labels", "people"),
    "extract": ("features",),
}
"""Stage -> its tables; ``pictures`` makes what ``download`` publishes, and measures nothing."""


def work(stage: str, folder: Path, items: int) -> None:
    """One stage, in this process."""
    import likewise

    if stage == "collect":
        night.collect(folder, 0, items)
    elif stage == "pictures":
        night.grow(folder, 0, items, simulated=True)
    elif stage == "extract":
        night.extract(folder, simulated=True)
    else:
        getattr(likewise, stage)(folder)


def measured(stage: str, folder: Path, items: int) -> str:
    """A row of the table."""
    command = [sys.executable, "-m", "benchmarks.growth", "--folder", str(folder), "--do", stage]
    began = time.monotonic()
    process = subprocess.Popen([*command, "--items", str(items)])
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    assert status == 0, f"{stage} failed"
    store = Study.open(folder).store
    written = sum(sum(store.sizes(table).values()) for table in STAGES[stage])
    cpu = usage.ru_utime + usage.ru_stime
    return (
        f"| {stage} | {items:,} | {wall:.1f} | {cpu:.1f} | {cpu / items * 1e6:.0f} | "
        f"{usage.ru_maxrss / 1024:.0f} | {written / 1e6:.1f} |"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--only", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--do", choices=STAGES)
    options = parser.parse_args()
    if options.do:
        work(options.do, options.folder, options.items[0])
        return
    print("| stage | items | wall s | CPU-s | CPU-s a million | MB at most | MB written |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    source = {"platform": night.PLACE[0], "host": night.PLACE[1], "permission": "x", "tags": ["x"]}
    values = {
        "collect": {"sources": [{**source, "max_posts": 10**8}]},
        "extract": {"backbone": "efficientnet-lite0"},
        "faces": {"detector": "none"},
        "label": {"require_faces": False},
    }
    for items in options.items:
        with contextlib.ExitStack() as stack:
            folder = options.folder
            if folder is None:
                scratch = tempfile.TemporaryDirectory(prefix="likewise-growth-")
                folder = Path(stack.enter_context(scratch))
            folder.mkdir(exist_ok=True)
            (folder / "likewise.toml").write_text(render(values), encoding="utf-8")
            for stage in STAGES:
                if stage in options.only:
                    print(measured(stage, folder, items), flush=True)


if __name__ == "__main__":
    main()
