"""Other programs read a study's tables from the parts that a snapshot names: DuckDB, plain Spark.

Spark reads them from an S3 server by its own s3a file system. Its jars stand in PyPI's package
sagemaker_pyspark; ``LIKEWISE_S3A_JARS`` names their folder where that is not installed:
``uv pip install --target DIR --no-deps sagemaker_pyspark``, ``DIR/sagemaker_pyspark/jars``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import boto3
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from kept_posts import keep
from misbehaving import Misbehaving
from s3_servers import KEYS, served

from collectors.download import download
from likewise.config import render
from likewise.nights import end_night
from likewise.study import Study

pytestmark = pytest.mark.slow


def test_duckdb_reads_what_study_reads(
    server: Misbehaving, make_study: Callable[..., Study]
) -> None:
    urls = [server.url(f"/ok/{number % 5}") for number in range(12)]
    study = make_study(urls)
    download(study)
    end_night(study)
    keep(study, [*urls, server.url("/ok/7")])
    download(study)
    end_night(study)
    for night, (asked, pictures) in {1: (12, 5), 2: (13, 6)}.items():
        seen = Study.open(study.root, at=night)
        with duckdb.connect() as db:
            for table in seen.tables():
                parts = seen.parts(table)
                rows = db.read_parquet(parts)
                assert rows.count("*").fetchall()[0][0] == seen.read(table).num_rows
                assert set(rows.columns) == set(seen.dataset(table).schema.names)
            for table in ("fetches", "pictures"):
                db.read_parquet(seen.parts(table)).create_view(table)
            [found] = db.execute(
                "SELECT count(*), count(DISTINCT picture_id), bool_and(sha256(bytes) = picture_id) "
                "FROM fetches JOIN pictures USING (picture_id)"
            ).fetchall()
        assert found == (asked, pictures, True)
    # The log names the same files to whoever reads Delta tables.
    newest = DeltaTable(str(study.root / "tables" / "pictures"))
    assert {Path(uri).name for uri in newest.file_uris()} == {
        Path(part).name for part in study.parts("pictures")
    }


JARS = ("hadoop-aws-", "aws-java-sdk-bundle-")

# These jars are older than Spark's Hadoop, and read "60s" as no number: all times are plain ones.
TIMES = {
    "threads.keepalivetime": 60,
    "connection.establish.timeout": 5_000,
    "connection.timeout": 60_000,
    "connection.request.timeout": 0,
    "connection.ttl": 300_000,
    "multipart.purge.age": 86_400,
}

PLAIN_SPARK = """
import json, sys
from pyspark.sql import SparkSession
options, parts = map(json.loads, sys.argv[1:])
builder = SparkSession.builder.master("local[1]")
for name, value in options.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
for some in parts:
    print(json.dumps([row.asDict() for row in spark.read.parquet(*some).collect()]))
"""


def s3a_jars() -> list[str]:
    folder = os.environ.get("LIKEWISE_S3A_JARS")
    if folder is None:
        spec = importlib.util.find_spec("sagemaker_pyspark")
        folder = "" if spec is None or spec.origin is None else f"{Path(spec.origin).parent}/jars"
    found = [
        str(one) for head in JARS for one in sorted(Path(folder or "/nowhere").glob(f"{head}*.jar"))
    ]
    if len(found) < len(JARS):
        pytest.skip("no s3a jars: set LIKEWISE_S3A_JARS, see the head of this file")
    return found


@pytest.mark.timeout(600)
def test_plain_spark_reads_the_tables_in_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a line of likewise: two nights of a table, and features as they are encoded."""
    jars = s3a_jars()
    (tmp_path / "likewise.toml").write_text(
        render({"study": {"store": "s3://bucket/a/study"}}), encoding="utf-8"
    )
    with served("-m", "moto.server") as endpoint:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="bucket")
        study = Study.open(tmp_path)
        values = np.random.default_rng(0).normal(size=(300, 64)).clip(0).astype(np.float32)
        for night in (1, 2):
            posts = study.begin("posts", params={"night": night})
            posts.write(pa.table({"post_id": [str(n) for n in range(100 * night)]}))
            posts.publish()
            features = study.begin("features", params={"night": night}, n_buckets=2)
            for bucket in (0, 1):
                with features.bucket(bucket) as folder:
                    some = pa.array(list(values[bucket : 150 * night : 2]), pa.list_(pa.float32()))
                    pq.write_table(
                        pa.table({"pooled": some}), folder / "part-0.parquet", compression="zstd",
                        use_dictionary=False, write_page_checksum=True,
                        column_encoding={"pooled.list.element": "BYTE_STREAM_SPLIT"},
                    )  # fmt: skip
            features.publish()
            end_night(study)
        s3a = {f"spark.hadoop.fs.s3a.{name}": str(value) for name, value in TIMES.items()} | {
            "spark.hadoop.fs.s3a.endpoint": endpoint,
            "spark.hadoop.fs.s3a.path.style.access": "true",
            "spark.hadoop.fs.s3a.access.key": KEYS["AWS_ACCESS_KEY_ID"],
            "spark.hadoop.fs.s3a.secret.key": KEYS["AWS_SECRET_ACCESS_KEY"],
            "spark.hadoop.fs.s3a.aws.credentials.provider": (
                "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider"
            ),
            "spark.jars": ",".join(jars),
            "spark.ui.enabled": "false",
        }
        looks = [(night, table) for night in (1, 2) for table in ("posts", "features")]
        seen = [Study.open(study, at=night).parts(table) for night, table in looks]
        parts = [[part.replace("s3://", "s3a://") for part in some] for some in seen]
        done = subprocess.run(
            [sys.executable, "-c", PLAIN_SPARK, json.dumps(s3a), json.dumps(parts)],
            capture_output=True, text=True, timeout=500, cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        for (night, table), line in zip(looks, done.stdout.splitlines(), strict=True):
            mine = Study.open(study, at=night).read(table).to_pylist()
            assert len(mine) == {"posts": 100, "features": 150}[table] * night
            assert sorted(json.loads(line), key=str) == sorted(mine, key=str)
