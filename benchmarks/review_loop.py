"""What 200 reviews are worth: planted wrong labels, a queue, a person who is right, the next model.

``python -m benchmarks.review_loop [--reviews N] [--wrong SHARE] [--seeds K]`` prints a Markdown
table.

The pictures are scikit-learn's 1,797 handwritten digits; their 64 grey values stand in for the
features of a network. A share of the training and validation labels is planted wrong. The reviewer
looks at what the queue offers first and gives the true label. Everything else is the product: the
queue's beliefs, the book, the published table, ``classify train --reviews``, and the paired change
that it tells, on test pictures that nobody reviewed.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from sklearn.datasets import load_digits

from likewise.config import render
from likewise.study import Study
from likewise.tables import LABELS, features_schema
from training.classify import train
from training.models.saved import load_classes
from web.reviews.book import Said, open_book
from web.reviews.publishing import publish
from web.reviews.queues import MODES, Mode, open_queues, prepare

NAMES = [f"digit {n}" for n in range(10)]


def make_study(folder: Path, wrong: float, seed: int) -> tuple[Study, dict[str, int]]:
    """The digits as a study about classes, and the true label of each picture."""
    folder.mkdir(parents=True)
    question = {"question": {"kind": "classes"}}
    (folder / "likewise.toml").write_text(render(question), encoding="utf-8")
    study = Study.open(folder)
    rng = np.random.default_rng(seed)
    found = load_digits()
    truth, x = found.target.astype(int), found.data.astype(np.float32) / 16
    n = len(truth)
    ids = [hashlib.sha256(f"{i}".encode()).hexdigest() for i in range(n)]
    part = rng.choice(np.array(["train", "validation", "test"], object), n, p=[0.4, 0.2, 0.4])
    flip = (rng.random(n) < wrong) & (part != "test")
    label = np.where(flip, (truth + rng.integers(1, 10, n)) % 10, truth)
    rows: dict[str, list[object]] = {name: [None] * n for name in LABELS.schema.names}
    rows |= {"picture_id": [*ids], "platform": ["import"] * n, "host": ["h"] * n}
    rows |= {"post_id": [*ids], "media_index": [0] * n, "bucket": [0] * n, "author_id": [*ids]}
    rows |= {"group_key": [*ids], "label": label.tolist(), "class": [NAMES[c] for c in label]}
    rows |= {"weight": [1.0] * n, "fold": [i % 5 for i in range(n)], "split": part.tolist()}
    stage = study.begin("labels")
    arrays = [pa.array(rows[field.name], field.type) for field in LABELS.schema]
    stage.write(pa.table(arrays, schema=LABELS.schema))
    stage.publish(question="classes", classes=NAMES, unseen=[])
    schema = features_schema(["pixels"])
    columns: dict[str, list[object]] = {"picture_id": [*ids], "bucket": [0] * n}
    columns |= {"backbone": ["pixels"] * n, "maker": ["m"] * n, "flipped": [False] * n}
    columns |= {"status": ["ok"] * n, "error_class": [None] * n, "pixels": x.tolist()}
    stage = study.begin("features")
    stage.write(pa.table([pa.array(columns[f.name], f.type) for f in schema], schema=schema))
    stage.publish(backbone="pixels", layers=["pixels"])
    return study, dict(zip(ids, truth.tolist(), strict=True))


def loop(folder: Path, mode: Mode, reviews: int, wrong: float, seed: int) -> dict[str, float]:
    """One turn: how many of the reviews found a wrong label, and what the next model gained."""
    study, truth = make_study(folder, wrong, seed)
    prepare(study)
    queues = open_queues(study)
    book = open_book(folder / "reviews.sqlite")
    order = (str(queues.picture_id[row]) for row in queues.order(mode))
    hits = 0
    for picture in book.lease("ann", order, reviews):
        told = queues.told(picture)
        right = NAMES[truth[picture]]
        same = right == told["old_label"]
        hits += not same
        action = "accept" if same else "correct"
        book.review(
            "ann", Said(picture, action, new_label=None if same else right, mode=mode, **told)
        )
    publish(study, book)
    book.close()
    train(study, reviews=True)
    gain = load_classes(study, "classes").card["reviews"]
    without, reviewed = gain["without"], gain["reviewed"]
    return {
        "hits": hits,
        "without": without["right"] / without["of"],
        "reviewed": reviewed["right"] / reviewed["of"],
        **{name: gain[name] for name in ("difference", "low", "high", "p")},
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reviews", type=int, default=200)
    parser.add_argument("--wrong", type=float, default=0.25)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    print("| queue | wrong labels found | right before | right after | change (95 %) | p |")
    print("|---|---|---|---|---|---|", flush=True)
    for mode in MODES:
        for seed in range(given.seeds):
            with tempfile.TemporaryDirectory() as folder:
                found = loop(Path(folder) / "s", mode, given.reviews, given.wrong, seed)
            print(
                f"| {mode} | {found['hits']:.0f} of {given.reviews} | {found['without']:.1%} "
                f"| {found['reviewed']:.1%} | {found['difference']:+.1%} ({found['low']:+.1%} to "
                f"{found['high']:+.1%}) | {found['p']:.2g} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
