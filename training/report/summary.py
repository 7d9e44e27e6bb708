"""The first screen: the answer to the title's question, what it rests on, and pictures of it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from likewise import __version__
from likewise.study import Study
from likewise.tables import AUTHOR_KEY
from training.drawing.figures import Figure
from training.report.answer import Answer, answer, figure
from training.report.context import Context
from training.report.sections.classes import drawn

__all__ = ["Count", "Head", "head", "start_of", "synthetic"]

STRIP = 5
CLASSES, OF_CLASS = 6, 5
"""Classes on the first screen of a study about them, and pictures of each."""
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
    question: str = "What makes a picture liked here?"


def head(context: Context) -> Head:
    """The heading of the study's report."""
    start = start_of(context, Answer(""))
    if context.asks_classes:
        return _about_classes(context, start)
    return replace(
        start,
        answer=answer(context),
        figure=figure(context),
        strips=_strips(context),
        counts=_counts(context),
    )


def start_of(context: Context, answer: Answer) -> Head:
    """A heading with the study's name, and the answer alone."""
    config = context.study.config
    return Head(
        title=config.report.title or config.study.name,
        made_at=dt.datetime.now(dt.UTC),
        version=__version__,
        synthetic=synthetic(context.study),
        answer=answer,
        figure=None,
    )


def _about_classes(context: Context, start: Head) -> Head:
    """The first screen of a study about classes."""
    found, chosen = context.classes, context.class_galleries
    if found is None:
        said = Answer("Nothing has been compared yet: likewise compare tells classes apart.")
        return replace(start, question="Which class is a picture of?", answer=said)
    first, *rest = found.answer
    strips = []
    for one in [] if chosen is None else chosen.classes[:CLASSES]:
        keys = [context.thumbs.square(pick.picture_id) for pick in one.best[:OF_CLASS]]
        strips.append((one.name, keys))
    parts = {part.name: part for part in found.data.parts}
    groups = f"of {parts['test'].groups:,} groups that no model has seen"
    figures = drawn(context, "confusion") or drawn(context, "classes")
    return replace(
        start,
        question="How well are classes told apart?",
        answer=Answer(first, sure=rest),
        figure=figures[0],
        strips=strips,
        counts=[
            Count(len(found.classes), "classes", "that models learn"),
            Count(parts["train"].pictures, "training", "pictures that models learn from"),
            Count(parts["validation"].pictures, "validation", "pictures that choose"),
            Count(parts["test"].pictures, "test", f"pictures {groups}"),
        ],
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
