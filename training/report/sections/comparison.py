"""How well good and bad pictures are told apart: tables, curves, baselines, differences."""

from __future__ import annotations

from typing import Any

from training.comparison import curves
from training.comparison.results import Comparison
from training.drawing.figures import Figure
from training.report.context import Context, Section

__all__ = ["section"]

CLASSIFIERS = {
    "linear-svc": "LinearSVC",
    "random-forest": "RandomForestClassifier",
    "svm-with-sgd": "SVMWithSGD (MLlib)",
}


def section(context: Context) -> Section:
    """Everything that ``compare`` found, or that it has not run."""
    found = context.comparison
    data: dict[str, Any] = {"content": found, "names": CLASSIFIERS}
    if found is not None:
        data |= {
            "best": found.best_result,
            "verdict": _verdict(found),
            "layers": _layers(found),
            "figures": _figures(context, found),
        }
    return Section("comparison", "How well it tells them apart", "comparison.html", data)


def _verdict(found: Comparison) -> str:
    """The comparison's own sentence about its best row."""
    said = zip(found.results, found.sentences, strict=True)
    return next(words for row, words in said if row.model == found.best)


def _layers(found: Comparison) -> list[dict[str, Any]]:
    """The paper's tables: one a layer, a row a classifier, a column a set."""
    tables = []
    for layer in dict.fromkeys(row.layer for row in found.results):
        own = [row for row in found.results if row.layer == layer]
        sets = [name for name in ("flipped", "normal") if any(r.set == name for r in own)]
        cells = {(r.classifier, r.set): r for r in own}
        rows = [
            (name, [cells.get((name, column)) for column in sets])
            for name in dict.fromkeys(r.classifier for r in own)
        ]
        tables.append({"layer": layer, "sets": sets, "rows": rows})
    return tables


def _figures(context: Context, found: Comparison) -> list[Figure]:
    """The comparison's own figures, drawn again in the page's two shapes."""
    return [
        context.figure(
            plot.name,
            plot.title,
            plot.words,
            plot.paint,
            height=3.0,
            narrow_height=4.4 if plot.name.startswith("pr-") else 3.7,
        )
        for plot in curves.plots(found)
    ]
