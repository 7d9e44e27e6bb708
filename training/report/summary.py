"""The first screen: the answer in a sentence with its uncertainty, and a picture of it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import pyarrow.compute as pc

from likewise import __version__
from likewise.study import Study
from training.drawing.figures import Figure
from training.report import answer
from training.report.context import Context

__all__ = ["Head", "head", "synthetic"]

STRIP = 5
SYNTHETIC = "synthetic world"


@dataclass(frozen=True, slots=True)
class Head:
    """What stands above the sections."""

    title: str
    made_at: dt.datetime
    version: str
    synthetic: bool
    sentences: list[str]
    figure: Figure | None
    strips: list[tuple[str, list[str]]] = field(default_factory=list)
    facts: list[tuple[str, int]] = field(default_factory=list)


def head(context: Context) -> Head:
    """The heading of the study's report."""
    config = context.study.config
    return Head(
        title=config.report.title or config.study.name,
        made_at=dt.datetime.now(dt.UTC),
        version=__version__,
        synthetic=synthetic(context.study),
        sentences=answer.sentences(context),
        figure=answer.figure(context),
        strips=_strips(context),
        facts=_facts(context),
    )


def _strips(context: Context) -> list[tuple[str, list[str]]]:
    chosen = context.galleries
    if chosen is None:
        return []
    return [
        (name, [context.thumbs.square(one.picture_id) for one in picks[:STRIP]])
        for name, picks in (("best", chosen.top), ("worst", chosen.bottom))
    ]


def _facts(context: Context) -> list[tuple[str, int]]:
    names = (("posts", "posts"), ("pictures", "pictures"), ("labels", "labelled pictures"))
    found = [(words, context.manifest(name)) for name, words in names]
    facts = [(words, manifest.rows) for words, manifest in found if manifest is not None]
    if context.labels is not None:
        keys = context.labels.group_by(["platform", "host", "author_id"]).aggregate([])
        facts.append(("authors", keys.num_rows))
    return facts


def synthetic(study: Study) -> bool:
    """True when the posts come from a sandbox: its permission or its captions say so."""
    if any(SYNTHETIC in source.permission.lower() for source in study.config.collect.sources):
        return True
    if study.manifest("posts") is None:
        return False
    texts = study.dataset("posts").head(200, columns=["text"])["text"]
    says = pc.sum(pc.match_substring(texts, SYNTHETIC, ignore_case=True)).as_py() or 0
    return bool(len(texts)) and says > 0.9 * len(texts)
