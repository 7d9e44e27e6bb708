"""import and score: CPU time and memory beside DuckDB and the bare network.

``python -m benchmarks.own [--rows N] [--study STUDY]`` prints a Markdown table. Times are
CPU-seconds (user and system) of processes of their own; memory is the largest resident set.

import: N rows (1,000,000) of CSV, against DuckDB's own CSV-to-Parquet of the same file. The checks
are reading every count and date, refusing twice-given ids, and the readings of authors.
score: one picture and 100 pictures of ``--study``, from the prompt, against the network alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

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


def measured(command: list[str]) -> tuple[float, float]:
    """CPU-seconds and MB of a command that must end well, its children included."""
    code = (
        "import json, resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, *command], check=True, stdout=subprocess.PIPE, text=True
    )
    status, cpu, memory = json.loads(answer.stdout)
    assert status == 0, command
    return cpu, memory


def importing(rows: int, folder: Path) -> list[tuple[str, float, float]]:
    """CPU and memory of DuckDB's copy, of the same with the checks, and of the import."""
    source = folder / "posts.csv"
    write_csv(source, rows)
    study = folder / "study"
    subprocess.run(
        [sys.executable, "-m", "likewise", "init", str(study)],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    python = [sys.executable, "-c"]
    commands = {
        "DuckDB, CSV to Parquet": [*python, PLAIN, str(source), str(folder / "plain")],
        "DuckDB with the checks": [*python, CHECKS, str(source), str(folder / "checked")],
        "likewise import": [sys.executable, "-m", "likewise", "import", str(study), str(source)],
    }
    return [(f"{name}, {rows:,} rows", *measured(command)) for name, command in commands.items()]


def scoring(study: Path, folder: Path) -> list[tuple[str, float, float]]:
    """CPU and memory of scoring one and 100 pictures, and of the network on the 100."""
    from likewise.pictures import picture_bytes
    from likewise.study import Study

    opened = Study.open(study)
    ids = opened.read("labels", ["picture_id"])["picture_id"].to_pylist()[:100]
    files = []
    for number, (_, data) in enumerate(picture_bytes(opened, ids)):
        files.append(str(folder / f"{number}.jpg"))
        Path(files[-1]).write_bytes(data)
    score = [sys.executable, "-m", "likewise", "score", str(study)]
    measured([*score, files[0]])  # lays down what is compared with
    return [
        ("likewise score, 1 picture", *measured([*score, files[0]])),
        (f"likewise score, {len(files)} pictures", *measured([*score, *files])),
        (
            f"the network alone, {len(files)} pictures",
            *measured([sys.executable, "-c", NETWORK, str(study), *files]),
        ),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--study", type=Path, help="A compared study; without it no score.")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory(prefix="own-") as name:
        rows = importing(options.rows, Path(name))
        if options.study is not None:
            rows += scoring(options.study, Path(name))
    print("| What | CPU-s | MB |\n|---|---|---|")
    for what, cpu, memory in rows:
        print(f"| {what} | {cpu:.2f} | {memory:.0f} |")


if __name__ == "__main__":
    main()
