"""clean + label over 20,000,000 posts of 2,000,000 authors, beside the same in plain DuckDB.

``python -m benchmarks.clean [--posts N] [--authors N] [--keep FOLDER]`` prints a Markdown table.

The posts are generated: log-normal followers (0.5 % of the accounts unknown, 1 % empty, some
celebrities), half of the authors read twice, likes that follow the followers, a caption, two tags
and one picture a post. ``clean`` is the verb as it is. Of ``label`` the joins with pictures and
faces are left out (there are no 20,000,000 pictures to join with): the kept posts themselves are
labelled, by the same code: exact median, folds by author, labels written; making candidates of
them counts as labelling. Both sides read and write the same Parquet columns, with the same codec.
Each runs in a process of its own; memory is the largest sum of resident sets of the process and
all below it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from likewise.config import render
from likewise.study import Study
from likewise.tables import KEPT_POSTS
from spark_jobs.work import Item

TARGET_S, TARGET_GIB, TARGET_TIMES = 150, 8, 3

AUTHORS_SQL = """
COPY (
  SELECT 'mastodon' AS platform, 'one.example' AS host, 'author-' || a AS author_id,
         'name' || a AS handle,
         CASE WHEN hash(a, 1) % 200 = 0 THEN NULL
              WHEN hash(a, 2) % 100 = 0 THEN 0
              WHEN hash(a, 3) % 5000 = 0 THEN 1000000 + (hash(a, 4) % 50000000)::BIGINT
              ELSE greatest(1, exp(5.5 + 1.6 * (
                (hash(a, 5) % 1000 + hash(a, 6) % 1000 + hash(a, 7) % 1000) / 500.0 - 3)))::BIGINT
         END + reading * (hash(a, 8) % 10)::BIGINT AS followers,
         100::BIGINT AS following, 50::BIGINT AS posts_count, false AS bot, false AS noindex,
         NULL::TIMESTAMPTZ AS created_at, 'embedded' AS source,
         TIMESTAMPTZ '2026-01-01 00:00:00+00' + INTERVAL (30 * reading) DAY AS fetched_at
  FROM range({authors}) t(a), range(2) r(reading)
  WHERE reading = 0 OR a % 2 = 0
) TO '{folder}' (FORMAT parquet, COMPRESSION zstd, FILE_SIZE_BYTES '64MB')
"""

POSTS_SQL = """
COPY (
  SELECT 'mastodon' AS platform, 'one.example' AS host, (1000000000000 + p)::VARCHAR AS post_id,
         'author-' || a AS author_id, 'https://one.example/@' || a || '/' || p AS url,
         TIMESTAMPTZ '2026-02-01 00:00:00+00' - INTERVAL (hash(p, 1) % 40000000) SECOND
           AS created_at,
         NULL::TIMESTAMPTZ AS indexed_at,
         TIMESTAMPTZ '2026-02-01 00:00:00+00' + INTERVAL (hash(p, 2) % 86400) SECOND
           AS collected_at,
         CASE WHEN hash(p, 3) % 100 = 0 THEN NULL
              ELSE (exp(1.6 * (hash(a, 5) % 1000 + hash(a, 6) % 1000 + hash(a, 7) % 1000) / 500.0)
                    * (hash(p, 4) % 1000) / 1000.0)::BIGINT END AS likes,
         (hash(p, 5) % 10)::BIGINT AS comments, (hash(p, 6) % 5)::BIGINT AS shares,
         NULL::BIGINT AS views, ['me', 'tag' || (hash(p, 7) % 1000)] AS tags,
         'a caption of some words ' || hash(p, 8) AS text, 'en' AS language,
         'public' AS visibility, false AS sensitive, []::VARCHAR[] AS labels,
         [{{'index': 0::INTEGER, 'kind': 'image',
            'url': 'https://files.one.example/media/' || p || '.jpg',
            'preview_url': NULL::VARCHAR, 'width': 1080::INTEGER, 'height': 1080::INTEGER,
            'alt': NULL::VARCHAR}}] AS media
  FROM (SELECT p, (hash(p, 9) % {authors})::BIGINT AS a FROM range({posts}) t(p))
) TO '{folder}' (FORMAT parquet, COMPRESSION zstd, FILE_SIZE_BYTES '256MB')
"""

DUCKDB_CLEAN = """
CREATE TEMP TABLE latest AS
  SELECT platform, host, author_id, arg_max(followers, fetched_at) AS latest,
         list({{'at': fetched_at, 'count': followers}}) AS readings
  FROM read_parquet('{authors}') WHERE followers IS NOT NULL GROUP BY ALL;
CREATE TEMP TABLE centre AS
  SELECT median(ln(1 + latest)) AS median, mad(ln(1 + latest)) AS mad FROM latest WHERE latest > 0;
COPY (
  WITH joined AS (
    SELECT p.*, latest, ln(1 + latest) AS x,
           CASE WHEN len(readings) = 1 THEN readings[1]
                ELSE list_sort(list_transform(readings, lambda r: {{
                  'gap': abs(epoch_us(r.at) - epoch_us(p.collected_at)),
                  'at': r.at, 'count': r.count}}))[1] END AS nearest,
           (epoch_us(collected_at) - epoch_us(coalesce(indexed_at, created_at))) / 86400e6
             AS age_days
    FROM read_parquet('{posts}') p JOIN latest USING (platform, host, author_id))
  SELECT * EXCLUDE (latest, x, nearest), nearest.count AS followers, nearest.at AS followers_at,
         0.6745 * (x - median) / mad AS robust_z
  FROM joined, centre
  WHERE likes >= 0 AND age_days >= 30 AND nearest.count > 0 AND likes <= 20 * nearest.count
    AND created_at >= TIMESTAMPTZ '2004-02-01 00:00:00+00'
    AND abs(epoch_us(nearest.at) - epoch_us(collected_at)) <= 90 * 86400e6
    AND abs(0.6745 * (x - median) / mad) <= 3.5
) TO '{kept}' (FORMAT parquet, COMPRESSION zstd, PER_THREAD_OUTPUT true);
"""

DUCKDB_LABEL = """
CREATE TEMP TABLE middle AS
  SELECT median(likes / followers) AS cut FROM read_parquet('{kept}/*.parquet');
CREATE TEMP TABLE folds AS
  WITH authors AS (
    SELECT platform, host, author_id, count(*) AS n, avg((likes / followers > cut)::INT) AS good
    FROM read_parquet('{kept}/*.parquet'), middle GROUP BY ALL)
  SELECT *, row_number() OVER (ORDER BY ceil(8 * good), n DESC, hash(author_id, 1)) AS place
  FROM authors;
COPY (
  SELECT post_id AS picture_id, platform, host, post_id, 0 AS media_index, 0 AS bucket, author_id,
         likes, followers, created_at, age_days, NULL::INTEGER AS n_faces,
         likes / followers AS ratio, (likes / followers > cut)::TINYINT AS label, 1.0 AS weight,
         (place % 5)::INTEGER AS fold, CASE WHEN place % 4 = 0 THEN 'test' ELSE 'train' END AS split
  FROM read_parquet('{kept}/*.parquet') JOIN folds USING (platform, host, author_id), middle
) TO '{labels}' (FORMAT parquet, COMPRESSION zstd, PER_THREAD_OUTPUT true);
"""


def generate(root: Path, posts: int, authors: int) -> None:
    """A study whose posts and authors tables have been collected, as far as clean can tell."""
    root.mkdir(parents=True)
    settings = {"study": {"name": "benchmark"}, "spark": {"driver_memory": "4g"}}
    (root / "likewise.toml").write_text(render(settings), encoding="utf-8")
    study = Study.open(root)
    for table, sql in (("authors", AUTHORS_SQL), ("posts", POSTS_SQL)):
        stage = study.begin(table)
        with stage.staging() as folder, duckdb.connect() as connection:
            connection.execute("SET threads TO 2; SET memory_limit = '6GB'; SET TimeZone = 'UTC'")
            connection.execute(sql.format(folder=folder, posts=posts, authors=authors))
        stage.publish()


def run_spark(root: Path) -> dict[str, float]:
    """``clean`` and the labelling of its result on ``local[2]``."""
    from likewise.config import LabelSection
    from spark_jobs.clean import clean
    from spark_jobs.labelled import labelled
    from spark_jobs.session import spark_session
    from spark_jobs.work import Target, items_of, spread

    study = Study.open(root)
    times = {"start": time.perf_counter()}
    spark = spark_session(study.config, master="local[2]")
    times["session"] = time.perf_counter()
    rows = clean(study).rows
    times["clean"] = time.perf_counter()
    for name in ("labels", "candidates", "scratch"):
        (root / name).mkdir()
    items = items_of(study.parts("kept_posts"))
    spread(spark, Candidates(root / "candidates"), items)
    target = Target("labels", root / "labels", root / "scratch")
    counts, _ = labelled(spark, root / "candidates", target, LabelSection(), seed=1)
    times["label"] = time.perf_counter()
    return _lengths(times) | {"kept": rows, "labels": counts.rows_out}


@dataclass(frozen=True)
class Candidates:
    """Kept posts as what the joins of ``label`` give: one picture a post, narrow, with hashes."""

    folder: Path

    def __call__(self, item: Item) -> None:
        """Write one part."""
        from filters.hashing import xxhash64
        from spark_jobs.labelled import CANDIDATES

        post_key, author_key = ("platform", "host", "post_id"), ("platform", "host", "author_id")
        facts = ("likes", "followers", "created_at", "age_days")
        names = dict.fromkeys([*post_key, *author_key, *facts])
        schema = pa.schema([KEPT_POSTS.schema.field(name) for name in names])
        with pq.ParquetWriter(
            self.folder / f"{item.number}.parquet",
            CANDIDATES,
            compression="zstd",
            compression_level=1,
            use_dictionary=["platform", "host"],
        ) as writer:
            for batch in item.batches(schema):
                known = dict(zip(names, batch.columns, strict=True))
                zeros = pa.array(np.zeros(batch.num_rows, np.int32))
                hashes = [
                    pa.array(xxhash64([known[name] for name in key]).view(np.int64))
                    for key in (author_key, post_key)
                ]
                more = dict(zip(("author_hash", "post_hash"), hashes, strict=True))
                columns = {
                    **known,
                    **more,
                    "picture_id": known["post_id"],
                    "media_index": zeros,
                    "bucket": zeros,
                    "n_faces": pa.nulls(batch.num_rows, pa.int32()),
                }
                writer.write_batch(
                    pa.record_batch([columns[n] for n in CANDIDATES.names], schema=CANDIDATES)
                )


def run_duckdb(root: Path) -> dict[str, float]:
    """The same, written plainly in SQL."""
    study = Study.open(root)
    times = {"start": time.perf_counter()}
    (root / "duckdb-kept").mkdir()
    places = {
        "posts": study.parts("posts")[0],
        "authors": study.parts("authors")[0],
        "kept": root / "duckdb-kept",
        "labels": root / "duckdb-labels",
    }
    with duckdb.connect() as connection:
        connection.execute("SET threads TO 2; SET memory_limit = '7GB'; SET TimeZone = 'UTC'")
        times["session"] = time.perf_counter()
        connection.execute(DUCKDB_CLEAN.format(**places))
        times["clean"] = time.perf_counter()
        connection.execute(DUCKDB_LABEL.format(**places))
        times["label"] = time.perf_counter()
    rows = ds.dataset(places["labels"], format="parquet").count_rows()
    return _lengths(times) | {"kept": rows, "labels": rows}


def _lengths(times: dict[str, float]) -> dict[str, float]:
    names = list(times)
    return {b: times[b] - times[a] for a, b in itertools.pairwise(names)}


@contextlib.contextmanager
def _watched(process: subprocess.Popen[str]) -> Iterator[dict[str, float]]:
    """CPU seconds and largest resident sum of a process and all below it."""
    seen: dict[str, float] = {"gib": 0.0}
    cpu: dict[int, float] = {}
    stop = threading.Event()

    def sample() -> None:
        root = psutil.Process(process.pid)
        while not stop.wait(0.2):
            with contextlib.suppress(psutil.Error):
                tree = [root, *root.children(recursive=True)]
                seen["gib"] = max(seen["gib"], sum(p.memory_info().rss for p in tree) / 2**30)
                cpu.update({p.pid: sum(p.cpu_times()[:2]) for p in tree})

    thread = threading.Thread(target=sample)
    thread.start()
    yield seen
    stop.set()
    thread.join()
    seen["cpu"] = sum(cpu.values())


def measured(engine: str, root: Path) -> dict[str, float]:
    """Run one engine in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.clean", "--engine", engine, "--keep", str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        with _watched(process) as seen:
            answer, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"{engine} failed")
    result: dict[str, float] = json.loads(answer.splitlines()[-1])
    return result | seen


def main() -> None:
    """Parse arguments, run both engines, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=20_000_000)
    parser.add_argument("--authors", type=int, default=2_000_000)
    parser.add_argument("--keep", type=Path, help="work here and leave the data for the next run")
    parser.add_argument("--engine", choices=("spark", "duckdb"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        run = run_spark if options.engine == "spark" else run_duckdb
        print(json.dumps(run(options.keep)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        root = (options.keep or Path(scratch)) / f"study-{options.posts}-{options.authors}"
        if not root.exists():
            generate(root, options.posts, options.authors)
        _forget(root)
        results = {engine: measured(engine, root) for engine in ("duckdb", "spark")}
    _print(options.posts, options.authors, results)


def _forget(root: Path) -> None:
    """Remove what an earlier run of the benchmark made."""
    import shutil

    for name in (
        *("tables/kept_posts", "labels", "candidates", "scratch"),
        *("duckdb-kept", "duckdb-labels"),
    ):
        shutil.rmtree(root / name, ignore_errors=True)


def _print(posts: int, authors: int, results: dict[str, dict[str, float]]) -> None:
    spark, duck = results["spark"], results["duckdb"]
    work = {name: r["clean"] + r["label"] for name, r in results.items()}
    print(f"{posts:,} posts, {authors:,} authors, 2 cores\n")
    print("| Engine | session s | clean s | label s | clean + label s | CPU-s | GiB | labels |")
    print("|---|---|---|---|---|---|---|---|")
    for name, r in results.items():
        print(
            f"| {name} | {r['session']:.0f} | {r['clean']:.1f} | {r['label']:.1f} "
            f"| {work[name]:.1f} | {r['cpu']:.0f} | {r['gib']:.1f} | {int(r['labels']):,} |"
        )
    print(
        f"| target for Spark | | | | {TARGET_S} and {TARGET_TIMES} x DuckDB = "
        f"{TARGET_TIMES * work['duckdb']:.0f} | | {TARGET_GIB} | |\n"
    )
    print(
        f"Spark: {work['spark'] / work['duckdb']:.1f} x the wall time and "
        f"{spark['cpu'] / duck['cpu']:.1f} x the CPU time of DuckDB."
    )


if __name__ == "__main__":
    main()
