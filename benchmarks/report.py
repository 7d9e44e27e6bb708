"""report of a study of 35,000 pictures: wall time, CPU time, memory and size of the page.

``python -m benchmarks.report [--pictures N] [--keep FOLDER]`` prints a Markdown table.

The study is made up: 35,000 JPEG files of 640 x 640 (a few hundred drawings, each with its own
last bytes), labels, faces, fc7 features of both views, a ranking by a linear model on AlexNet with
random weights, and a comparison of twelve rows. The report explains the ranking, paints Grad-CAM
over 50 pictures, finds neighbours and draws every figure; nothing is cached from an earlier run.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from benchmarks.rank import BUCKETS, LAYER, cpu_seconds, features_writer, save_model
from likewise.config import render
from likewise.funnel import Funnel
from likewise.pictures import GROUP_ROWS, pictures_writer, split
from likewise.study import Study
from likewise.tables import FACES, FETCHED, LABELS, features_schema
from training.comparison import results

TARGET_S, TARGET_GIB, TARGET_MB = 60, 1.5, 15
DIM = 4096
KEY = {"platform": "mastodon", "host": "one.example"}


def drawings(n: int, rng: np.random.Generator) -> list[bytes]:
    """JPEG files of 640 x 640: soft noise with shapes, about 60 kB each."""
    files = []
    for _ in range(n):
        coarse = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        picture = cv2.resize(coarse, (640, 640), interpolation=cv2.INTER_CUBIC)
        grain = rng.integers(0, 24, (640, 640, 3), dtype=np.uint8)
        picture = cv2.add(picture, grain)
        centre = tuple(int(x) for x in rng.integers(100, 540, 2))
        cv2.circle(
            picture, centre, int(rng.integers(40, 200)), rng.integers(0, 256, 3).tolist(), -1
        )
        files.append(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())
    return files


def make_study(folder: Path, pictures: int) -> None:
    """All tables that the report reads."""
    from training.rank import rank

    folder.mkdir(parents=True)
    (folder / "likewise.toml").write_text(
        render({"study": {"name": "35,000 pictures"}}), encoding="utf-8"
    )
    study, rng = Study.open(folder), np.random.default_rng(1)
    base = drawings(200, rng)
    ids: list[str] = []
    stage = study.begin("pictures", n_buckets=BUCKETS)
    asked: list[pa.Table] = []
    for bucket in range(BUCKETS):
        numbers = range(bucket, pictures, BUCKETS)
        with stage.bucket(bucket) as place, pictures_writer(place / "part-0.parquet") as writer:
            for start in range(0, len(numbers), GROUP_ROWS):
                rows = [_picture(n, base) for n in numbers[start : start + GROUP_ROWS]]
                ids += [row["picture_id"] for row in rows]
                fetches, files = split(pa.Table.from_pylist(rows, FETCHED), BUCKETS)
                asked.append(fetches)
                writer.write_table(files)
    stage.publish()
    stage = study.begin("fetches")
    stage.write(pa.concat_tables(asked))
    stage.publish(
        funnel=Funnel("download", "pictures", 2 * pictures, pictures, {"http_404": pictures})
    )
    _faces(study, ids, rng)
    _labels(study, ids, rng)
    _features(study, ids, rng)
    save_model(study, DIM, rng)
    results.save(study, _comparison())
    rank(study)


def _picture(number: int, base: list[bytes]) -> dict[str, Any]:
    data = base[number % len(base)] + number.to_bytes(8, "big")
    digest = hashlib.sha256(data).hexdigest()
    return {
        **KEY,
        "post_id": str(number),
        "media_index": 0,
        "author_id": f"author-{number // 4}",
        "bucket": number % BUCKETS,
        "url": f"https://one.example/{number}.jpg",
        "picture_id": digest,
        "bytes": data,
        "n_bytes": len(data),
        "format": "jpeg",
        "width": 640,
        "height": 640,
        "phash": int(digest[:15], 16),
        "status": "ok",
        "attempts": 1,
    }


def _faces(study: Study, ids: list[str], rng: np.random.Generator) -> None:
    box = {"x": 100.0, "y": 100.0, "width": 80.0, "height": 90.0}
    rows = [
        {
            "picture_id": key,
            "bucket": 0,
            "detector": "yunet",
            "n_faces": 1,
            "best_confidence": sure,
            "boxes": [box],
            "confidences": [sure],
            "status": "ok",
        }
        for key, sure in zip(ids, rng.uniform(0.5, 1, len(ids)).tolist(), strict=True)
    ]
    stage = study.begin("faces", inputs=["pictures"])
    stage.write(pa.Table.from_pylist(rows, FACES.schema))
    stage.publish(min_confidence=0.7)


def _labels(study: Study, ids: list[str], rng: np.random.Generator) -> None:
    n = len(ids)
    ratio = rng.lognormal(-3, 1, n)
    columns = {
        "picture_id": ids,
        "platform": [KEY["platform"]] * n,
        "host": [KEY["host"]] * n,
        "post_id": [str(i) for i in range(n)],
        "media_index": [0] * n,
        "bucket": [i * BUCKETS // n for i in range(n)],
        "author_id": [f"author-{i // 4}" for i in range(n)],
        "likes": (ratio * 1000).astype(np.int64),
        "audience": rng.integers(100, 5000, n),
        "created_at": [dt.datetime(2026, 6, 1, tzinfo=dt.UTC)] * n,
        "age_days": np.full(n, 40.0),
        "n_faces": rng.integers(1, 4, n).astype(np.int32),
        "ratio": ratio,
        "label": (ratio > np.median(ratio)).astype(np.int8),
        "weight": np.ones(n),
        "fold": [i // 4 % 5 for i in range(n)],
        "split": ["test" if i // 4 % 4 == 0 else "train" for i in range(n)],
    }
    stage = study.begin("labels", inputs=["pictures", "faces"])
    stage.write(pa.table(columns, schema=LABELS.schema))
    stage.publish()


def _features(study: Study, ids: list[str], rng: np.random.Generator) -> None:
    schema = features_schema([LAYER])
    stage = study.begin(
        "features", inputs=["labels"], params={"random_weights": True}, n_buckets=BUCKETS
    )
    for bucket in range(BUCKETS):
        own = ids[bucket * len(ids) // BUCKETS : (bucket + 1) * len(ids) // BUCKETS]
        with stage.bucket(bucket) as place, features_writer(place, schema) as writer:
            for start in range(0, len(own), 256):
                writer.write_batch(_views(own[start : start + 256], bucket, rng, schema))
    stage.publish()


def _views(ids: list[str], bucket: int, rng: np.random.Generator, schema: pa.Schema) -> Any:
    rows = 2 * len(ids)
    values = np.maximum(rng.standard_normal((rows, DIM), dtype=np.float32), 0)
    offsets = np.arange(0, (rows + 1) * DIM, DIM, dtype=np.int32)
    columns = [
        pa.array([key for key in ids for _ in range(2)]),
        pa.array([bucket] * rows, pa.int32()),
        pa.array(["alexnet"] * rows),
        pa.array([False, True] * len(ids)),
        pa.array(["ok"] * rows),
        pa.nulls(rows, pa.string()),
        pa.ListArray.from_arrays(offsets, values.ravel()),
    ]
    return pa.record_batch(columns, schema=schema)


def _comparison() -> results.Comparison:
    """Twelve rows, as ``compare`` writes them."""
    score = results.Score(0.55, 0.53, 0.57)
    metrics = dict.fromkeys(("average_precision", "roc_auc", "accuracy", "brier"), score)
    ahead = results.Difference(0.05, 0.03, 0.07, 0.01, "above")
    curve = [
        results.GridPoint({"C": 10.0**e}, 0.55, 0.01, dict.fromkeys(range(5), 0.55))
        for e in range(-6, 6)
    ]
    rows = [
        results.Result(
            layer=layer,
            set=name,
            classifier=classifier,
            model=f"{layer}-{name}-{classifier}",
            parameters={"C": 1.0},
            cv_average_precision=0.55,
            metrics=metrics,
            p_value=0.01,
            against={"chance": ahead, "author-history": ahead},
            calibrated=True,
            confusion=results.Confusion(("bad", "good"), [[9, 9], [9, 9]]),
            threshold=0.0,
            pr_curve=results.PrecisionRecall([0.0, 1.0], [1.0, 0.5]),
            curve=curve if classifier == "linear-svc" else [],
            made_by={"curve": "solver", "model": "LinearSVC"},
            checks={},
            notes=[],
        )
        for layer in ("fc6", "fc7")
        for name in ("flipped", "normal")
        for classifier in ("linear-svc", "random-forest", "svm-with-sgd")
    ]
    return results.Comparison(
        study="35,000 pictures",
        fingerprint="",
        backbone="alexnet",
        data=results.Data(5, 5, 5, 5, 5, 0.5, 5, "", ""),
        best=rows[0].model,
        results=rows,
        baselines=[
            results.BaselineResult(name, name, metrics, None)
            for name in ("chance", "author-history")
        ],
        differences=[],
        learning_curves={},
        chance=results.Chance(0.5, 0.5),
        margin=0.02,
        sentences=[row.model for row in rows],
        left_out=200,
        permutations=1000,
    )


def child(folder: Path) -> dict[str, float]:
    """Make the report in this process."""
    from training.report import report

    (folder / "reports" / "explanation.json").unlink(missing_ok=True)
    started, before = time.perf_counter(), cpu_seconds()
    path = report(folder, redo=True)
    return {
        "wall_s": time.perf_counter() - started,
        "cpu_s": cpu_seconds() - before,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "size_mb": path.stat().st_size / 1e6,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=35_000)
    parser.add_argument("--keep", type=Path, help="folder of the study, made when missing")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.keep)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch) / "study"
        if not folder.exists():
            make_study(folder, options.pictures)
        command = [sys.executable, "-m", "benchmarks.report", "--child", "--keep", str(folder)]
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(answer.stdout.splitlines()[-1])
    print(f"A study of {options.pictures:,} pictures\n")
    print("| Measure | Value | Target |")
    print("|---|---|---|")
    print(f"| wall, s | {found['wall_s']:.1f} | at most {TARGET_S} |")
    print(f"| CPU, s | {found['cpu_s']:.1f} | - |")
    print(f"| peak memory, GiB | {found['peak_gib']:.2f} | at most {TARGET_GIB} |")
    print(f"| size of the page, MB | {found['size_mb']:.1f} | below {TARGET_MB} |")


if __name__ == "__main__":
    main()
