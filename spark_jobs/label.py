"""``label``: kept_posts, pictures, faces -> labels. Which pictures are good, and in which fold.

The joins give candidates, one row a distinct picture; a ratio, a cut and a label are SQL over
them. Which picture copies another one, and the dealing of authors over folds, need all of them at
once and are made on the driver.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.folds import Assignment, assign, author_keys
from filters.labels import Correction, author_facts, correction, cut, log10_histogram, ratio
from filters.pictures.copies import KINDS, copies
from filters.pictures.hamming import near_pairs
from filters.quantiles import fraction_of_rank
from filters.rules import Rule, double, first_reason
from likewise.config import LabelSection
from likewise.errors import DataError
from likewise.funnel import Funnel
from likewise.study import Manifest, Study
from likewise.tables import AUTHOR_KEY, PICTURES
from likewise.working import changes_study
from spark_jobs.label_classes import label_classes
from spark_jobs.people import places, remember
from spark_jobs.sql import Engine, as_columns, reason_counts, sql_engine

__all__ = ["label"]

CODE = 4

SAMPLE = 200_000
"""Pictures, of whole authors, from which corrections and the author's part are estimated."""

AUTHOR = ", ".join(AUTHOR_KEY)


@changes_study("label")
def label(
    study: Study | str | os.PathLike[str], *, redo: bool = False, master: str | None = None
) -> Manifest:
    """Label the pictures that stay, deal their authors over folds, publish ``labels``.

    Where classes are asked (``[question] kind``), ``label_classes`` makes the table.

    Raises:
        MissingTableError: an earlier stage has not run.
        DataError: no picture is left, all are of one class, or authors are too few for the folds.
    """
    study = Study.open(study)
    if study.config.question.kind != "likes":
        return label_classes(study, redo=redo)
    settings = study.config.label
    faces = settings.require_faces and study.config.faces.detector != "none"
    stage = study.begin(
        "labels",
        inputs=["kept_posts", "pictures", *(["faces"] if faces else [])],
        params={**settings.model_dump(), "seed": study.config.study.seed},
        code=CODE,
        redo=redo,
    )
    if stage.done:
        return stage.manifest
    facts: dict[str, Any] = {"method": settings.method, "target": settings.target}
    with sql_engine(study, "label", master) as engine, stage.staging() as directory:
        before, gone = _candidates(engine, study, faces=faces)
        if not before:
            raise DataError("no picture is left to label", hint="see the funnel: likewise status")
        share = min(1.0, SAMPLE / before)
        facts |= _measured(engine, settings, before, share)
        asked = _decided(engine, settings, facts.get("cut"))
        after, dropped = reason_counts(engine, "decided", asked)
        facts["folds"] = _deal(engine, study, settings, study.config.study.seed)
        engine.write(LABELS, directory)
        facts |= _shown(engine, share)
    gone |= dropped
    funnel = Funnel("label", "pictures", after + sum(gone.values()), after, gone)
    return stage.publish(funnel=funnel, rows=funnel.rows_out, **facts)


# -- candidates ---------------------------------------------------------------------------

CANDIDATES = """
SELECT p.picture_id, p.platform, p.host, p.post_id, p.media_index, p.bucket, p.author_id,
       k.likes, k.likes_at, k.audience, k.audience_at, k.created_at, k.age_days,
       {n_faces} AS n_faces, {reason} AS reason
FROM pictures p
LEFT JOIN kept_posts k
  ON p.platform = k.platform AND p.host = k.host AND p.post_id = k.post_id
LEFT JOIN copies c ON p.platform = c.platform AND p.host = c.host AND p.post_id = c.post_id
  AND p.media_index = c.media_index
{faces} WHERE p.status = 'ok'
"""


def _candidates(engine: Engine, study: Study, *, faces: bool) -> tuple[int, dict[str, int]]:
    """Define ``candidates``; tells how many stay, and what was dropped by reason."""
    engine.table(study, "pictures")
    engine.table(study, "kept_posts")
    engine.known("copies", _copies(engine, study.config.label.near_duplicate_radius))
    kinds = (kind for kind in KINDS if kind != "original")
    asked = [
        Rule("post not kept", "k.post_id IS NULL"),
        *(Rule(f"copy ({kind})", f"c.kind = '{kind}'") for kind in kinds),
    ]
    found = {"n_faces": "CAST(NULL AS INT)", "faces": ""}
    if faces:
        engine.table(study, "faces")
        join = "LEFT JOIN faces f ON p.picture_id = f.picture_id"
        found = {"n_faces": "f.n_faces", "faces": join}
        asked += [
            Rule("faces not looked for", "f.status IS NULL"),
            Rule("undecodable for the detector", "f.status <> 'ok'"),
            Rule("no face", "f.n_faces = 0"),
        ]
    engine.define("candidates", CANDIDATES.format(**found, reason=first_reason(asked)))
    return reason_counts(engine, "candidates", asked)


# Pictures that no other one is like are no copies: their keys never reach the driver.
ALIKE = f"""
SELECT {", ".join(PICTURES.key)}, author_id, picture_id, phash FROM pictures
WHERE status = 'ok' AND (phash IN (SELECT phash FROM near) OR picture_id IN (
  SELECT picture_id FROM pictures WHERE status = 'ok' GROUP BY picture_id HAVING count(*) > 1))
"""


def _copies(engine: Engine, radius: int) -> pa.Table:
    """Key and kind of every picture that copies another one, exactly or nearly."""
    hashes = engine.fetch(
        "SELECT phash, count(*) AS n FROM pictures WHERE status = 'ok' AND phash IS NOT NULL "
        "GROUP BY phash"
    )
    codes, n = (column.to_numpy() for column in hashes.columns)
    near = np.unique(np.concatenate([codes[n > 1], *(codes[i] for i in near_pairs(codes, radius))]))
    engine.known("near", pa.table({"phash": near}))
    found = copies(engine.fetch(ALIKE), radius)
    return found.filter(
        pa.array(found["kind"].to_numpy(zero_copy_only=False) != "original")
    ).select([*PICTURES.key, "kind"])


# -- ratios and cuts ----------------------------------------------------------------------


def _measured(engine: Engine, settings: LabelSection, rows: int, share: float) -> dict[str, Any]:
    """Define ``measured``: candidates that stay, with their ratio; tells corrections and cut."""
    facts: dict[str, Any] = {}
    factors = Correction()
    if settings.age_correction or settings.hour_correction:
        sample = engine.fetch(
            f"SELECT {ratio(settings.target, factors)} AS ratio, age_days, "
            f"CAST(hour(created_at) AS BIGINT) AS hour FROM candidates "
            f"WHERE reason = 0 AND created_at IS NOT NULL AND {_sampled(share)}"
        )
        factors = correction(
            *(column.to_numpy() for column in sample.columns),
            by_age=settings.age_correction,
            by_hour=settings.hour_correction,
        )
        facts["correction"] = factors.to_dict()
    engine.define(
        "measured",
        f"SELECT *, {ratio(settings.target, factors)} AS ratio FROM candidates WHERE reason = 0",
    )
    if settings.method == "pooled":

        def at(ranks: Any) -> list[float]:
            asked = engine.array([fraction_of_rank(rank, rows) for rank in ranks])
            found = engine.fetch(
                f"SELECT percentile_disc({asked}) WITHIN GROUP (ORDER BY ratio) AS found "
                "FROM measured"
            )
            values: list[float] = found["found"][0].as_py()
            return values

        facts["cut"] = cut(at, rows, margin=settings.margin).to_dict()
    return facts


def _sampled(share: float) -> str:
    """A share of the authors, chosen by hash: the same every time, in both engines."""
    return "true" if share >= 1 else f"substring(md5(author_id), 1, 6) < '{int(share * 16**6):06x}'"


# Each author's own quantiles, which interpolate linearly as those of the pooled cut do.
OWN_CUTS = """
WITH ranked AS (
  SELECT platform, host, author_id, post_id, ratio,
         row_number() OVER (PARTITION BY platform, host, author_id ORDER BY ratio) - 1 AS rank,
         count(*) OVER (PARTITION BY platform, host, author_id) - 1 AS last
  FROM measured),
placed AS (SELECT *, {low} * last AS low_at, {high} * last AS high_at FROM ranked),
beside AS (
  SELECT platform, host, author_id, max(low_at - floor(low_at)) AS low_part,
         max(high_at - floor(high_at)) AS high_part,
         max(CASE WHEN rank = floor(low_at) THEN ratio END) AS low_value,
         max(CASE WHEN rank = least(floor(low_at) + 1, last) THEN ratio END) AS low_next,
         max(CASE WHEN rank = floor(high_at) THEN ratio END) AS high_value,
         max(CASE WHEN rank = least(floor(high_at) + 1, last) THEN ratio END) AS high_next,
         count(DISTINCT post_id) >= {least} AS enough
  FROM placed GROUP BY platform, host, author_id)
SELECT platform, host, author_id, enough, low_value + (low_next - low_value) * low_part AS low,
       high_value + (high_next - high_value) * high_part AS high
FROM beside
"""


def _decided(engine: Engine, settings: LabelSection, pooled: dict[str, float] | None) -> list[Rule]:
    """Define ``decided``: what is measured, with a label and the number of its reason."""
    asked = [
        Rule(f"within {settings.margin:.0%} of the median", "m.ratio > low AND m.ratio <= high")
    ]
    if pooled is not None:
        cuts = f"SELECT {double(pooled['low'])} AS low, {double(pooled['high'])} AS high"
        joined = f"measured m CROSS JOIN ({cuts}) AS cuts"
    else:
        least = settings.min_posts_per_author
        asked.insert(0, Rule(f"author has fewer than {least} posts", "NOT enough"))
        low, high = double(0.5 - settings.margin), double(0.5 + settings.margin)
        engine.define("cuts", OWN_CUTS.format(low=low, high=high, least=least))
        joined = (
            "measured m JOIN cuts c ON m.platform = c.platform AND m.host = c.host "
            "AND m.author_id = c.author_id"
        )
    key = ("picture_id", *PICTURES.key, "bucket", "author_id")
    counts = ("likes", "likes_at", "audience", "audience_at")
    own = ", ".join(f"m.{name}" for name in (*key, *counts))
    engine.define(
        "decided",
        f"SELECT {own}, m.created_at, m.age_days, m.n_faces, m.ratio, "
        "CASE WHEN m.ratio > high THEN 1 ELSE 0 END AS label, "
        f"{first_reason(asked)} AS reason FROM {joined}",
    )
    return asked


# -- authors ------------------------------------------------------------------------------


def _deal(engine: Engine, study: Study, settings: LabelSection, seed: int) -> dict[str, Any]:
    """Deal new authors over folds, make all places known as ``folds``, tell the balance."""
    authors = engine.fetch(
        f"SELECT {AUTHOR}, count(*) AS n, CAST(sum(label) AS BIGINT) AS good "
        f"FROM decided WHERE reason = 0 GROUP BY {AUTHOR} ORDER BY {AUTHOR}"
    )
    if not len(authors):
        raise DataError("no picture is left to label", hint="lower [label] margin or its minimum")
    sizes, good = (authors[name].to_numpy() for name in ("n", "good"))
    if good.sum() in (0, sizes.sum()):
        raise DataError(
            "all pictures have the same label", hint="collect more, or lower the margin"
        )
    keys = (authors[name].to_pylist() for name in AUTHOR_KEY)
    before = places(study, settings, seed, authors)
    dealt = assign(
        author_keys(zip(*keys, strict=True)),
        sizes,
        good,
        folds=settings.folds,
        test_fraction=settings.test_fraction,
        seed=seed,
        kept=before,
    )
    split = pa.array(np.where(dealt.test, "test", "train"))
    columns = [*authors.columns[:3], pa.array(dealt.fold), split, pa.array(range(len(authors)))]
    names = [*AUTHOR_KEY, "fold", "split", "number"]
    known = pa.table(columns, names=names)
    engine.known("folds", known)
    remember(study, settings, seed, known.drop_columns(["number"]), before)
    return _balance(dealt, sizes, good, settings.folds)


def _balance(
    dealt: Assignment, sizes: NDArray[np.int64], good: NDArray[np.int64], folds: int
) -> dict[str, Any]:
    """Authors, pictures and good pictures of each fold, of both sides of the split."""

    def total(side: bool, weights: NDArray[np.int64] | None) -> list[int]:
        here = dealt.test == side
        counts = np.bincount(
            dealt.fold[here], None if weights is None else weights[here], minlength=folds
        )
        return [int(count) for count in counts]

    return {
        name: {
            "authors": total(side, None),
            "pictures": total(side, sizes),
            "good": total(side, good),
        }
        for name, side in (("train", False), ("test", True))
    }


# -- labels -------------------------------------------------------------------------------

DEALT = """decided d JOIN folds f
  ON d.platform = f.platform AND d.host = f.host AND d.author_id = f.author_id"""

LABELS = f"""
SELECT {as_columns("labels")} FROM (
  SELECT d.*, CAST(NULL AS STRING) AS class, CAST(NULL AS STRING) AS group_key,
         1 AS weight, f.fold, f.split FROM {DEALT} WHERE d.reason = 0) AS dealt
"""


def _shown(engine: Engine, share: float) -> dict[str, Any]:
    """The author's part in the labels, and the histogram."""
    tenths = engine.fetch(
        "SELECT CASE WHEN ratio > 0 THEN CAST(floor(log10(ratio) * 10) AS BIGINT) END AS tenth, "
        "CAST(label AS BIGINT) AS label, count(*) AS n FROM decided WHERE reason = 0 "
        "GROUP BY 1, 2"
    )
    found = Counter({(row["tenth"], row["label"]): row["n"] for row in tenths.to_pylist()})
    sample = engine.fetch(
        f"SELECT ratio, label, number FROM (SELECT d.*, f.number FROM {DEALT}) AS dealt "
        f"WHERE reason = 0 AND {_sampled(share)} ORDER BY number, label, ratio"
    )
    baseline = author_facts(*(column.to_numpy() for column in sample.columns))
    return {"author_baseline": baseline, "histogram": log10_histogram(found)}


if __name__ == "__main__":
    from spark_jobs.entry import main

    main("spark_jobs.label", "label")
