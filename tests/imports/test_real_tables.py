"""A table of real accounts from import to author baseline, beside pandas and scikit-learn."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fetched_rows import publish_fetched
from sklearn.metrics import average_precision_score

from collectors.import_ import import_
from collectors.imports.base import Options
from likewise.config import render
from likewise.study import Study
from spark_jobs.clean import clean
from spark_jobs.label import label

EACH = 3


@pytest.fixture
def table(shared: Path, tmp_path: Path) -> pd.DataFrame:
    """Real followers of real accounts; three posts each, likes by a plain law."""
    raw = pd.read_csv(shared / "engagement" / "swiss_accounts.csv").drop_duplicates("user")
    random = np.random.default_rng(8)
    rows = raw[["user", "followers"]].loc[raw.index.repeat(EACH)].reset_index(drop=True)
    own = np.repeat(random.normal(0, 0.8, len(raw)), EACH)
    rate = 0.05 * np.exp(own + random.normal(0, 0.4, len(rows)))
    rows["likes"] = random.poisson(rate * rows["followers"])
    rows["id"] = [f"p{n}" for n in range(len(rows))]
    rows["date"] = "2017-03-01T12:00:00Z"
    rows["picture"] = [f"https://x.example/{n}.jpg" for n in range(len(rows))]
    rows.to_csv(tmp_path / "posts.csv", index=False)
    return rows


def published_pictures(study: Study) -> None:
    """A fetched picture for each post; its bytes are not asked for here."""
    rows = []
    for post in study.read("posts", ["platform", "host", "post_id", "author_id"]).to_pylist():
        digest = hashlib.sha256(post["post_id"].encode())
        code = int.from_bytes(digest.digest()[:8], "big", signed=True)
        found = {
            "media_index": 0, "bucket": 0, "url": f"https://x.example/{post['post_id']}",
            "picture_id": digest.hexdigest(), "bytes": b"x", "n_bytes": 1, "phash": code,
            "status": "ok", "attempts": 1,
        }  # fmt: skip
        rows.append({**post, **found})
    publish_fetched(study, rows)


@pytest.mark.parametrize(("scale", "threshold"), [("log1p", 2.0), ("raw", 3.5)])
def test_bounds_and_author_baseline_of_real_accounts(
    table: pd.DataFrame, tmp_path: Path, scale: str, threshold: float
) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    values = {
        "clean": {"scale": scale, "threshold": threshold},
        "label": {"require_faces": False, "near_duplicate_radius": 0},
    }
    (folder / "likewise.toml").write_text(render(values), encoding="utf-8")
    study = Study.open(folder)
    done = import_(
        study,
        tmp_path / "posts.csv",
        options=Options(constants={"collected_at": "2017-06-01"}),
    )
    assert done.posts == len(table)
    manifest = clean(study)

    people = table.drop_duplicates("user").query("followers > 0")["followers"].to_numpy(float)
    x = np.log1p(people) if scale == "log1p" else people
    middle = np.median(x)
    reach = threshold * np.median(np.abs(x - middle)) / 0.6745
    back = np.expm1 if scale == "log1p" else (lambda value: value)
    bounds = manifest.extra["bounds"]
    assert bounds["lower"] == pytest.approx(back(middle - reach))
    assert bounds["upper"] == pytest.approx(back(middle + reach))

    inside = table[(table["followers"] > 0) & (table["likes"] <= 20 * table["followers"])]
    z = (np.log1p(inside["followers"]) if scale == "log1p" else inside["followers"]) - middle
    inside = inside[np.abs(z) <= reach]
    kept = study.read("kept_posts").to_pandas()
    assert set(kept["post_id"]) == set(inside["id"])

    published_pictures(study)
    facts = label(study).extra
    ratio = inside["likes"] / inside["followers"]
    good = ratio > ratio.median()
    assert facts["cut"]["median"] == pytest.approx(ratio.median())
    log = np.log(np.where(ratio > 0, ratio, ratio[ratio > 0].min() / 2))
    frame = pd.DataFrame({"user": inside["user"].to_numpy(), "log": log, "good": good.to_numpy()})
    by_author = frame.groupby("user")["log"]
    within = ((frame["log"] - by_author.transform("mean")) ** 2).sum()
    total = ((frame["log"] - frame["log"].mean()) ** 2).sum()
    # Of each picture the mean of its author's other ones, one by one; ties are ties.
    score = [
        others.mean() if len(others := rows.drop(index=one)) else frame["log"].mean()
        for _, rows in by_author
        for one in rows.index
    ]
    ordered = [one for _, rows in by_author for one in rows.index]
    by_hand = average_precision_score(frame["good"].loc[ordered], np.round(score, 9))
    baseline = facts["author_baseline"]
    assert baseline["authors"] == frame["user"].nunique()
    assert baseline["variance_between"] == pytest.approx(1 - within / total, rel=1e-9)
    assert baseline["author_ap"] == pytest.approx(by_hand, rel=1e-9)
