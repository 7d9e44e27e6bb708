"""The study's answer in words and as a figure."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from training.comparison.sentences import score
from training.drawing.figures import GOOD, INK, QUIET, Figure
from training.report.context import Context

__all__ = ["figure", "sentences"]


def sentences(context: Context) -> list[str]:
    """What the comparison says, or what there is before one."""
    found = context.comparison
    return _without_comparison(context) if found is None else list(found.answer)


def _without_comparison(context: Context) -> list[str]:
    if context.manifest("labels") is not None:
        return ["The pictures are labelled; whether they can be told apart is not known yet."]
    if context.manifest("posts") is not None:
        return ["Posts have been collected; no picture has been labelled yet."]
    return ["This study is empty so far."]


def figure(context: Context) -> Figure | None:
    """Average precision of the best classifier beside the baselines."""
    comparison = context.comparison
    if comparison is None:
        return None
    row = comparison.best_result
    found = [(f"picture: {row.classifier}", row.average_precision, True)]
    if comparison.worth is not None:
        found += [
            ("picture and what is known", comparison.worth.both, True),
            ("what is known", comparison.worth.known, False),
        ]
    found += [
        (b.name.replace("-", " "), b.metrics["average_precision"], False)
        for b in comparison.baselines
        if b.name != "chance"
    ]
    chance = comparison.chance.average_precision

    def paint(axes: Axes, wide: bool) -> None:
        axes.axvline(chance, color=QUIET, lw=1, ls=(0, (4, 3)))
        for place, (_, one, own) in enumerate(found):
            colour = GOOD if own else QUIET
            ends = np.array([one.low, one.value, one.high], dtype=np.float64)  # None becomes NaN
            axes.plot(ends[[0, 2]], [place, place], color=colour, lw=2.4)
            axes.plot(ends[1], place, "o", color=colour, ms=7 if own else 5)
        axes.set_yticks(range(len(found)), [name for name, _, _ in found])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.set_xlabel(f"average precision{' on authors never seen' if wide else ''}")
        axes.spines["left"].set_visible(False)

    words = "Average precision with 95 % intervals: " + "; ".join(
        f"{name} {score(one)}" for name, one, _ in found
    )
    return context.figure(
        "answer",
        "The best classifier beside simpler ways to decide, 95 % intervals by author",
        f"{words}; chance {chance:.2f}.",
        paint,
        height=0.34 * len(found) + 0.6,
        width=5.4,
    )
