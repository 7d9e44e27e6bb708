"""The first screen: the answer to the title's question, what it rests on, and pictures of it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from likewise import __version__
from likewise.study import Study
from likewise.tables import AUTHOR_KEY
from training.drawing.figures import Figure
from training.report.answer import Answer, answer, figure
from training.report.context import Context

__all__ = ["Count", "Head", "head", "synthetic"]

STRIP = 5
SYNTHETIC = "synthetic world"


class Count(NamedTuple):
    """A number of the study and what it counts."""

    number: int
    what: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Head:
    """What stands above the sections."""

    title: str
    made_at: dt.datetime
    version: str
    synthetic: bool
    answer: Answer
    figure: Figure | None
    strips: list[tuple[str, list[str]]] = field(default_factory=list)
    counts: list[Count] = field(default_factory=list)


def head(context: Context) -> Head:
    """The heading of the study's report."""
    config = context.study.config
    return Head(
        title=config.report.title or config.study.name,
        made_at=dt.datetime.now(dt.UTC),
        version=__version__,
        synthetic=synthetic(context.study),
        answer=answer(context),
        figure=figure(context),
        strips=_strips(context),
        counts=_counts(context),
    )


def _strips(context: Context) -> list[tuple[str, list[str]]]:
    chosen = context.galleries
    if chosen is None:
        return []
    return [
        (name, [context.thumbs.square(one.picture_id) for one in picks[:STRIP]])
        for name, picks in (("best", chosen.top), ("worst", chosen.bottom))
    ]


def _counts(context: Context) -> list[Count]:
    """From posts to the pictures that the answer rests on; each word means one thing."""
    found = []
    posts, fetches, labels = (context.manifest(n) for n in ("posts", "fetches", "labels"))
    if posts is not None:
        found.append(Count(posts.rows, "posts", "collected; one may have several attachments"))
    if fetches is not None:
        rows = context.study.read("fetches", ["status"])
        good = int(pc.sum(pc.equal(rows["status"], "ok")).as_py() or 0)
        found.append(Count(good, "pictures", f"fetched, of {fetches.rows:,} attachments"))
    if labels is not None and context.labels is not None:
        found.append(Count(labels.rows, "labelled", "pictures that are called good or bad"))
        n = _authors(context.labels)
        what = "author" if n == 1 else "authors"
        found.append(Count(n, what, "of the labelled pictures"))
    if context.comparison is not None:
        data = context.comparison.data
        words = f"pictures of {data.held_out_authors:,} {context.unit.many} that no model has seen"
        found.append(Count(data.held_out_pictures, "held out", words))
    return found


def _authors(labels: pa.Table) -> int:
    return int(labels.group_by([*AUTHOR_KEY]).aggregate([]).num_rows)


def synthetic(study: Study) -> bool:
    """True when the posts come from a sandbox: its permission or its captions say so."""
    if any(SYNTHETIC in source.permission.lower() for source in study.config.collect.sources):
        return True
    if study.manifest("posts") is None:
        return False
    texts = study.dataset("posts").head(200, columns=["text"])["text"]
    says = pc.sum(pc.match_substring(texts, SYNTHETIC, ignore_case=True)).as_py() or 0
    return bool(len(texts)) and says > 0.9 * len(texts)
