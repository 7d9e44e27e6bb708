"""clean + label over 5,000,000 posts of 500,000 authors, beside the same in plain DuckDB.

``python -m benchmarks.clean [--posts N] [--authors N] [--keep FOLDER]`` prints a Markdown table.

The posts are generated: log-normal followers (0.5 % of the accounts unknown, 1 % empty, some
celebrities), half of the authors read twice, likes that follow the followers, a caption, two tags
and one picture a post. The verbs run as they are, on DuckDB and on Spark (``local[2]``); pictures
without bytes stand for the downloaded ones. The plain script knows the data: one host, no
corrections, no copies, no counts of reasons; it reads and writes the same narrow columns with the
same codec. Each runs in a process of its own; memory is the largest sum of resident sets of the
process and all below it.
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
from pathlib import Path

import duckdb
import psutil
import pyarrow.dataset as ds

from likewise.config import render
from likewise.study import Study

TIMES = {"plain": 1.0, "duckdb": 1.3, "spark": 7.0}
"""CPU time that each may take, in that of the plain script."""

TARGET_GIB = 8

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

FETCHES_SQL = """
COPY (
  SELECT platform, host, post_id, 0::INTEGER AS media_index, author_id, 0::INTEGER AS bucket,
         media[1].url AS url, sha256(post_id) AS picture_id, NULL::BIGINT AS n_bytes,
         1080::INTEGER AS width, 1080::INTEGER AS height,
         'ok' AS status, NULL::VARCHAR AS error_class, 200::INTEGER AS http_status,
         1::INTEGER AS attempts, collected_at AS fetched_at
  FROM read_parquet('{root}/tables/posts/*.parquet')
) TO '{folder}' (FORMAT parquet, COMPRESSION zstd, FILE_SIZE_BYTES '64MB')
"""

PICTURES_SQL = """
COPY (
  SELECT sha256(post_id) AS picture_id, 0::INTEGER AS bucket, ''::BLOB AS bytes,
         0::BIGINT AS n_bytes, 'jpeg' AS format, 1080::INTEGER AS width,
         1080::INTEGER AS height, NULL::TINYINT AS orientation,
         (hash(post_id) // 2)::BIGINT AS phash
  FROM read_parquet('{root}/tables/posts/*.parquet')
) TO '{folder}' (FORMAT parquet, COMPRESSION zstd, FILE_SIZE_BYTES '64MB')
"""

PLAIN_CLEAN = """
CREATE TEMP TABLE latest AS
  SELECT platform, host, author_id, arg_max(followers, fetched_at) AS latest,
         list({{'at': fetched_at, 'count': followers}}) AS readings
  FROM read_parquet('{authors}') WHERE followers IS NOT NULL GROUP BY ALL;
CREATE TEMP TABLE centre AS
  SELECT median(ln(1 + latest)) AS median, mad(ln(1 + latest)) AS mad FROM latest WHERE latest > 0;
COPY (
  WITH joined AS (
    SELECT platform, host, post_id, author_id, created_at, likes, latest, ln(1 + latest) AS x,
           collected_at,
           CASE WHEN len(readings) = 1 THEN readings[1]
                ELSE list_sort(list_transform(readings, lambda r: {{
                  'gap': abs(epoch_us(r.at) - epoch_us(p.collected_at)),
                  'at': r.at, 'count': r.count}}))[1] END AS nearest,
           (epoch_us(collected_at) - epoch_us(coalesce(indexed_at, created_at))) / 86400e6
             AS age_days
    FROM read_parquet('{posts}') p JOIN latest USING (platform, host, author_id))
  SELECT * EXCLUDE (latest, x, nearest, collected_at), nearest.count AS audience,
         nearest.at AS audience_at, 0.6745 * (x - median) / mad AS robust_z
  FROM joined, centre
  WHERE likes >= 0 AND age_days >= 30 AND nearest.count > 0 AND likes <= 20 * nearest.count
    AND created_at >= TIMESTAMPTZ '2004-02-01 00:00:00+00'
    AND abs(epoch_us(nearest.at) - epoch_us(collected_at)) <= 90 * 86400e6
    AND abs(0.6745 * (x - median) / mad) <= 3.5
) TO '{kept}' (FORMAT parquet, COMPRESSION zstd);
"""

PLAIN_LABEL = """
CREATE TEMP TABLE candidates AS
  SELECT p.picture_id, p.platform, p.host, p.post_id, p.media_index, p.bucket, p.author_id,
         k.likes, k.audience, k.created_at, k.age_days, k.likes / k.audience AS ratio
  FROM read_parquet('{fetches}') p JOIN read_parquet('{kept}') k USING (platform, host, post_id)
  WHERE p.status = 'ok';
CREATE TEMP TABLE middle AS SELECT median(ratio) AS cut FROM candidates;
CREATE TEMP TABLE folds AS
  WITH authors AS (
    SELECT platform, host, author_id, count(*) AS n, avg((ratio > cut)::INT) AS good
    FROM candidates, middle GROUP BY ALL)
  SELECT *, row_number() OVER (ORDER BY ceil(8 * good), n DESC, hash(author_id, 1)) AS place
  FROM authors;
COPY (
  SELECT picture_id, platform, host, post_id, media_index, bucket, author_id,
         likes, audience, created_at, age_days, NULL::INTEGER AS n_faces,
         ratio, (ratio > cut)::TINYINT AS label, 1.0::DOUBLE AS weight,
         (place % 5)::INTEGER AS fold, CASE WHEN place % 4 = 0 THEN 'test' ELSE 'train' END AS split
  FROM candidates JOIN folds USING (platform, host, author_id), middle
) TO '{labels}' (FORMAT parquet, COMPRESSION zstd);
"""


def generate(root: Path, posts: int, authors: int) -> None:
    """A study whose posts and authors tables have been collected, as far as clean can tell."""
    root.mkdir(parents=True)
    settings = {
        "study": {"name": "benchmark"},
        "spark": {"driver_memory": "4g"},
        "label": {"require_faces": False, "near_duplicate_radius": 0},
    }
    (root / "likewise.toml").write_text(render(settings), encoding="utf-8")
    study = Study.open(root)
    made = {"authors": AUTHORS_SQL, "posts": POSTS_SQL, "fetches": FETCHES_SQL}
    for table, sql in (made | {"pictures": PICTURES_SQL}).items():
        stage = study.begin(table)
        with stage.staging() as folder, duckdb.connect() as connection:
            connection.execute("SET threads TO 2; SET memory_limit = '6GB'; SET TimeZone = 'UTC'")
            connection.execute(sql.format(folder=folder, root=root, posts=posts, authors=authors))
        stage.publish()


def run_verbs(root: Path, master: str | None) -> dict[str, float]:
    """``clean`` and ``label`` as they are."""
    import likewise

    times = {"start": time.perf_counter()}
    if master is not None:
        from spark_jobs.session import spark_session

        spark_session(Study.open(root).config, master=master)
    times["session"] = time.perf_counter()
    rows = likewise.clean(root, redo=True, master=master).rows
    times["clean"] = time.perf_counter()
    labels = likewise.label(root, redo=True, master=master).rows
    times["label"] = time.perf_counter()
    return _lengths(times) | {"kept": rows, "labels": labels}


def run_plain(root: Path) -> dict[str, float]:
    """The same, written plainly in SQL."""
    study = Study.open(root)
    places = {name: study.parts(name)[0].rsplit("/", 1)[0] + "/*.parquet" for name in TABLES}
    places |= {name: root / f"plain-{name}.parquet" for name in ("kept", "labels")}
    times = {"start": time.perf_counter()}
    with duckdb.connect() as connection:
        connection.execute("SET threads TO 2; SET memory_limit = '7GB'; SET TimeZone = 'UTC'")
        times["session"] = time.perf_counter()
        connection.execute(PLAIN_CLEAN.format(**places))
        times["clean"] = time.perf_counter()
        connection.execute(PLAIN_LABEL.format(**places))
        times["label"] = time.perf_counter()
    rows = {name: ds.dataset(places[name]).count_rows() for name in ("kept", "labels")}
    return _lengths(times) | rows


TABLES = ("posts", "authors", "fetches")


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
    """Parse arguments, run the engines, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=5_000_000)
    parser.add_argument("--authors", type=int, default=500_000)
    parser.add_argument("--keep", type=Path, help="work here and leave the data for the next run")
    parser.add_argument("--engine", choices=list(TIMES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine == "plain":
        print(json.dumps(run_plain(options.keep)))
        return
    if options.engine:
        master = "local[2]" if options.engine == "spark" else None
        print(json.dumps(run_verbs(options.keep, master)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        root = (options.keep or Path(scratch)) / f"study-{options.posts}-{options.authors}"
        if not root.exists():
            generate(root, options.posts, options.authors)
        results = {engine: measured(engine, root) for engine in TIMES}
    print(f"{options.posts:,} posts, {options.authors:,} authors, 2 cores\n")
    print("| Engine | session s | clean s | label s | CPU-s | x plain | may | GiB | labels |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, r in results.items():
        print(
            f"| {name} | {r['session']:.0f} | {r['clean']:.1f} | {r['label']:.1f} | {r['cpu']:.1f} "
            f"| {r['cpu'] / results['plain']['cpu']:.2f} | {TIMES[name]} "
            f"| {r['gib']:.1f} of {TARGET_GIB} | {int(r['labels']):,} |"
        )


if __name__ == "__main__":
    main()
