"""How well good and bad pictures are told apart: tables, curves, baselines, differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from training.report.answer import best_result
from training.report.context import Context, Section
from training.report.figures import BAD, GOOD, INK, QUIET, THIRD, Figure

__all__ = ["section"]

CLASSIFIERS = {
    "linear-svc": "LinearSVC",
    "random-forest": "RandomForestClassifier",
    "svm-with-sgd": "SVMWithSGD (MLlib)",
}
STYLES = [(GOOD, "-"), (BAD, "-"), (THIRD, "-"), (GOOD, "--"), (BAD, "--"), (THIRD, "--")]


def section(context: Context) -> Section:
    """Everything that ``compare`` found, or that it has not run."""
    content = context.comparison
    data: dict[str, Any] = {"content": content, "names": CLASSIFIERS}
    if content is not None:
        data |= {
            "best": best_result(content),
            "verdict": _verdict(content),
            "layers": _layers(content),
            "figures": [f for f in _figures(context, content) if f is not None],
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


def _figures(context: Context, content: Mapping[str, Any]) -> list[Figure | None]:
    return [
        _c_curves(context, content["results"]),
        _sgd_curves(context, content["results"]),
        _pr_curve(context),
        _learning(context, content.get("learning_curves") or {}),
    ]


def _c_curves(context: Context, results: Sequence[Mapping[str, Any]]) -> Figure | None:
    rows = [row for row in results if row["curve"] and "C" in row["curve"][0]["parameters"]]
    if not rows:
        return None
    return _grid_figure(
        context,
        rows,
        "C",
        "c-curves",
        "LinearSVC: cross-validated average precision by C, with the spread of the folds",
    )


def _sgd_curves(context: Context, results: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Each row at its best step size."""
    rows = []
    for row in results:
        points = [p for p in row["curve"] if "regParam" in p["parameters"]]
        if points:
            best = max(points, key=lambda p: _number(p["mean"]))["parameters"]["stepSize"]
            own = [p for p in points if p["parameters"]["stepSize"] == best]
            rows.append({**row, "curve": own})
    if not rows:
        return None
    return _grid_figure(
        context,
        rows,
        "regParam",
        "sgd-curves",
        "SVMWithSGD: cross-validated average precision by regParam, at the best step size",
    )


def _number(value: float | None) -> float:
    return -np.inf if value is None or not np.isfinite(value) else value


def _grid_figure(
    context: Context, rows: Sequence[Mapping[str, Any]], key: str, name: str, title: str
) -> Figure:
    def paint(axes: Axes, _wide: bool) -> None:
        for (colour, line), row in zip(STYLES, rows, strict=False):
            points = sorted(row["curve"], key=lambda p: p["parameters"][key])
            x = [p["parameters"][key] for p in points]
            mean = np.array([np.nan if p["mean"] is None else p["mean"] for p in points])
            spread = np.array([p["spread"] or 0.0 for p in points])
            axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.13, lw=0)
            label = f"{row['layer']}, {_SETS[row['set']]}"
            axes.plot(x, mean, line, color=colour, marker="o", ms=3.5, label=label)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(_power_of_ten))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(key)
        axes.set_ylabel("average precision")
        axes.legend(fontsize=8.5)

    peaks = "; ".join(
        f"{row['layer']} {_SETS[row['set']]} at most "
        f"{max(_number(p['mean']) for p in row['curve']):.3f}"
        for row in rows
    )
    return context.figure(name, title, f"{title}: {peaks}.", paint, height=3.0)


def _power_of_ten(value: float, _position: object = None) -> str:
    """1e-6 -> '10⁻⁶'."""
    exponent = f"{np.log10(value):.0f}" if value > 0 else ""
    return "10" + exponent.translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


_SETS = {"flipped": "flipped + normal", "normal": "normal"}


def _pr_curve(context: Context) -> Figure | None:
    """Precision against recall of the ranking on held-out authors."""
    if context.manifest("scores") is None:
        return None
    from sklearn.metrics import average_precision_score, precision_recall_curve

    labels = context.study.read("labels", ["picture_id", "label", "split"])
    labels = labels.filter(pc.equal(labels["split"], "test"))
    scores = context.study.read("scores", ["picture_id", "score"])
    rows = labels.join(scores, "picture_id", join_type="inner")
    label, score = rows["label"].to_numpy(), rows["score"].to_numpy()
    if len(np.unique(label)) < 2:
        return None
    precision, recall, _ = precision_recall_curve(label, score)
    ap = float(average_precision_score(label, score))
    share = float(label.mean())
    model = context.said("scores").get("model", "the model")

    def paint(axes: Axes, _wide: bool) -> None:
        axes.step(recall, precision, where="post", color=GOOD, label=f"{model}, AP {ap:.3f}")
        axes.axhline(share, color=QUIET, lw=1, ls=(0, (4, 3)), label=f"chance, {share:.3f}")
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        axes.set_ylim(0, 1.02)
        axes.set_xlim(0, 1)
        axes.legend(fontsize=8.5, loc="lower left")

    words = (
        f"Precision against recall of {model} on held-out authors: average precision {ap:.3f}, "
        f"chance {share:.3f}."
    )
    return context.figure(
        "precision-recall", "Precision and recall on held-out authors", words, paint, height=3.0
    )


def _learning(
    context: Context, curves: Mapping[str, Sequence[Mapping[str, float]]]
) -> Figure | None:
    curves = {name: points for name, points in curves.items() if points}
    if not curves:
        return None

    def paint(axes: Axes, _wide: bool) -> None:
        for (colour, line), (name, points) in zip(STYLES, curves.items(), strict=False):
            x = [p["authors"] for p in points]
            low, high = [p["low"] for p in points], [p["high"] for p in points]
            axes.fill_between(x, low, high, color=colour, alpha=0.13, lw=0)
            axes.plot(
                x, [p["mean"] for p in points], line, color=colour, marker="o", ms=3.5, label=name
            )
        axes.set_xlabel("training authors")
        axes.set_ylabel("average precision")
        axes.tick_params(axis="x", labelcolor=INK)
        axes.legend(fontsize=8.5)

    words = "; ".join(
        f"{name}: {points[0]['mean']:.3f} with {points[0]['authors']} authors, "
        f"{points[-1]['mean']:.3f} with {points[-1]['authors']}"
        for name, points in curves.items()
    )
    title = "Would more authors help: average precision by authors trained on"
    return context.figure("learning-curve", title, f"{title}. {words}.", paint, height=3.0)
