"""import and score: CPU time and memory beside DuckDB and the bare network.

``python -m benchmarks.own [--rows N] [--files N] [--study STUDY]`` prints a Markdown table. Times
are CPU-seconds (user and system) of processes of their own, the least of ``--times`` runs that take
turns; memory is the largest resident set. Each process has ten minutes.

import: N rows of CSV (10,000, 100,000 and 1,000,000), against DuckDB's own CSV-to-Parquet of the
same file, alone and with the checks in SQL: reading every count and date, refusing twice-given ids,
the readings of authors. ``--files``: a folder of so many empty pictures.
score: one picture and 100 pictures of ``--study``, from the prompt, against the network alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

LIMIT = 600
"""Seconds for one process."""

PLAIN = """
import duckdb, sys
source = f"SELECT * FROM read_csv('{sys.argv[1]}')"
duckdb.execute(f"COPY ({source}) TO '{sys.argv[2]}' (FORMAT parquet)")
"""
CHECKS = """
import duckdb, sys
duckdb.execute(f'''COPY (SELECT post_id, author, try_cast(likes AS BIGINT), try_cast(followers AS
BIGINT), try_cast(date AS TIMESTAMPTZ), url, caption, string_split(lower(tags), ' ') FROM (SELECT *,
row_number() OVER (PARTITION BY post_id) AS n FROM read_csv('{sys.argv[1]}', all_varchar = true))
WHERE n = 1) TO '{sys.argv[2]}' (FORMAT parquet)''')
duckdb.execute(f"COPY (SELECT author, max(followers) FROM '{sys.argv[1]}' GROUP BY 1) TO "
    f"'{sys.argv[2]}.authors' (FORMAT parquet)")
"""
NETWORK = """
import sys
from backbones.inference import embed
from backbones.planning import make_plan
from likewise.study import Study
from pathlib import Path
study, files = Study.open(sys.argv[1]), sys.argv[2:]
made = study.require("features").extra
plan = make_plan(made["backbone"], made["layers"], folder=study.folder("cache", "onnx"),
    flip=study.config.extract.flip, batch_size=16, threads=2)
for _ in embed(((f, Path(f).read_bytes()) for f in files), plan):
    pass
"""


def write_csv(path: Path, rows: int) -> None:
    """Posts of rows / 20 authors, about 100 bytes each."""
    chance = random.Random(1)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        header = ["post_id", "author", "likes", "followers", "date", "url", "caption", "tags"]
        writer.writerow(header)
        for number in range(rows):
            author = chance.randrange(max(1, rows // 20))
            year, month = chance.randrange(2015, 2024), chance.randrange(1, 10)
            when = f"{year}-0{month}-1{number % 10}T10:00:00Z"
            writer.writerow(
                [f"p{number}", f"user{author}", chance.randrange(5000), 10 + author % 9999, when,
                 f"https://x.example/{number}.jpg", "a day at the beach", "me beach"]
            )  # fmt: skip


class Used(NamedTuple):
    """CPU-seconds, seconds on the wall and MB of a process."""

    cpu: float
    wall: float
    memory: float


def measured(command: Sequence[str]) -> Used:
    """What a command used that must end well, its children included."""
    code = (
        "import json, resource, subprocess, sys, time\n"
        "began = time.monotonic()\n"
        f"done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, timeout={LIMIT})\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([done.returncode, used.ru_utime + used.ru_stime,\n"
        "    time.monotonic() - began, used.ru_maxrss / 1024]))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, *command], check=True, stdout=subprocess.PIPE, text=True
    )
    status, *used = json.loads(answer.stdout)
    if status not in (0, 3):  # 3: some items were not understood
        raise RuntimeError(f"exit {status} of {command}")
    return Used(*used)


def least(commands: Mapping[str, Sequence[str]], times: int) -> list[tuple[str, Used]]:
    """The least that each command used; they take turns, so that all have the same neighbours."""
    found: dict[str, list[Used]] = {name: [] for name in commands}
    for _ in range(times):
        for name, command in commands.items():
            found[name].append(measured(command))
    return [(name, min(used)) for name, used in found.items()]


def importing(rows: int, folder: Path, times: int) -> list[tuple[str, Used]]:
    """DuckDB's copy, the same with the checks, and the import."""
    source = folder / "posts.csv"
    write_csv(source, rows)
    python = [sys.executable, "-c"]
    commands = {
        f"DuckDB, CSV to Parquet, {rows:,} rows": [*python, PLAIN, str(source), f"{folder}/plain"],
        f"DuckDB with the checks, {rows:,} rows": [*python, CHECKS, str(source), f"{folder}/more"],
        f"likewise import, {rows:,} rows": _import(folder, source),
    }
    return least(commands, times)


def _import(folder: Path, source: Path) -> list[str]:
    """Import into a fresh study, so that nothing is there already."""
    code = (
        "import shutil, sys; from likewise.cli import run\n"
        "shutil.rmtree(sys.argv[1], ignore_errors=True); run(['init', sys.argv[1]])\n"
        "sys.exit(run(['import', *sys.argv[1:]]))"
    )
    return [sys.executable, "-c", code, str(folder / "study"), str(source)]


def files(number: int, folder: Path) -> list[tuple[str, Used]]:
    """The import of a folder of empty pictures."""
    source = folder / "pictures"
    source.mkdir()
    for one in range(number):
        os.close(os.open(source / f"{one:07d}.jpg", os.O_CREAT | os.O_WRONLY))
    return least({f"likewise import, folder of {number:,} files": _import(folder, source)}, 1)


def scoring(study: Path, folder: Path, times: int) -> list[tuple[str, Used]]:
    """One and 100 pictures scored, and the network on the 100."""
    from likewise.pictures import picture_bytes
    from likewise.study import Study

    opened = Study.open(study)
    ids = opened.read("labels", ["picture_id"])["picture_id"].to_pylist()[:100]
    pictures = []
    for number, (_, data) in enumerate(picture_bytes(opened, ids)):
        pictures.append(str(folder / f"{number}.jpg"))
        Path(pictures[-1]).write_bytes(data)
    score = [sys.executable, "-m", "likewise", "score", str(study)]
    measured([*score, pictures[0]])  # lays down what is compared with
    many = f"{len(pictures)} pictures"
    network = [sys.executable, "-c", NETWORK, str(study), *pictures]
    commands = {
        "likewise score, 1 picture": [*score, pictures[0]],
        f"likewise score, {many}": [*score, *pictures],
        f"the network alone, {many}": network,
    }
    return least(commands, times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--files", type=int, help="Files of a folder to import.")
    parser.add_argument("--study", type=Path, help="A compared study; without it no score.")
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors\n")
    print("| What | CPU-s | Wall s | MB |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="own-") as name:
        work = [partial(importing, rows, Path(name), options.times) for rows in options.rows]
        if options.files:
            work.append(partial(files, options.files, Path(name)))
        if options.study is not None:
            work.append(partial(scoring, options.study, Path(name), options.times))
        for one in work:
            for what, used in one():
                print(
                    f"| {what} | {used.cpu:.2f} | {used.wall:.1f} | {used.memory:.0f} |", flush=True
                )
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
