"""How well good and bad pictures are told apart: tables, curves, baselines, differences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.comparison import curves
from training.report.answer import best_result
from training.report.context import Context, Section
from training.report.figures import Figure

__all__ = ["section"]

CLASSIFIERS = {
    "linear-svc": "LinearSVC",
    "random-forest": "RandomForestClassifier",
    "svm-with-sgd": "SVMWithSGD (MLlib)",
}


def section(context: Context) -> Section:
    """Everything that ``compare`` found, or that it has not run."""
    content = context.comparison
    data: dict[str, Any] = {"content": content, "names": CLASSIFIERS}
    if content is not None:
        data |= {
            "best": best_result(content),
            "verdict": _verdict(content),
            "layers": _layers(content),
            "figures": _figures(context, content),
        }
    return Section("comparison", "How well it tells them apart", "comparison.html", data)


def _verdict(content: Mapping[str, Any]) -> str:
    """The comparison's own sentence about its best row."""
    models = [row["model"] for row in content["results"]]
    if content["best"] in models and len(content["sentences"]) == len(models):
        return str(content["sentences"][models.index(content["best"])])
    return ""


def _layers(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The paper's tables: one a layer, a row a classifier, a column a set."""
    found = []
    for layer in dict.fromkeys(row["layer"] for row in content["results"]):
        own = [row for row in content["results"] if row["layer"] == layer]
        sets = [name for name in ("flipped", "normal") if any(r["set"] == name for r in own)]
        cells = {(r["classifier"], r["set"]): r for r in own}
        rows = [
            (name, [cells.get((name, column)) for column in sets])
            for name in dict.fromkeys(r["classifier"] for r in own)
        ]
        found.append({"layer": layer, "sets": sets, "rows": rows})
    return found


def _figures(context: Context, content: Mapping[str, Any]) -> list[Figure]:
    """The comparison's own figures, drawn again in the page's two shapes."""
    return [
        context.figure(plot.name, plot.title, plot.words, plot.paint, height=3.0)
        for plot in curves.plots(content)
    ]
