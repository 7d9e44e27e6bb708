"""How well classes are told apart, what is taken for what, and what silence buys."""

from __future__ import annotations

from typing import Any

from training.comparison.class_figures import Shaped, class_plots
from training.comparison.class_words import confused, opened, promised
from training.drawing.figures import Figure
from training.report.context import Context, Section

__all__ = ["abstention", "confusion", "drawn", "parts", "table"]

NAMES = {
    "softmax": "Softmax layer",
    "last-layer": "Softmax layer, by steps",
    "linear-svc": "LinearSVC, one against the rest",
    "random-forest": "RandomForestClassifier",
    "svm-with-sgd": "SVMWithSGD (MLlib), one against the rest",
    "binary-tree": "Tree of binary classifiers",
}
SHOWN = 12


def table(context: Context) -> Section:
    """Every classifier beside the baselines, then every class by the best."""
    found = context.classes
    data: dict[str, Any] = {"content": found, "names": NAMES, "figures": []}
    if found is not None:
        data |= {
            "best": found.best_result,
            "figures": drawn(context, "classes", "grid", "steps-"),
            "beside": {one.other: one.paired for one in found.against},
        }
    return Section("comparison", "How well classes are told apart", "classes.html", data)


def confusion(context: Context) -> Section:
    """What is taken for what: the square, and the most frequent mistakes in words."""
    found = context.classes
    data: dict[str, Any] = {"content": found, "figures": [], "mistakes": []}
    if found is not None:
        data |= {
            "figures": drawn(context, "confusion"),
            "mistakes": confused(found.best_result, found.classes)[:SHOWN],
        }
    return Section("confusion", "What is taken for what", "confusion.html", data)


def abstention(context: Context) -> Section:
    """Coverage and accuracy, the promised threshold, and pictures of unseen classes."""
    found = context.classes
    data: dict[str, Any] = {"content": found, "figures": [], "sentences": []}
    if found is not None:
        world = found.open_world
        data |= {
            "figures": drawn(context, "abstention"),
            "sentences": [
                *([promised(found.abstention)] if found.judged_on == "test" else []),
                *([opened(world)] if world else []),
            ],
        }
    return Section("abstention", "When it should rather say nothing", "abstention.html", data)


def parts(context: Context) -> Section:
    """What each class has in each part."""
    found = context.classes
    said = context.said("labels")
    funnel = (manifest.funnel if (manifest := context.manifest("labels")) else None) or {}
    rows = []
    if found is not None:
        counts = [part.per_class for part in found.data.parts]
        rows = list(zip(found.classes, zip(*counts, strict=True), strict=True))
    data = {
        "content": found,
        "rows": rows,
        "merged": said.get("merged", {}),
        "both": funnel.get("dropped", {}).get("in two classes", 0),
        "near": said.get("near_copies", 0),
    }
    return Section("labels", "Classes and parts", "class_parts.html", data)


def drawn(context: Context, *names: str) -> list[Figure]:
    """The comparison's own figures of these names, in the page's two shapes."""
    found = context.classes
    plots: list[Shaped] = [] if found is None else class_plots(found)
    return [
        context.figure(
            one.plot.name,
            one.plot.title,
            one.plot.words,
            one.plot.paint,
            height=one.height,
            narrow_height=one.narrow,
        )
        for one in plots
        if one.plot.name.startswith(names)
    ]
