"""Figures of the comparison: C-curves, precision and recall, learning curve, confusion.

Each is a ``Plot`` that paints into Matplotlib axes from the typed comparison alone,
so that the report draws the same figure again in its own shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from training.comparison.results import Comparison, Confusion, FigureFile, GridPoint, Result
from training.drawing.figures import BAD, GOOD, INK, LINE, QUIET, THIRD, draw, legend

__all__ = ["Plot", "logarithmic", "plots", "save", "write"]

COLOURS = {"linear-svc": GOOD, "random-forest": BAD, "svm-with-sgd": THIRD}
MARKS = {"normal": "-", "flipped": "--"}
SETS = {"normal": "normal", "flipped": "flipped + normal"}


@dataclass(frozen=True)
class Plot:
    """A figure: ``name`` of its files, title, what it shows in words, and how to paint it."""

    name: str
    title: str
    words: str
    paint: Callable[[Axes, bool], None]


def plots(comparison: Comparison) -> list[Plot]:
    """All figures that the comparison allows."""
    found = []
    for layer in dict.fromkeys(result.layer for result in comparison.results):
        own = [result for result in comparison.results if result.layer == layer]
        chance = comparison.chance.average_precision
        found += [*_c_curves(layer, own), *_sgd_grids(layer, own), _pr_curves(layer, own, chance)]
    if comparison.learning_curves:
        found.append(_learning(comparison))
    best = comparison.best_result
    return found if best.confusion is None else [*found, _confusion(best, best.confusion)]


def save(comparison: Comparison, folder: Path) -> list[FigureFile]:
    """Write every figure as PNG and SVG into ``folder``; returns names, titles and words."""
    return write([(plot, 2.8) for plot in plots(comparison)], folder)


def write(found: Sequence[tuple[Plot, float]], folder: Path) -> list[FigureFile]:
    """Write figures of their heights in inches; see ``save``."""
    folder.mkdir(parents=True, exist_ok=True)
    for plot, height in found:
        draw(folder, plot.name, plot.title, plot.words, plot.paint, height=height)
    return [FigureFile(plot.name, plot.title, plot.words) for plot, _ in found]


def _with_curve(results: Sequence[Result], classifier: str) -> list[Result]:
    """Its results with a grid point that did not diverge in every fold."""
    own = [result for result in results if result.classifier == classifier]
    return [r for r in own if any(point.mean is not None for point in r.curve)]


def _c_curves(layer: str, results: Sequence[Result]) -> list[Plot]:
    own = _with_curve(results, "linear-svc")
    if not own:
        return []

    def paint(axes: Axes, wide: bool) -> None:
        for result, colour in zip(own, (GOOD, BAD), strict=False):
            _band(axes, result.curve, "C", colour, SETS[result.set])
            chosen = result.parameters["C"]
            axes.axvline(chosen, color=colour, linewidth=0.8, linestyle=":")
        logarithmic(axes, "C of LinearSVC")
        axes.set_ylabel("average precision")
        legend(axes, wide)

    peaks = ", ".join(
        f"{SETS[r.set]}: best {_peak(r):.3f} at C = {r.parameters['C']:g}" for r in own
    )
    words = f"Cross-validated average precision of LinearSVC on {layer} against C. {peaks}."
    return [Plot(f"c-curve-{layer}", f"C-curve on {layer}", words, paint)]


def _band(axes: Axes, curve: Sequence[GridPoint], key: str, colour: str, label: str) -> None:
    """Mean over the folds, with the spread between them as a band and each fold as a dot."""
    kept = [point for point in curve if point.mean is not None]
    x = np.array([point.parameters[key] for point in kept], dtype=np.float64)
    mean = np.array([point.mean for point in kept], dtype=np.float64)
    spread = np.array([point.spread for point in kept], dtype=np.float64)
    axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.1, linewidth=0)
    axes.plot(x, mean, color=colour, label=f"{label} (± deviation of folds)")
    for at, point in zip(x, kept, strict=True):
        folds = list(point.folds.values())
        axes.plot([at] * len(folds), folds, ".", color=colour, markersize=3)


def logarithmic(axes: Axes, label: str) -> None:
    """A logarithmic axis whose ticks are plain text: powers of ten need no formula there."""
    axes.set_xscale("log")
    low, high = np.log10(axes.get_xlim())
    ticks = 10.0 ** np.arange(np.ceil(low), np.floor(high) + 1, 2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(label)


def _peak(result: Result) -> float:
    return float(max(p.mean for p in result.curve if p.mean is not None))


def _sgd_grids(layer: str, results: Sequence[Result]) -> list[Plot]:
    own = _with_curve(results, "svm-with-sgd")
    if not own:
        return []
    result = own[-1]
    scaled = [p for p in result.curve if p.parameters["scaling"] == result.parameters["scaling"]]

    def paint(axes: Axes, wide: bool) -> None:
        steps = sorted({float(point.parameters["stepSize"]) for point in scaled})
        for step, colour in zip(steps, (GOOD, BAD, THIRD, INK, QUIET) * 9, strict=False):
            curve = [p for p in scaled if p.parameters["stepSize"] == step]
            curve = [p for p in curve if float(p.parameters["regParam"]) > 0]
            _band(axes, curve, "regParam", colour, f"step {step:g}")
        logarithmic(axes, "regParam of SVMWithSGD")
        axes.set_ylabel("average precision")
        legend(axes, wide)

    words = (
        f"Cross-validated average precision of SVMWithSGD on {layer} ({SETS[result.set]}) "
        f"against regParam, one line for each stepSize, features {result.parameters['scaling']}. "
        f"Best {_peak(result):.3f}."
    )
    return [Plot(f"sgd-grid-{layer}", f"SVMWithSGD's grid on {layer}", words, paint)]


def _pr_curves(layer: str, results: Sequence[Result], chance: float) -> Plot:
    def paint(axes: Axes, wide: bool) -> None:
        for r in results:
            label = f"{r.classifier}, {SETS[r.set]}: AP {r.average_precision.value:.3f}"
            axes.step(
                r.pr_curve.recall,
                r.pr_curve.precision,
                MARKS[r.set],
                where="pre",
                color=COLOURS.get(r.classifier, INK),
                label=label,
                linewidth=1.2,
            )
        axes.axhline(
            chance, color=QUIET, linewidth=0.8, linestyle=":", label=f"chance {chance:.3f}"
        )
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        legend(axes, wide)

    best = max(results, key=lambda r: r.average_precision.value or 0.0)
    words = (
        f"Precision against recall on the held-out pictures, {layer}. The highest average "
        f"precision is {best.average_precision.value:.3f} "
        f"({best.classifier}, {SETS[best.set]}); scores in random order get {chance:.3f}."
    )
    return Plot(f"pr-curve-{layer}", f"Precision and recall on {layer}", words, paint)


def _learning(comparison: Comparison) -> Plot:
    curves, many = comparison.learning_curves, comparison.unit.many

    def paint(axes: Axes, wide: bool) -> None:
        for (layer, points), colour in zip(curves.items(), (GOOD, BAD, THIRD) * 9, strict=False):
            sizes = [point.authors for point in points]
            low, high = [point.low for point in points], [point.high for point in points]
            axes.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(sizes, [p.mean for p in points], "o-", color=colour, label=layer)
        axes.set(xlabel=f"{many} trained on", ylabel="average precision")
        axes.set_ylim(top=min(1.0, axes.get_ylim()[1]))
        legend(axes, wide)

    ends = "; ".join(
        f"{layer}: {points[0].mean:.3f} with {points[0].authors} {many}, "
        f"{points[-1].mean:.3f} with {points[-1].authors}"
        for layer, points in curves.items()
    )
    words = f"Average precision of LinearSVC on the held-out {many} against training size. {ends}."
    return Plot("learning-curve", f"More {many}, more precision?", words, paint)


def _confusion(result: Result, confusion: Confusion) -> Plot:
    # Good first, as people read it; the classes themselves are in the order of their numbers.
    counts = np.array(confusion.counts)[::-1, ::-1]

    def paint(axes: Axes, wide: bool) -> None:  # noqa: ARG001
        axes.set(xlim=(0, 2), ylim=(2, 0))
        axes.set_xticks([0.5, 1.5], ["said good", "said bad"])
        axes.set_yticks([0.5, 1.5], ["is good", "is bad"])
        for spine in axes.spines.values():
            spine.set_visible(False)
        for (row, column), count in np.ndenumerate(counts):
            share = count / max(1, counts.sum())
            right = row == column
            axes.fill_between(
                [column, column + 1],
                row,
                row + 1,
                color=GOOD if right else BAD,
                alpha=0.1 + 0.6 * share,
                edgecolor=LINE,
            )
            axes.text(column + 0.5, row + 0.5, f"{count:,}\n{share:.0%}", ha="center", va="center")

    right = int(np.trace(counts))
    words = (
        f"{result.model} at the threshold of probability one half: {right} of {counts.sum()} "
        f"held-out pictures are sorted rightly ({counts[0, 0]} good, {counts[1, 1]} bad); "
        f"{counts[1, 0]} bad ones are called good and {counts[0, 1]} good ones bad."
    )
    return Plot("confusion", "Right and wrong on the held-out pictures", words, paint)
