"""``label``: kept_posts, pictures, faces -> labels. Which pictures are good, and in which fold.

The joins give candidates, one row a distinct picture; a ratio, a cut and a label are SQL over
them. Which picture copies another one, and the dealing of authors over folds, need all of them at
once and are made on the driver. Where authors are too few to be dealt, blocks of their time are.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.blocks import alike, block_of, chosen_length, first_day
from filters.folds import Assignment, assign, author_keys
from filters.labels import (
    LEAST_AROUND,
    Correction,
    author_facts,
    correction,
    cut,
    log10_histogram,
    own_level,
    ratio,
)
from filters.pictures.copies import KINDS, copies
from filters.pictures.hamming import near_pairs
from filters.quantiles import fraction_of_rank
from filters.rules import Rule, double, first_reason
from likewise.config import LabelSection
from likewise.errors import ConfigError, DataError
from likewise.funnel import Funnel
from likewise.study import Manifest, Study
from likewise.tables import AUTHOR_KEY, BLOCKS, PEOPLE, PICTURE_KEY, POST_KEY, TableSpec
from likewise.working import changes_study
from spark_jobs import begin
from spark_jobs.label_classes import label_classes
from spark_jobs.people import draw, drawn, places, remember
from spark_jobs.session import survives_java
from spark_jobs.sql import Engine, as_columns, reason_counts, sql_engine

__all__ = ["label"]


SAMPLE = 200_000
"""Pictures, of whole authors, from which corrections and the author's part are estimated."""

AUTHOR = ", ".join(AUTHOR_KEY)

POST = ", ".join(POST_KEY)

LEAST_HELD_OUT = 2
"""Authors without whom no interval can be told."""


@changes_study("label")
@survives_java
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
    stage = begin.label(study, redo=redo)
    if stage.done:
        return stage.manifest
    with sql_engine(study, "label", master) as engine, stage.staging() as directory:
        before, gone = _candidates(engine, study, faces=faces)
        if not before:
            raise DataError("no picture is left to label", hint="see the funnel: likewise status")
        share = min(1.0, SAMPLE / before)
        in_time = _in_time(engine, study)
        method = "own-level" if in_time else settings.method
        settings = settings.model_copy(update={"method": method})
        facts: dict[str, Any] = {"method": method, "target": settings.target}
        facts |= _measured(engine, settings, before, share)
        asked = _decided(engine, settings, facts.get("cut"))
        after, dropped = reason_counts(engine, "decided", asked)
        seed = study.config.study.seed
        facts |= _deal(engine, study, settings, seed, in_time=in_time)
        if study.manifest("labels") is not None:
            facts["flips"] = _flips(engine, study)
        engine.write(_labels(facts["group"]), directory)
        facts |= _shown(engine, share, facts["group"])
    gone |= dropped
    funnel = Funnel("label", "pictures", after + sum(gone.values()), after, gone)
    return stage.publish(funnel=funnel, rows=funnel.rows_out, **facts)


# -- candidates ---------------------------------------------------------------------------

CANDIDATES = """
SELECT p.picture_id, p.platform, p.host, p.post_id, p.media_index, p.bucket, p.author_id,
       k.likes, k.likes_at, k.audience, k.audience_at, k.created_at, k.age_days,
       {n_faces} AS n_faces, {reason} AS reason
FROM shown p
LEFT JOIN kept_posts k
  ON p.platform = k.platform AND p.host = k.host AND p.post_id = k.post_id
LEFT JOIN copies c ON p.platform = c.platform AND p.host = c.host AND p.post_id = c.post_id
  AND p.media_index = c.media_index
{faces}
"""

SHOWN = f"""
SELECT {", ".join(f"f.{name}" for name in PICTURE_KEY)}, f.author_id,
       p.picture_id, p.bucket, p.phash
FROM fetches f JOIN pictures p ON f.picture_id = p.picture_id WHERE f.status = 'ok'
"""


def _candidates(engine: Engine, study: Study, *, faces: bool) -> tuple[int, dict[str, int]]:
    """Define ``candidates``; tells how many stay, and what was dropped by reason."""
    engine.table(study, "fetches")
    engine.table(study, "pictures")
    engine.define("shown", SHOWN)
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
SELECT {", ".join(PICTURE_KEY)}, author_id, picture_id, phash FROM shown
WHERE phash IN (SELECT phash FROM near) OR picture_id IN (
  SELECT picture_id FROM shown GROUP BY picture_id HAVING count(*) > 1)
"""


def _copies(engine: Engine, radius: int) -> pa.Table:
    """Key and kind of every picture that copies another one, exactly or nearly."""
    hashes = engine.fetch(
        "SELECT phash, count(*) AS n FROM shown WHERE phash IS NOT NULL GROUP BY phash"
    )
    codes, n = (column.to_numpy() for column in hashes.columns)
    near = np.unique(np.concatenate([codes[n > 1], *(codes[i] for i in near_pairs(codes, radius))]))
    engine.known("near", pa.table({"phash": near}))
    found = copies(engine.fetch(ALIKE), radius)
    return found.filter(
        pa.array(found["kind"].to_numpy(zero_copy_only=False) != "original")
    ).select([*PICTURE_KEY, "kind"])


def _in_time(engine: Engine, study: Study) -> bool:
    """Whether blocks of time are dealt: asked for, or authors cannot fill folds and a held-out two.

    Raises:
        ConfigError: ``[question] group`` is one for classes.
    """
    group, folds = study.config.question.group, study.config.label.folds
    if group == "post":
        raise ConfigError(
            '[question] group = "post" deals posts, which would leave an author on both sides',
            hint='for likes it is "auto", "author" or "time"',
        )
    found = engine.fetch(
        f"SELECT count(*) AS n FROM (SELECT DISTINCT {AUTHOR} FROM candidates "
        "WHERE reason = 0) AS authors"
    )
    return group == "time" or (group == "auto" and found["n"][0].as_py() < folds + LEAST_HELD_OUT)


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
    elif settings.method == "own-level":
        asked.insert(0, Rule(f"author has no {LEAST_AROUND + 1} posts", "low IS NULL"))
        engine.known("levels", _levels(engine, settings))
        joined = (
            "measured m JOIN levels l ON m.platform = l.platform AND m.host = l.host "
            "AND m.post_id = l.post_id"
        )
    else:
        least = settings.min_posts_per_author
        asked.insert(0, Rule(f"author has fewer than {least} posts", "NOT enough"))
        low, high = double(0.5 - settings.margin), double(0.5 + settings.margin)
        engine.define("cuts", OWN_CUTS.format(low=low, high=high, least=least))
        joined = (
            "measured m JOIN cuts c ON m.platform = c.platform AND m.host = c.host "
            "AND m.author_id = c.author_id"
        )
    key = ("picture_id", *PICTURE_KEY, "bucket", "author_id")
    counts = ("likes", "likes_at", "audience", "audience_at")
    own = ", ".join(f"m.{name}" for name in (*key, *counts))
    engine.define(
        "decided",
        f"SELECT {own}, m.created_at, m.age_days, m.n_faces, m.ratio, "
        "CASE WHEN m.ratio > high THEN 1 ELSE 0 END AS label, "
        f"{first_reason(asked)} AS reason FROM {joined}",
    )
    return asked


# One row a post: its pictures share its likes.
TIMED = f"""
SELECT {POST}, min(author_id) AS author_id, CAST(min(created_at) AS TIMESTAMP) AS created_at,
       min(ratio) AS ratio
FROM measured GROUP BY {POST} ORDER BY {POST}
"""


def _levels(engine: Engine, settings: LabelSection) -> pa.Table:
    """The author's level at the time of each post: quantiles ``low`` and ``high``, or null."""
    posts = engine.fetch(TIMED)
    low, high = own_level(
        _author_numbers(posts),
        _days(posts["created_at"]),
        posts["ratio"].to_numpy(),
        around=settings.around,
        margin=settings.margin,
    )
    ends = {"low": pa.array(low, from_pandas=True), "high": pa.array(high, from_pandas=True)}
    return pa.table({name: posts[name] for name in POST_KEY} | ends)


def _author_numbers(rows: pa.Table) -> NDArray[np.int64]:
    """(n,) a number for each author of the rows."""
    keys = [rows[name].to_numpy(zero_copy_only=False).astype(str) for name in AUTHOR_KEY]
    joined = np.char.add(np.char.add(keys[0], "\x1f"), np.char.add(keys[1], "\x1f"))
    numbers: NDArray[np.int64] = np.unique(np.char.add(joined, keys[2]), return_inverse=True)[1]
    return numbers


def _days(created: pa.ChunkedArray) -> NDArray[np.float64]:
    micros = created.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy(zero_copy_only=False)
    days: NDArray[np.float64] = micros.astype(np.float64) / 86_400e6
    return days


# -- authors, or blocks of their time -----------------------------------------------------


def _deal(
    engine: Engine, study: Study, settings: LabelSection, seed: int, *, in_time: bool
) -> dict[str, Any]:
    """Deal new units over folds, make all places known as ``folds``, tell the balance.

    A unit is an author, or with ``in_time`` a block of an author's time.
    """
    found = _blocks(engine, study, settings, seed) if in_time else _authors(engine)
    spec, units, facts = found
    if not len(units):
        raise DataError("no picture is left to label", hint="lower [label] margin or its minimum")
    sizes, good = (units[name].to_numpy() for name in ("n", "good"))
    if good.sum() in (0, sizes.sum()):
        raise DataError(
            "all pictures have the same label", hint="collect more, or lower the margin"
        )
    keys = (units[name].to_pylist() for name in spec.key)
    wanted = draw(settings, seed) | ({"days": facts["block_days"]} if in_time else {})
    before = places(study, spec, wanted, units)
    what = f"blocks of {facts['block_days']} days" if in_time else "authors"
    dealt = assign(
        author_keys(zip(*keys, strict=True)),
        sizes,
        good,
        folds=settings.folds,
        test_fraction=settings.test_fraction,
        seed=seed,
        kept=before,
        what=what,
    )
    split = pa.array(np.where(dealt.test, "test", "train"))
    known = units.select(spec.key).append_column("fold", pa.array(dealt.fold))
    known = known.append_column("split", split)
    remember(study, spec, wanted, known, before)
    engine.known("folds", known.append_column("number", pa.array(range(len(units)))))
    return facts | {"folds": _balance(dealt, sizes, good, settings.folds)}


def _authors(engine: Engine) -> tuple[TableSpec, pa.Table, dict[str, Any]]:
    """Authors with their pictures and good pictures."""
    units = engine.fetch(
        f"SELECT {AUTHOR}, count(*) AS n, CAST(sum(label) AS BIGINT) AS good "
        f"FROM decided WHERE reason = 0 GROUP BY {AUTHOR} ORDER BY {AUTHOR}"
    )
    return PEOPLE, units, {"group": "author"}


def _blocks(
    engine: Engine, study: Study, settings: LabelSection, seed: int
) -> tuple[TableSpec, pa.Table, dict[str, Any]]:
    """Blocks of authors' time, as ``_authors`` gives authors, and how they were made.

    The length is kept from the first draw on, unless ``[label]`` gives another one.
    """
    posts = engine.fetch(
        f"SELECT {POST}, min(author_id) AS author_id, "
        "CAST(min(created_at) AS TIMESTAMP) AS created_at, "
        f"CAST(min(label) AS BIGINT) AS label FROM decided WHERE reason = 0 "
        f"GROUP BY {POST} ORDER BY {POST}"
    )
    author, days = _author_numbers(posts), _days(posts["created_at"])
    label = posts["label"].to_numpy()
    kept = drawn(study, BLOCKS)
    length = settings.block_days
    if not length and {**kept, "days": 0} == draw(settings, seed) | {"days": 0}:
        length = int(kept["days"])
    if not length and len(posts):
        length = chosen_length(author, days, label, seed)
    block = block_of(days, length or 1)
    began = pa.array(first_day(block, length or 1).astype(str), pa.string())
    rows = pa.table({name: posts[name] for name in POST_KEY} | {"block": began})
    engine.known("blocks", rows)
    key = ", ".join(BLOCKS.key)
    units = engine.fetch(
        f"SELECT {key}, count(*) AS n, CAST(sum(label) AS BIGINT) AS good "
        f"FROM (SELECT d.*, b.block FROM {IN_BLOCKS} WHERE d.reason = 0) AS placed "
        f"GROUP BY {key} ORDER BY {key}"
    )
    beside = alike(author, block, label, seed)
    return (
        BLOCKS,
        units,
        {
            "group": "time",
            "block_days": length,
            "blocks": len(units),
            "authors": len(np.unique(author)),
            "neighbours": {"correlation": beside.correlation, "p": beside.p},
        },
    )


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

IN_BLOCKS = """decided d JOIN blocks b
  ON d.platform = b.platform AND d.host = b.host AND d.post_id = b.post_id"""

DEALT = {
    "author": """decided d JOIN folds f
  ON d.platform = f.platform AND d.host = f.host AND d.author_id = f.author_id""",
    "time": f"""{IN_BLOCKS} JOIN folds f
  ON d.platform = f.platform AND d.host = f.host AND d.author_id = f.author_id
  AND b.block = f.block""",
}

GROUP_KEY = {
    "author": "CAST(NULL AS STRING)",
    "time": " || chr(31) || ".join([*(f"d.{name}" for name in AUTHOR_KEY), "b.block"]),
}


def _labels(group: str) -> str:
    """The table's rows; ``group`` is what was dealt."""
    return f"""
SELECT {as_columns("labels")} FROM (
  SELECT d.*, CAST(NULL AS STRING) AS class, {GROUP_KEY[group]} AS group_key,
         1 AS weight, f.fold, f.split FROM {DEALT[group]} WHERE d.reason = 0) AS dealt
"""


# A ratio of the same reading is the same number: then the cut has moved.
FLIPS = """
SELECT count(*) AS labelled_before,
       CAST(coalesce(sum(CASE WHEN d.label <> e.label THEN 1 ELSE 0 END), 0) AS BIGINT) AS flipped,
       CAST(coalesce(sum(CASE WHEN d.label <> e.label AND NOT (d.likes = e.likes
         AND coalesce(d.audience, -1) = coalesce(e.audience, -1)) THEN 1 ELSE 0 END), 0) AS BIGINT)
         AS counts_changed
FROM decided d JOIN labels e ON d.picture_id = e.picture_id WHERE d.reason = 0
"""


def _flips(engine: Engine, study: Study) -> dict[str, int]:
    """Pictures that the published table labels, too, those that change their label, and why."""
    engine.table(study, "labels")
    [found] = engine.fetch(FLIPS).to_pylist()
    return {**found, "cut_moved": found["flipped"] - found["counts_changed"]}


def _shown(engine: Engine, share: float, group: str) -> dict[str, Any]:
    """The author's part in the labels, and the histogram."""
    tenths = engine.fetch(
        "SELECT CASE WHEN ratio > 0 THEN CAST(floor(log10(ratio) * 10) AS BIGINT) END AS tenth, "
        "CAST(label AS BIGINT) AS label, count(*) AS n FROM decided WHERE reason = 0 "
        "GROUP BY 1, 2"
    )
    found = Counter({(row["tenth"], row["label"]): row["n"] for row in tenths.to_pylist()})
    sample = engine.fetch(
        f"SELECT ratio, label, number FROM (SELECT d.*, f.number FROM {DEALT[group]}) AS dealt "
        f"WHERE reason = 0 AND {_sampled(share)} ORDER BY number, label, ratio"
    )
    baseline = author_facts(*(column.to_numpy() for column in sample.columns))
    return {"author_baseline": baseline, "histogram": log10_histogram(found)}


if __name__ == "__main__":
    from spark_jobs.entry import main

    main("spark_jobs.label", "label")
