"""The Spark job: equal to a plain loop, whole, resumable, the same for any number of partitions."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

import backbones
from likewise.cli import run
from likewise.errors import DataError, MissingTableError, StudyBusyError, StudyError
from likewise.study import Study
from likewise.tables import PICTURES, check_schema, features_schema
from spark_jobs import begin
from spark_jobs import extract as job
from spark_jobs.chunks import chunks
from spark_jobs.extract import extract

LITE = "efficientnet-lite0"


def features(study: Study, layer: str = "pooled") -> dict:
    rows = study.read("features").to_pylist()
    found = {(row["picture_id"], row["flipped"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def test_features_equal_a_plain_loop(spark, make_study, make_jpeg):
    """Also: only labelled pictures, both views, the mirror image of the file itself."""
    files = [make_jpeg(seed) for seed in range(11)]
    study = make_study(files, skip=[3], backbone=LITE)
    manifest = extract(study)
    assert manifest.rows == 20
    assert manifest.funnel["rows_in"] == manifest.funnel["rows_out"] == 10
    assert manifest.extra["backbone"] == LITE and not manifest.extra["random_weights"]
    check_schema(study.dataset("features").schema, features_schema(["pooled"]), "features")
    rows = features(study)
    plain = backbones.extract(files, backbone=LITE, flip=True, engine="torch")["pooled"]
    for row in study.read("fetches", columns=["post_id", "picture_id"]).to_pylist():
        if row["post_id"] == "3":
            assert (row["picture_id"], False) not in rows
            continue
        for flipped in (False, True):
            found = np.array(rows[row["picture_id"], flipped]["pooled"])
            truth = plain[int(row["post_id"]), int(flipped)]
            assert np.abs(found - truth).max() <= 1e-5 * np.abs(truth).max()
    assert {row["maker"] for row in rows.values()} == {manifest.extra["maker"]}
    assert extract(study).published_at == manifest.published_at  # done: nothing runs again


def test_spark_and_local_processes_and_any_cut_give_the_same_rows(
    spark, make_study, make_jpeg, monkeypatch
):
    study = make_study([make_jpeg(seed) for seed in range(24)], backbone=LITE)
    runs = []
    for few, local, most in ((100, 100, 512), (0, 100, 16), (0, 0, 7)):
        monkeypatch.setattr("spark_jobs.extract.FEW", few)
        monkeypatch.setattr("spark_jobs.tasks.LOCAL", local)
        monkeypatch.setattr("spark_jobs.chunks.MOST", most)
        monkeypatch.setattr("spark_jobs.chunks.LEAST", min(16, most))
        manifest = extract(study, redo=True)
        order = [("picture_id", "ascending"), ("flipped", "ascending")]
        rows = study.read("features").sort_by(order).combine_chunks()
        runs.append((manifest.fingerprint, manifest.funnel, rows))
    assert runs[0] == runs[1] == runs[2]


def label_all(study: Study, labels: pa.Table) -> None:
    stage = study.begin("labels", redo=True)
    stage.write(labels)
    stage.publish()


def test_only_pictures_without_features_are_computed(make_study, make_jpeg, monkeypatch):
    study = make_study([make_jpeg(seed) for seed in range(6)], backbone=LITE)
    labels = study.read("labels")
    asked: list[str] = []
    work = job._Work.__call__
    monkeypatch.setattr(job._Work, "__call__", lambda s, c: asked.extend(c.ids) or work(s, c))
    label_all(study, labels.slice(0, 4))
    first = extract(study)
    before = set(study.parts("features"))
    label_all(study, labels)
    second = extract(study)
    assert sorted(asked) == sorted(labels["picture_id"].to_pylist())
    assert before < set(study.parts("features"))
    assert second.rows == 12 and second.fingerprint != first.fingerprint
    label_all(study, labels.slice(1, 3))
    third = extract(study)
    assert len(asked) == 6, "rows of pictures that are not labelled any more stay"
    assert third.funnel["rows_in"] == 3 and third.fingerprint == second.fingerprint


def test_another_network_makes_a_second_set_beside_the_first(make_study, make_jpeg):
    study = make_study([make_jpeg(1), make_jpeg(2)], backbone=LITE)
    first = extract(study)
    rows = study.read("features")
    config = study.config.extract.model_copy(
        update={"backbone": "alexnet", "random_weights": True, "layers": ["fc7"], "flip": False}
    )
    other = Study(study.root, study.config.model_copy(update={"extract": config}))
    second = extract(other)
    assert second.rows == 2 and other.dataset("features").schema.names[-1] == "fc7"
    started = set(study.store.parts("features"))
    again = extract(study)
    assert set(study.store.parts("features")) == started, "nothing is computed again"
    assert again.fingerprint == first.fingerprint
    assert study.read("features").equals(rows)
    everything = DeltaTable(str(study.root / "tables" / "features"))
    assert {"pooled", "fc7"} <= set(pa.schema(everything.schema().to_arrow()).names)


def test_a_flipped_bit_is_found(make_study, make_jpeg):
    study = make_study([make_jpeg(1), make_jpeg(2)], backbone=LITE)
    rows = study.read("pictures").to_pylist()
    rows[1]["bytes"] = rows[1]["bytes"][:-1] + bytes([rows[1]["bytes"][-1] ^ 4])
    stage = study.begin("pictures", redo=True)
    stage.write(pa.Table.from_pylist(rows, PICTURES.schema))
    stage.publish()
    with pytest.raises(StudyError, match=rows[1]["picture_id"]):
        extract(study)
    part = Path(study.parts("pictures")[0])
    data = bytearray(part.read_bytes())
    data[data.index(rows[0]["bytes"][300:316])] ^= 1
    part.write_bytes(data)
    with pytest.raises(OSError, match="CRC"):
        study.read("pictures")


def test_a_broken_picture_is_a_row_and_not_a_hole(spark, make_study, make_jpeg):
    good, broken = make_jpeg(1), make_jpeg(2)[:300]
    study = make_study([good, broken, b"<html>", make_jpeg(3)], backbone=LITE)
    manifest = extract(study)
    assert manifest.rows == 8
    assert manifest.funnel["rows_out"] == 2
    assert sum(manifest.funnel["dropped"].values()) == 2
    failed = [row for row in features(study).values() if row["status"] == "failed"]
    assert len(failed) == 4
    assert all(row["error_class"] and row["pooled"] is None for row in failed)


def test_nothing_decodable_is_an_error(spark, make_study):
    study = make_study([b"one", b"two"], backbone=LITE)
    with pytest.raises(DataError, match="none of 2 pictures"):
        extract(study)


def test_other_parameters_make_another_version(spark, make_study, make_jpeg):
    study = make_study([make_jpeg(1)], backbone=LITE)
    first = extract(study)
    config = study.config.extract.model_copy(update={"flip": False, "storage": "float16"})
    other = Study(study.root, study.config.model_copy(update={"extract": config}))
    second = extract(other)
    assert second.fingerprint != first.fingerprint and second.rows == 1
    values = np.array(features(other)[next(iter(features(other)))]["pooled"], np.float32)
    assert np.array_equal(values, values.astype(np.float16).astype(np.float32))


def test_a_run_goes_on_after_the_parts_that_were_registered(make_study, make_jpeg, monkeypatch):
    study = make_study([make_jpeg(seed) for seed in range(6)], backbone=LITE)
    monkeypatch.setattr("spark_jobs.chunks.MOST", 2)
    monkeypatch.setattr("spark_jobs.chunks.LEAST", 2)
    work, done = job._Work.__call__, []

    def stop_at_the_third(self, chunk):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(chunk)
        return work(self, chunk)

    monkeypatch.setattr(job._Work, "__call__", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        extract(study)
    assert study.manifest("features") is None, "four rows are not the table"
    before = set(study.store.parts("features"))
    monkeypatch.setattr(job._Work, "__call__", work)
    assert extract(study).rows == 12
    assert len(before) == 2 and before < set(study.parts("features"))


def test_a_part_that_is_lost_is_computed_again(make_study, make_jpeg, monkeypatch):
    study = make_study([make_jpeg(seed) for seed in range(4)], backbone=LITE)
    monkeypatch.setattr("spark_jobs.chunks.MOST", 2)
    monkeypatch.setattr("spark_jobs.chunks.LEAST", 2)
    extract(study)
    before, parts = study.read("features"), study.parts("features")
    Path(parts[0]).unlink()
    with pytest.raises(StudyError, match=Path(parts[0]).name) as error:
        study.begin("comparison", inputs=["features"])
    assert error.value.hint == f"this brings back what it held: likewise extract {study.root}"
    extract(study)
    order = [("picture_id", "ascending"), ("flipped", "ascending")]
    assert study.read("features").sort_by(order).equals(before.sort_by(order))
    assert len(set(parts) & set(study.parts("features"))) == 1


def test_a_task_that_was_done_twice_adds_its_rows_once(make_study, make_jpeg):
    study = make_study([make_jpeg(seed) for seed in range(3)], backbone=LITE)
    plan = begin.plan_of(study)
    growth = begin.extract(study, plan)
    (task,) = chunks(study, study.read("labels")["picture_id"].unique(), 1)
    job.work_on(growth, plan, [task, task])
    job.work_on(growth, plan, [task])
    assert extract(study).rows == study.read("features").num_rows == 6


def test_options_of_the_command_and_an_empty_table(spark, make_study, make_jpeg):
    study = make_study([make_jpeg(1)], skip=[0])
    options = ["--backbone", "alexnet", "--layer", "fc7", "--pre-relu", "--random-weights"]
    assert run(["extract", str(study.root), *options]) == 0
    manifest = study.require("features")
    assert manifest.rows == 0 and manifest.extra["layers"] == ["fc7"]
    assert manifest.extra["random_weights"]
    assert manifest.made_from["params"]["weights"] == "random"
    check_schema(study.dataset("features").schema, features_schema(["fc7"]), "features")


def test_missing_tables_and_a_busy_study(spark, study_folder, make_study):
    with pytest.raises(MissingTableError, match="pictures"):
        extract(study_folder)
    study = make_study([], name="busy")
    with (study.root / ".lock").open("w") as other:  # within one run the lock is the run's own
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StudyBusyError):
            extract(study)


def test_mapped_graph_is_read_once(make_study, make_jpeg):
    """The export lies in the study; a second plan finds it and does not import torch for it."""
    study = make_study([make_jpeg(1)], backbone=LITE)
    plan = begin.plan_of(study)
    code = (
        "import sys; from spark_jobs.begin import plan_of; from likewise.study import Study;"
        f"from backbones.engines import open_engine; p = plan_of(Study.open({str(study.root)!r}));"
        "open_engine(p); print(p.onnx, 'torch' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == [plan.onnx, "False"]


@pytest.mark.slow
def test_killed_worker_and_killed_run(make_study, make_jpeg, tmp_path):
    """A Python worker dies: Spark runs its bucket again. The driver dies: the next run goes on."""
    study = make_study([make_jpeg(i, 640, 480) for i in range(240)], backbone=LITE, buckets=12)
    start = "from likewise.cli import main; main()"
    command = [sys.executable, "-c", start, "extract", str(study.root), "--json"]
    environment = os.environ | {"PYTHONPATH": str(Path(backbones.__file__).parent.parent)}

    def published() -> list[Path]:
        return sorted((study.root / "tables" / "features").glob("*/bucket=*"))

    with subprocess.Popen(command, env=environment, start_new_session=True) as first:
        wait_until(lambda: len(published()) >= 2)
        os.kill(some_worker(first.pid), signal.SIGKILL)
        survived = len(published())
        wait_until(lambda: len(published()) > survived)
        os.killpg(first.pid, signal.SIGKILL)
    done = {path: path.stat().st_mtime_ns for path in published()}
    assert 2 <= len(done) < 12
    assert study.manifest("features") is None
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert {path: path.stat().st_mtime_ns for path in published() if path in done} == done
    assert study.manifest("features").rows == 480
    ids = set(study.read("labels", columns=["picture_id"])["picture_id"].to_pylist())
    assert {key for key, _ in features(study)} == ids


def wait_until(true, seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def some_worker(pid: int) -> int:
    import psutil

    workers = [
        child
        for child in psutil.Process(pid).children(recursive=True)
        if "pyspark" in " ".join(child.cmdline()) and child.memory_info().rss > 120 << 20
    ]
    return workers[-1].pid


def test_embed_writes_what_spark_writes(make_jpeg, tmp_path):
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(make_jpeg(1))
    (folder / "below" / "b.JPG").write_bytes(make_jpeg(2))
    (folder / "notes.txt").write_text("not a picture")
    output = tmp_path / "out" / "features.parquet"
    common = [str(folder), "-o", str(output), "--backbone", LITE, "--layer", "pooled"]
    assert run(["embed", *common, "--flip"]) == 0
    rows = pq.read_table(output).to_pylist()
    assert [(row["picture_id"], row["flipped"]) for row in rows] == [
        ("a.jpg", False),
        ("a.jpg", True),
        ("below/b.JPG", False),
        ("below/b.JPG", True),
    ]
    plain = backbones.extract([make_jpeg(1)], backbone=LITE, flip=True)["pooled"][0]
    assert np.allclose([rows[0]["pooled"], rows[1]["pooled"]], plain, rtol=1e-5, atol=1e-6)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert run(["embed", *common]) == 3
    assert pq.read_table(output).num_rows == 3
    assert run(["embed", str(tmp_path / "out"), "-o", str(output)]) == 2


def test_flip_of_features_is_features_of_the_flip(make_jpeg):
    """The second view equals the first view of a file that was mirrored before."""
    import io

    from PIL import Image, ImageOps

    image = Image.open(io.BytesIO(make_jpeg(8, 400, 300)))
    files = []
    for view in (image, ImageOps.mirror(image)):
        file = io.BytesIO()
        view.save(file, "PNG")
        files.append(file.getvalue())
    found = backbones.extract(files, backbone=LITE, flip=True)["pooled"]
    assert np.allclose(found[0, 1], found[1, 0], rtol=1e-4, atol=1e-4)
    assert np.allclose(found[0, 0], found[1, 1], rtol=1e-4, atol=1e-4)
    assert not np.allclose(found[0, 0], found[0, 1], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", ["alexnet", LITE])
def test_onnx_equals_torch(name, make_jpeg):
    files = [make_jpeg(seed) for seed in range(3)]
    random = {"random_weights": name == "alexnet"}
    layers = backbones.get(name).layers
    found = {
        engine: backbones.extract(files, backbone=name, layers=layers, engine=engine, **random)
        for engine in ("onnx", "torch")
    }
    for layer in layers:
        truth = found["torch"][layer]
        assert np.abs(found["onnx"][layer] - truth).max() <= 1e-5 * np.abs(truth).max()


def test_extract_names_the_picture_that_is_broken(tmp_path, make_jpeg):
    (tmp_path / "b.jpg").write_bytes(make_jpeg(1)[:200])
    with pytest.raises(DataError, match=r"b\.jpg cannot be decoded"):
        backbones.extract([tmp_path / "b.jpg"], backbone=LITE)
    assert backbones.extract([], backbone=LITE, flip=True)["pooled"].shape == (0, 2, 1280)
