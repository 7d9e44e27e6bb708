"""A first run and ten nights of 5 % new pictures: what each costs beside its share of news.

``python -m benchmarks.night [--pictures N] [--nights K] [--simulated | --posts]`` prints a Markdown
table of CPU-seconds (user + system of the process and all below it) and bytes written by
``extract``, each in a process of its own. ``--simulated`` puts sixteen numbers in the place of the
network, so that a million pictures show what everything around it costs. A night of one picture is
the fixed cost, beyond which a night is held against its share; a night without news is measured,
too. ``--posts`` measures the tables of ``collect`` in the place of ``extract``: N posts
of a year, then nights that bring 5 % new ones and read what has come of age again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.extract import fetched, jpeg_of
from collectors.platforms.records import Author, Media, Post
from likewise.config import render
from likewise.pictures import GROUP_ROWS, split
from likewise.study import Study
from likewise.tables import FETCHED, LABELS, features_schema

BUCKETS = 16
COLLECTED = ("posts", "authors", "post_counts")
AT_ONCE = 20_000
DIFFERENT = 2_000
AUTHORS = 20_011


def grow(folder: Path, before: int, n: int, *, simulated: bool) -> None:
    """Publish ``n`` more pictures and their labels, as download and label would."""
    study = Study.open(folder)
    contents = [b""] if simulated else [jpeg_of(seed) for seed in range(DIFFERENT)]
    parts: dict[str, list[Path]] = {"pictures": [], "fetches": []}
    for start in range(before, before + n, AT_ONCE):
        rows = [
            _picture(k, contents[k % len(contents)])
            for k in range(start, min(start + AT_ONCE, before + n))
        ]
        fetches, pictures = split(pa.Table.from_pylist(rows, FETCHED), BUCKETS)
        for table, found in (("pictures", pictures), ("fetches", fetches)):
            part = study.folder(".staging") / f"{table}-{start}.parquet"
            pq.write_table(found, part, row_group_size=GROUP_ROWS)
            parts[table].append(part)
    for table, own in parts.items():
        kept = list(study.store.sizes(table))
        study.begin(table, params={"n": before + n}, redo=True).exchange(own, kept)
        for part in own:
            part.unlink()
    ids = study.read("fetches", ["picture_id", "post_id"])
    blank = {f.name: pa.nulls(len(ids), f.type).fill_null(_zero(f.type)) for f in LABELS.schema}
    columns = blank | {"picture_id": ids["picture_id"], "post_id": ids["post_id"]}
    labels = study.begin("labels", params={"n": before + n}, redo=True)
    labels.write(pa.table([columns[f.name] for f in LABELS.schema], schema=LABELS.schema))
    labels.publish()


def _zero(kind: pa.DataType) -> Any:
    if pa.types.is_string(kind):
        return ""
    return pa.scalar(0, pa.int64()).cast(kind)


def _picture(number: int, content: bytes) -> dict[str, Any]:
    keys = {"host": PLACE[1], "post_id": f"{number:018d}", "author_id": str(number % AUTHORS)}
    return {**fetched(number, content, number % BUCKETS), **keys}  # of the posts of ``collect``


def extract(folder: Path, *, simulated: bool) -> None:
    """The verb, or the verb with numbers in the place of the network."""
    from spark_jobs import extract as job
    from spark_jobs import tasks

    if simulated:
        tasks.LOCAL = job.FEW = 1 << 40  # other processes would not know of the numbers
        job._Work._write = _write  # type: ignore[method-assign]
    job.extract(folder)


def _write(work: Any, path: Path, chunk: Any, plan: Any) -> tuple[int, dict[str, int]]:
    """Both views of each picture as sixteen numbers; the pictures are read as ever."""
    from backbones.features_table import features_writer
    from backbones.inference import Batch, record_batch
    from likewise.pictures import bytes_of

    schema, rows = features_schema(plan.layers), 0
    with features_writer(path, schema, plan) as write:
        for part, wanted in chunk.wanted.items():
            ids = [one for one, _ in bytes_of(part, wanted)]
            for start in range(0, len(ids), 256):
                some = ids[start : start + 256]
                values = np.ones((plan.views * len(some), 16), np.float32)
                batch = Batch(some, [None] * len(some), dict.fromkeys(plan.layers, values))
                more = {"bucket": [0] * len(some), "maker": [work.place.maker] * len(some)}
                rows += write(record_batch(batch, plan, schema, **more))
    return rows, {}


DAY = 86_400_000_000
START = 1_600_000_000_000_000
PLACE = ("mastodon", "a.example")


def collect(folder: Path, before: int, n: int) -> None:
    """What a crawl writes of ``n`` posts that follow one another: journal and tables.

    The first ones are of a year; later ones are of a day, in which posts of 30 days ago are read
    again. No server is asked: what stands around the calls is measured.
    """
    from collectors.collect import open_platforms
    from collectors.crawling.journal import Journal
    from collectors.crawling.publish import publish
    from collectors.platforms.base import Page

    study = Study.open(folder)
    nights = 0 if not before else int((folder / "nights").read_text(encoding="utf-8")) + 1
    (folder / "nights").write_text(str(nights), encoding="utf-8")
    end = START + (365 + nights) * DAY
    span = DAY if nights else 365 * DAY
    with (
        mock.patch("time.time_ns", return_value=end * 1000),
        Journal(study.journal_path) as journal,
    ):
        for start in range(0, n, 40):
            some = range(start, min(start + 40, n))
            posts = [_post(before + k, end - span + span * k // n) for k in some]
            ids = [post.author_id for post in posts]
            authors = [Author(one, f"u{one}", 100 + int(one) % 5_000) for one in ids]
            with journal.transaction():
                journal.posts.store(*PLACE, posts, lambda _: True, nights + 1, frozenset())
                journal.authors.store(*PLACE, authors)
        of_age, last = 0, ""
        while ids := journal.posts.came_of_age(*PLACE, last, 40, 30 * DAY) if nights else []:
            page = Page(posts=[_post(int(one), 0, likes=7) for one in ids])
            with journal.transaction():
                journal.read_again(*PLACE, page, frozenset({"likes", "comments"}), 30 * DAY)
            of_age, last = of_age + len(ids), ids[-1]
        publish(study, journal, open_platforms(study), None)


def _post(number: int, created_at: int, likes: int | None = None) -> Post:
    text = hashlib.sha256(str(number).encode()).hexdigest() * 3  # as long as captions are
    media = [Media(0, "image", f"https://a.example/{number}.jpg", width=1080, height=1080)]
    return Post(
        f"{number:018d}", str(number % AUTHORS), created_at=created_at, comments=1,
        likes=number * 7_919 % 97 if likes is None else likes,
        text=text, tags=["photo"], media=media,
    )  # fmt: skip


def measured(
    folder: Path, mode: str, *arguments: str, tables: Sequence[str] = ("features",)
) -> tuple[float, int]:
    """CPU-seconds of a call of this module, and bytes of new parts of ``tables``."""

    def parts() -> dict[tuple[str, str], int]:
        store = Study.open(folder).store
        return {(name, part): n for name in tables for part, n in store.sizes(name).items()}

    before = parts()
    command = [sys.executable, "-m", "benchmarks.night", "--folder", str(folder), "--do", mode]
    process = subprocess.Popen([*command, *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, f"{mode} failed"
    sizes = parts()
    new = sizes.keys() - before.keys()
    return usage.ru_utime + usage.ru_stime, sum(sizes[one] for one in new)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=1_000)
    parser.add_argument("--nights", type=int, default=10)
    parser.add_argument("--simulated", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--posts", action="store_true", help="the tables of collect")
    parser.add_argument("--do", choices=["collect", "extract", "grow"])
    parser.add_argument("--range", type=int, nargs=2)
    options = parser.parse_args()
    if options.do == "extract":
        extract(options.folder, simulated=options.simulated)
        return
    if options.do == "grow":
        grow(options.folder, *options.range, simulated=options.simulated)
        return
    if options.do == "collect":
        collect(options.folder, *options.range)
        return
    flags = ["--simulated"] if options.simulated else []
    with tempfile.TemporaryDirectory(prefix="likewise-night-") as name:
        folder = Path(name)
        source = {"platform": PLACE[0], "host": PLACE[1], "permission": "none", "tags": ["photo"]}
        text = render(
            {
                "extract": {"backbone": "efficientnet-lite0"},
                "collect": {"sources": [{**source, "max_posts": 10**8}]},
            }
        )
        (folder / "likewise.toml").write_text(text, encoding="utf-8")
        print("| run | new | CPU-s | MB written | CPU / (first x share) | MB / (first x share) |")
        print("| --- | --- | --- | --- | --- | --- |")
        there, first, nights = 0, (0.0, 0), []
        for night in range(options.nights + 1):
            new = options.pictures if not night else max(1, options.pictures // 20)
            here = ["--range", str(there), str(new)]
            if options.posts:
                cpu, size = measured(folder, "collect", *here, tables=COLLECTED)
            else:
                measured(folder, "grow", *here, *flags)
                cpu, size = measured(folder, "extract", *flags)
            there += new
            first = first if night else (cpu, size)
            nights += [(cpu, size)] if night else []
            part = new / options.pictures
            shares = f"{cpu / (first[0] * part):.2f} | {size / (first[1] * part):.2f}"
            label = f"night {night}" if night else "first"
            print(f"| {label} | {new:,} | {cpu:.1f} | {size / 1e6:.2f} | {shares} |", flush=True)
        if options.posts:
            return
        measured(folder, "grow", "--range", str(there), "1", *flags)
        fixed = measured(folder, "extract", *flags)
        beyond = (np.median(nights, axis=0) - fixed) / (np.array(first) * part)
        print(f"| one picture | 1 | {fixed[0]:.1f} | {fixed[1] / 1e6:.2f} | | |")
        print(f"| median night less that | {new:,} | | | {beyond[0]:.2f} | {beyond[1]:.2f} |")
        cpu, size = measured(folder, "extract", *flags)
        print(f"| no news | 0 | {cpu:.1f} | {size / 1e6:.2f} | | |")


if __name__ == "__main__":
    main()
