"""``clean``: posts, authors -> kept_posts. Which posts count, and whose.

The rules are those of ``filters.posts``, the bounds those of ``filters.outliers``. What is left
to SQL: which reading of an author is nearest to a post's likes, and the first rule that holds.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.kept_share import threshold_keeping
from filters.outliers import Bounds, bounds, distinct_counts, log10_histogram
from filters.posts import Audience, rules
from filters.rules import Rule, first_reason
from likewise.config import CleanSection
from likewise.funnel import Funnel
from likewise.study import Manifest, Study
from likewise.working import changes_study
from spark_jobs import begin
from spark_jobs.session import survives_java
from spark_jobs.sql import Engine, as_columns, reason_counts, sql_engine

__all__ = ["clean"]


@changes_study("clean")
@survives_java
def clean(
    study: Study | str | os.PathLike[str], *, redo: bool = False, master: str | None = None
) -> Manifest:
    """Keep ordinary authors and settled posts; publish ``kept_posts``.

    The manifest's ``extra`` holds the bounds, the histograms of followers before and after, and
    how many authors had no usable count.

    Raises:
        MissingTableError: posts or authors have not been collected.
        DataError: no author has a known, positive follower count.
    """
    study = Study.open(study)
    settings = study.config.clean
    by_likes = study.config.question.kind == "likes"
    audience = begin.audience_of(study)
    stage = begin.clean(study, redo=redo)
    if stage.done:
        return stage.manifest
    with sql_engine(study, "clean", master) as engine, stage.staging() as directory:
        engine.table(study, "posts")
        engine.table(study, "authors")
        rule: Bounds | None = None
        facts: dict[str, Any] = {}
        if audience != "none":
            engine.define("readings", READINGS[audience])
            rule, facts = _rule(engine, settings)
        asked = rules(settings, audience, rule) if by_likes else []
        engine.define("judged", _judged(audience, asked))
        kept = f"SELECT {as_columns('kept_posts')} FROM judged WHERE reason = 0"
        engine.write(kept, directory)
        rows, dropped = reason_counts(engine, "judged", asked)
    funnel = Funnel("clean", "posts", rows + sum(dropped.values()), rows, dropped)
    return stage.publish(funnel=funnel, rows=rows, audience=audience, **facts)


# -- authors ------------------------------------------------------------------------------

# One row for each moment at which an author's count is known, valid for the posts that were
# collected nearer to it than to the moments before and after; of two as near the earlier. Doubled
# moments keep the middle of two a whole number. Of several counts of one moment the smallest
# stands. An author whose count was never known has one row without one.
FOLLOWERS = """
WITH read AS (
  SELECT platform, host, author_id, fetched_at AS audience_at, min(followers) AS audience
  FROM authors GROUP BY platform, host, author_id, fetched_at),
ordered AS (
  SELECT *, lag(audience_at) OVER moments AS before, lead(audience_at) OVER moments AS after,
         max_by(audience, audience_at) OVER (PARTITION BY platform, host, author_id) AS latest
  FROM read WHERE audience IS NOT NULL
  WINDOW moments AS (PARTITION BY platform, host, author_id ORDER BY audience_at))
SELECT platform, host, author_id, audience_at, audience, latest,
       coalesce(unix_micros(before) + unix_micros(audience_at), -9223372036854775807) AS low,
       coalesce(unix_micros(after) + unix_micros(audience_at), 9223372036854775807) AS high,
       after IS NULL AS last
FROM ordered
UNION ALL
SELECT platform, host, author_id, NULL, NULL, NULL,
       -9223372036854775807, 9223372036854775807, true
FROM read GROUP BY platform, host, author_id HAVING max(audience) IS NULL
"""

# Without follower counts the most viewed post says how far an author reaches.
VIEWS = """
SELECT platform, host, author_id, max(views) AS latest, true AS last
FROM posts GROUP BY platform, host, author_id
"""

READINGS = {"followers": FOLLOWERS, "views": VIEWS}


def _rule(engine: Engine, settings: CleanSection) -> tuple[Bounds, dict[str, Any]]:
    """Bounds over all authors with an audience, and what the report shows of them.

    Makes ``standing`` known: the modified z-score of every latest count.
    """
    found = engine.fetch(
        "SELECT CAST(latest AS DOUBLE) AS latest, count(*) AS authors FROM readings WHERE last "
        "GROUP BY latest ORDER BY latest"
    )
    latest, authors = (column.to_numpy() for column in found.columns)
    values, times, exact = distinct_counts(latest, authors, settings.exact_up_to)
    unknown, known = np.isnan(values), values > 0
    counts = {
        "known": int(times[known].sum()),
        "unknown": int(times[unknown].sum()),
        "without_audience": int(times[~known & ~unknown].sum()),
    }
    values, times = values[known], times[known]
    threshold, scale = settings.threshold, settings.scale
    if settings.keep_share is not None and values.size:
        threshold = threshold_keeping(values, times, share=settings.keep_share, scale=scale)
    rule = bounds(values, times, threshold=threshold, scale=scale, exact=exact)
    stays = rule.inside(values)
    histograms = {
        "before": log10_histogram(values, times),
        "after": log10_histogram(values[stays], times[stays]),
    }
    engine.known("standing", _standing(latest[latest > 0], rule))
    return rule, {"bounds": rule.to_dict(), "histogram": histograms, "authors": counts}


def _standing(latest: NDArray[np.float64], rule: Bounds) -> pa.Table:
    return pa.table({"latest": latest.astype(np.int64), "robust_z": rule.z(latest)})


# -- posts --------------------------------------------------------------------------------

POSTS = """
SELECT p.platform, p.host, p.post_id, p.author_id, p.created_at, p.likes,
       p.collected_at AS likes_at, unix_micros(p.created_at) AS created,
       unix_micros(coalesce(p.indexed_at, p.created_at)) AS since,
       unix_micros(p.collected_at) AS collected,
       (unix_micros(p.collected_at) - unix_micros(coalesce(p.indexed_at, p.created_at)))
         / CAST(86400000000 AS DOUBLE) AS age_days,
       {columns}
FROM posts p {joins}
"""

OF_AUTHOR = """LEFT JOIN readings r
  ON p.platform = r.platform AND p.host = r.host AND p.author_id = r.author_id {nearest}
LEFT JOIN standing s ON r.latest = s.latest"""

NEAREST = (
    "AND 2 * unix_micros(p.collected_at) > r.low AND 2 * unix_micros(p.collected_at) <= r.high"
)

COLUMNS = {
    "followers": "r.audience, r.audience_at",
    "views": "p.views AS audience, p.collected_at AS audience_at",
}


def _judged(audience: Audience, asked: Sequence[Rule]) -> str:
    """Every post with the columns of ``kept_posts`` and the number of its ``reason``."""
    if audience == "none":
        # CASE keeps the type: a plain null has none that both engines write as a time with zone.
        columns = (
            "NULL AS audience, CASE WHEN false THEN collected_at END AS audience_at, "
            "NULL AS robust_z"
        )
        posts = POSTS.format(columns=columns, joins="")
    else:
        columns = f"r.author_id AS listed, r.latest, {COLUMNS[audience]}, s.robust_z"
        nearest = NEAREST if audience == "followers" else ""
        posts = POSTS.format(columns=columns, joins=OF_AUTHOR.format(nearest=nearest))
        posts = f"SELECT *, unix_micros(audience_at) AS read_at FROM ({posts}) AS joined"
    return (
        f"SELECT platform, host, post_id, author_id, created_at, likes, likes_at, audience, "
        f"audience_at, age_days, robust_z, {first_reason(asked)} AS reason FROM ({posts}) AS facts"
    )


if __name__ == "__main__":
    from spark_jobs.entry import main

    main("spark_jobs.clean", "clean")
