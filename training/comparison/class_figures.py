"""Figures of a comparison of k classes: classes, confusion, abstention, grids, learning curves.

Each paints from the typed comparison alone, so that the report draws it again in its own shapes.
"""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from training.comparison.class_results import ClassComparison, ClassResult
from training.comparison.class_words import confused
from training.comparison.curves import Plot, logarithmic
from training.drawing.figures import BAD, GOOD, INK, LINE, QUIET, THIRD, legend

__all__ = ["Shaped", "class_plots"]

MOST_CLASSES = 24
"""Classes whose confusion is drawn as a square; of more, the most frequent mistakes are."""
COLOURS = (GOOD, BAD, THIRD, INK, QUIET)


@dataclass(frozen=True)
class Shaped:
    """A figure with its heights in inches, wide and narrow."""

    plot: Plot
    height: float
    narrow: float


def class_plots(found: ClassComparison) -> list[Shaped]:
    """All figures that the comparison allows, in the order of reading."""
    k, best = len(found.classes), found.best_result
    plots = [_classes(best, found.judged_on)]
    if confused(best, found.classes):
        plots.append(_confusion(best, found) if k <= MOST_CLASSES else _mistakes(best, found))
    plots += [_coverage(found), *_grids(found), *_steps(found)]
    return plots


def _classes(best: ClassResult, part: str) -> Shaped:
    rows = sorted(best.per_class, key=lambda row: (row.recall.value, row.name))[:MOST_CLASSES]
    rows = [row for row in rows if row.recall.of]

    def paint(axes: Axes, wide: bool) -> None:
        for place, row in enumerate(rows):
            one = row.recall
            axes.plot([one.low, one.high], [place, place], color=GOOD, linewidth=5, alpha=0.25)
            axes.plot(one.value, place, "o", color=GOOD, markersize=6)
            if wide:
                words = f"{one.right} of {one.of}"
                axes.text(1.03, place, words, va="center", color=QUIET, fontsize=9)
            else:
                words = f"{short(row.name, 34)}  {one.right} of {one.of}"
                axes.text(0, place - 0.45, words, va="center", color=INK, fontsize=8.5)
        names = [short(row.name) for row in rows] if wide else []
        axes.set_yticks(range(len(rows)) if wide else [], names)
        axes.tick_params(axis="y", labelcolor=INK, labelsize=9)
        axes.set_ylim(len(rows) - 0.4, -0.9)
        axes.set_xlim(0, 1.16 if wide else 1.02)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)

    said = "; ".join(f"{row.name} {row.recall}" for row in rows)
    words = f"Share of each class's {part} pictures that are found, with 95 % intervals: {said}."
    height = 0.28 * len(rows) + 0.6
    plot = Plot("classes", "How much of each class is found", words, paint)
    return Shaped(plot, height, 0.42 * len(rows) + 0.6)


def _confusion(best: ClassResult, found: ClassComparison) -> Shaped:
    names, counts = list(found.classes), best.confusion
    k = len(names)

    def paint(axes: Axes, wide: bool) -> None:
        size = 9 if k <= 14 else 7.5
        for i, row in enumerate(counts):
            total = max(1, sum(row))
            for j, n in enumerate(row):
                colour = LINE if not n else GOOD if i == j else BAD
                alpha = 0.15 + 0.75 * n / total if n else 0.3
                place = (j - 0.46, i - 0.46)
                axes.add_patch(
                    Rectangle(place, 0.92, 0.92, linewidth=0, facecolor=colour, alpha=alpha)
                )
                if n:
                    # On a dark field the number is white, on a pale one ink.
                    strong = n / total > 0.55
                    axes.text(j, i, str(n), ha="center", va="center", fontsize=size,
                              color="white" if strong else INK)  # fmt: skip
        labels = [short(name, 16 if wide else 10) for name in names]
        axes.set_xticks(range(k), labels, rotation=90 if k > 5 or not wide else 0)
        axes.set_yticks(range(k), labels)
        axes.tick_params(labelcolor=INK, labelsize=size if wide else 7)
        axes.set_xlim(-0.5, k - 0.5)
        axes.set_ylim(k - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.set_xlabel("said")
        axes.set_ylabel("in truth")
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)

    return Shaped(
        Plot("confusion", "What is taken for what", _mistaken(best, found), paint),
        min(7.0, 0.36 * k + 1.6),
        min(4.6, 0.2 * k + 2.0),
    )


def _mistakes(best: ClassResult, found: ClassComparison) -> Shaped:
    rows = confused(best, found.classes)[:MOST_CLASSES]

    def paint(axes: Axes, wide: bool) -> None:
        axes.barh(range(len(rows)), [n for _, _, n, _ in rows], color=BAD, height=0.5, alpha=0.85)
        for place, (true, said, n, of) in enumerate(rows):
            words = f"{short(true)} taken for {short(said)}: {n} of {of}"
            axes.text(0, place - 0.45, words, va="center", color=INK, fontsize=9 if wide else 8)
        axes.set_yticks([])
        axes.set_ylim(len(rows) - 0.4, -1)
        axes.spines["left"].set_visible(False)

    height = 0.42 * len(rows) + 0.6
    plot = Plot("confusion", "The most frequent mistakes", _mistaken(best, found), paint)
    return Shaped(plot, height, height)


def _mistaken(best: ClassResult, found: ClassComparison) -> str:
    mistakes = confused(best, found.classes)[:12]
    said = "; ".join(f"{true} for {other} {n} of {of}" for true, other, n, of in mistakes)
    return f"Confusion of the {found.judged_on} pictures: {said}."


def _coverage(found: ClassComparison) -> Shaped:
    one, part = found.abstention, found.judged_on

    def paint(axes: Axes, wide: bool) -> None:
        axes.step(one.coverage, one.accuracies, where="post", color=GOOD, label=f"{part} pictures")
        axes.axhline(one.accuracy, color=QUIET, linewidth=0.9, linestyle=":",
                     label=f"{one.accuracy:.1%} to be promised")  # fmt: skip
        if one.threshold is not None and one.test_right.of:
            axes.plot(one.test_answered.value, one.test_right.value, "o", color=BAD, markersize=7,
                      label=f"promised threshold, {one.threshold:.3f}")  # fmt: skip
        low = min([*one.accuracies, one.accuracy])
        axes.set_ylim(max(0.0, low - 0.04), 1.01)
        axes.set_xlim(0, 1.02)
        answered = f"share of {part} pictures that are answered"
        axes.set_xlabel(f"{answered}, the most certain first" if wide else answered)
        axes.set_ylabel("right")
        axes.grid(axis="y")
        legend(axes, wide)

    last = one.accuracies[-1]
    words = f"Accuracy against the share of {part} pictures answered; of all {last:.1%} are right"
    return Shaped(Plot("abstention", "What silence buys", f"{words}.", paint), 2.8, 3.8)


def _grids(found: ClassComparison) -> list[Shaped]:
    own = [
        row
        for row in found.results
        if sum("C" in p.parameters and p.cross_entropy is not None for p in row.curve) > 1
    ]
    if not own:
        return []

    def paint(axes: Axes, wide: bool) -> None:
        for row, colour in zip(own, COLOURS, strict=False):
            points = [p for p in row.curve if p.cross_entropy is not None]
            x = [float(p.parameters["C"]) for p in points]
            y = [float(p.cross_entropy or 0) for p in points]
            axes.plot(x, y, "o-", color=colour, markersize=3.5, label=row.title)
            axes.axvline(float(row.parameters["C"]), color=colour, linewidth=0.8, linestyle=":")
        logarithmic(axes, "C")
        axes.set_ylabel("cross-entropy")
        legend(axes, wide)

    chosen = "; ".join(f"{row.title}: C = {row.parameters['C']:g}" for row in own)
    words = f"Cross-entropy on the pictures that choose, against C; chosen {chosen}."
    return [Shaped(Plot("grid", "The choice of C", words, paint), 2.8, 3.9)]


def _steps(found: ClassComparison) -> list[Shaped]:
    plots = []
    for row in found.results:
        if len(row.steps) < 2:
            continue

        def paint(axes: Axes, wide: bool, row: ClassResult = row) -> None:
            x = [step["step"] for step in row.steps]
            for part, colour in (("train", QUIET), ("validation", GOOD)):
                loss = [step[f"{part}_cross_entropy"] for step in row.steps]
                right = [step[f"{part}_accuracy"] for step in row.steps]
                axes.plot(x, loss, "--", color=colour, label=f"cross-entropy, {part}")
                axes.plot(x, right, color=colour, label=f"accuracy, {part}")
            axes.set_xlabel("step")
            axes.grid(axis="y")
            legend(axes, wide)

        last = row.steps[-1]
        words = (
            f"Accuracy and cross-entropy of {row.title} by step; at the end "
            f"{last['validation_accuracy']:.1%} of the validation pictures are right."
        )
        name = f"steps-{row.layer}-{row.set}"
        plots.append(Shaped(Plot(name, f"Learning of {row.title}", words, paint), 2.8, 4.0))
    return plots


def short(name: str, most: int = 24) -> str:
    """A class's name, cut where it is longer than a figure has room for."""
    return name if len(name) <= most else f"{name[: most - 1]}…"
