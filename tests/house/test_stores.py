"""A study whose tables lie in an object store: the same rows, versions and refusals."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3_servers import KEYS, PROXY, served

from collectors.crawling.erase import Doomed, erase
from infra.sandbox import World, WorldSpec, running
from likewise import cli
from likewise.checkup import doctor
from likewise.config import render
from likewise.errors import StorageError, StudyError
from likewise.nights import end_night, prune
from likewise.store import Store, check_store, filesystem_of, parquet_file
from likewise.study import Study
from likewise.tables import TABLES


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with served("-m", "moto.server") as url:
        yield url


@pytest.fixture
def bucket(moto: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": moto}.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{tmp_path.name.replace('_', '-').lower()}"[:60].rstrip("-")
    boto3.client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def study(bucket: str, tmp_path: Path) -> Study:
    text = render({"study": {"store": f"s3://{bucket}/a/study/"}})
    (tmp_path / "likewise.toml").write_text(text, encoding="utf-8")
    return Study.open(tmp_path)


def publish(study: Study, rows: list[int], **params: Any) -> None:
    stage = study.begin("posts", params=params, redo=True)
    stage.write(pa.table({"n": rows}))
    stage.publish()


def test_versions_nights_and_pruning(study: Study, bucket: str) -> None:
    for night in (1, 2, 3):
        publish(study, [night], k=night)
        assert end_night(study) == night
    assert study.begin("posts", params={"k": 3}).done
    assert study.tables() == ["nights", "posts"]
    assert not (study.root / "tables").exists()
    for night in (1, 2, 3):
        assert Study.open(study, at=night).read("posts").to_pydict() == {"n": [night]}
    assert prune(study, keep=1) == {"nights": 2, "posts": 2}
    assert study.read("posts").to_pydict() == {"n": [3]}
    keys = boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix="a/study/posts/")["Contents"]
    assert sum(one["Key"].endswith(".parquet") for one in keys) == 1


def test_buckets_growth_and_erasure(study: Study) -> None:
    schema = TABLES["posts"].schema
    blank = {f.name: None for f in schema}
    some = {"platform": "mastodon", "host": "h", "collected_at": 0}
    rows = [blank | some | {"post_id": str(n), "author_id": str(n % 3)} for n in range(9)]
    stage = study.begin("posts", n_buckets=2)
    for number in range(2):
        with stage.bucket(number) as folder:
            pq.write_table(pa.Table.from_pylist(rows[number::2], schema), folder / "part-0.parquet")
    stage.publish()
    assert [parquet_file(p).metadata.num_rows for p in study.parts("posts", 1)] == [4]
    growth = study.grow("faces", {"detector": "x"}, ["posts"])
    faces = TABLES["faces"].schema

    def write(path: Path) -> tuple[int, dict[str, int]]:
        one = {"picture_id": "p", "bucket": 0, "detector": "x", "status": "ok"}
        pq.write_table(pa.Table.from_pylist([one], faces), path)
        return 1, {}

    growth.commit([growth.place.put(["p"], write)], faces)
    assert growth.known().to_pylist() == ["p"]
    assert erase(study, Doomed("mastodon", "h", author_ids=["1"])) == {"posts": 3}
    assert set(study.read("posts")["author_id"].to_pylist()) == {"0", "2"}
    everything = [parquet_file(p).read().to_pylist() for p in study.store.every_part("posts")]
    assert all(row["author_id"] != "1" for part in everything for row in part)


def test_the_doctor_accepts_a_store_where_one_of_two_wins(study: Study) -> None:
    found = {check.name: check for check in doctor(study)}
    assert found["store"].state == "ok"
    assert study.store.names() == [], "nothing is left of the trial"


def test_the_doctor_refuses_a_store_that_ignores_the_condition(
    study: Study, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same server, through one that drops ``If-None-Match``: both writers win there."""
    with served(PROXY, moto, "--careless") as careless:
        publish(study, [1])
        monkeypatch.setenv("AWS_ENDPOINT_URL", careless)
        assert study.store.names() == ["posts"], "in all else it is a store"
        with pytest.raises(StudyError, match="ignores the condition of a conditional PUT"):
            check_store(study.store)
        [found] = [check for check in doctor(study) if check.name == "store"]
        assert found.state == "broken" and "If-None-Match" in found.detail
        assert study.store.names() == ["posts"], "nothing is left of the trial"


def test_a_store_that_went_away_is_named(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(study, [1])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(
        Store, "options", {"allow_http": "true", "max_retries": "0", "retry_timeout": "1s"}
    )
    with pytest.raises(StorageError, match="cannot be opened") as error:
        study.read("posts")
    assert "reachable" in str(error.value.hint)
    assert "onnection refused" in str(error.value), "the cause, not only that there was one"
    assert str(error.value).isprintable(), "one line, without colours"
    assert error.value.exit_code == 8, "schedulers try it again"


def test_a_store_that_goes_away_while_a_part_is_put_is_named(
    study: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    part = tmp_path / "part.parquet"
    pq.write_table(pa.table({"n": [1]}), part)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StorageError, match=r"s3://.*/posts does not answer, or refuses") as error:
        study.store.put(part, "posts", "part-0.parquet", 1)
    assert "run the same command again" in str(error.value.hint)


def test_what_a_worker_says_of_a_store_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    """Errors of workers come as they are, through Spark or joblib."""

    def fails() -> None:
        raise RuntimeError("task 3: OSError: When reading: AWS Error NETWORK_CONNECTION: refused")

    assert cli.guarded(fails) == 8
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("gs://bucket/x", "GcsFileSystem"),
        ("abfs://c@account.dfs.core.windows.net/x", "AzureFileSystem"),
    ],
)
def test_other_stores_are_understood_by_their_addresses(
    address: str, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nobody is asked: their servers are not to be had here."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "YQ==")
    text = render({"study": {"store": address}})
    (tmp_path / "likewise.toml").write_text(text, encoding="utf-8")
    store = Study.open(tmp_path).store
    assert store.remote and store.place("posts") == f"{address}/posts"
    filesystem, paths = filesystem_of([f"{address}/posts/part-0.parquet"])
    assert type(filesystem).__name__ == kind
    assert paths[0].endswith("x/posts/part-0.parquet")


WRITER = """
import sys, pyarrow as pa
from likewise.study import Study
study = Study.open(sys.argv[1])
for n in range(100):
    stage = study.begin("posts", params={"n": n}, redo=True)
    stage.write(pa.table({"n": [n] * 1000}))
    stage.publish()
    print(n, flush=True)
"""


@pytest.mark.slow
def test_kills_on_a_server_that_survives_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever version is there holds one whole table, and a killed writer's parts are orphans."""
    with served("-m", "localbucket", str(tmp_path / "s")) as url:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": url}.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="bucket")
        folder = tmp_path / "study"
        folder.mkdir()
        text = render({"study": {"store": "s3://bucket/study"}})
        (folder / "likewise.toml").write_text(text, encoding="utf-8")
        for number in range(3):
            writer = subprocess.Popen(
                [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True
            )
            assert writer.stdout is not None
            for _ in range(3 + number):
                done = int(writer.stdout.readline())
            writer.kill()
            writer.communicate()
            opened = Study.open(folder)
            found = opened.read("posts")["n"].to_pylist()
            assert len(found) == 1000 and len(set(found)) == 1 and found[0] >= done
        versions = opened.store.version("posts")
        assert versions >= 11
        assert set(opened.parts("posts")) < set(opened.store.every_part("posts"))


NIGHT = """
import sys
import textwrap
from likewise.cli import run
sys.exit(run(["run", sys.argv[1]]))
"""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_whole_run_on_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the platform to the report, with the rows of the same run in a folder; then again."""
    spec = WorldSpec(seed=3, authors=60, posts=240)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with (
        served("-m", "localbucket", str(tmp_path / "s")) as url,
        running(World(spec)) as sandbox,
    ):
        sandbox.limiter.enabled = False
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": url}.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="bucket")
        source = {
            "platform": "mastodon",
            "host": sandbox.url,
            "permission": "a test",
            "tags": ["photo"],
        }
        places = {"store": "s3://bucket/a/study", "folder": ""}
        for name, store in places.items():
            (tmp_path / name).mkdir()
            text = render(
                {
                    "study": {"store": store},
                    "collect": {"sources": [source]},
                    "download": {"allow_hosts": ["127.0.0.1"], "buckets": 2},
                    "faces": {"detector": "none"},
                    "label": {"folds": 2, "require_faces": False},
                    "extract": {"backbone": "efficientnet-lite0"},
                    "compare": {"classifiers": ["linear-svc"], "permutations": 99},
                }
            )
            (tmp_path / name / "likewise.toml").write_text(text, encoding="utf-8")
            done = subprocess.run(
                [sys.executable, "-c", NIGHT, str(tmp_path / name)], capture_output=True, text=True
            )
            assert done.returncode in {0, 3}, done.stderr  # some of the sandbox's pictures are gone
            assert (tmp_path / name / "reports" / "report.html").is_file()
        stored, local = (Study.open(tmp_path / name) for name in places)
        assert not (stored.root / "tables").exists()
        for table in ("posts", "kept_posts", "pictures", "labels", "features", "scores"):
            assert known(stored, table) == known(local, table)
        night = stored.nights()
        again = subprocess.run([sys.executable, "-c", NIGHT, str(stored.root)], capture_output=True)
        assert again.returncode in {0, 3} and stored.nights() == night, "nothing is new"


def known(study: Study, table: str) -> list[str]:
    """Rows without what says when they were read."""
    rows = study.read(table)
    times = [name for name in rows.column_names if name.endswith("_at") or name == "age_days"]
    return sorted(
        map(str, rows.drop_columns([*times, *{"attempts"} & set(rows.column_names)]).to_pylist())
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_store_that_goes_away_in_mid_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends with 8, which schedulers try again; when the store is back it goes on."""
    (tmp_path / "study").mkdir()
    text = render({"study": {"store": "s3://bucket/study"}})
    (tmp_path / "study" / "likewise.toml").write_text(text, encoding="utf-8")
    program = (
        f"from likewise import cli\nimport sys\ndef work():\n{textwrap.indent(WRITER, '    ')}"
    )
    with served("-m", "localbucket", str(tmp_path / "s")) as url:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": url, "AWS_MAX_ATTEMPTS": "1"}.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="bucket")
        writer = subprocess.Popen(
            [sys.executable, "-c", f"{program}\nsys.exit(cli.guarded(work))", tmp_path / "study"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        done = [int(writer.stdout.readline()) for _ in range(3)][-1]
    _, said = writer.communicate(timeout=500)
    assert writer.returncode == 8, said
    assert "s3://bucket/study" in said and "Traceback" not in said
    with served("-m", "localbucket", str(tmp_path / "s")) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        found = Study.open(tmp_path / "study").read("posts")["n"].to_pylist()
        assert len(found) == 1000 and len(set(found)) == 1 and found[0] >= done


@pytest.mark.slow
def test_duckdb_reads_the_tables_in_a_store(study: Study, moto: str) -> None:
    """By its own client, from the addresses of the parts."""
    import duckdb

    publish(study, list(range(100)))
    with duckdb.connect() as db:
        try:
            db.execute("INSTALL httpfs; LOAD httpfs")
        except duckdb.Error as error:
            pytest.skip(f"DuckDB's httpfs cannot be had here: {str(error).splitlines()[0]}")
        db.execute(
            "CREATE SECRET (TYPE s3, KEY_ID 'a', SECRET 'b', REGION 'us-east-1', "
            f"ENDPOINT '{moto.removeprefix('http://')}', URL_STYLE 'path', USE_SSL false)"
        )
        found = db.execute("SELECT sum(n) FROM read_parquet(?)", [study.parts("posts")]).fetchone()
    assert found == (4950,)
