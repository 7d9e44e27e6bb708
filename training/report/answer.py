"""The study's answer: what makes pictures liked here, what a picture adds, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes

from training.comparison.sentences import score
from training.drawing.figures import GOOD, INK, QUIET, Figure
from training.explain import Difference
from training.report.context import Context

__all__ = ["Answer", "Effect", "answer", "figure"]

SHOWN = 6


@dataclass(frozen=True, slots=True)
class Effect:
    """A property in which liked and less liked pictures differ, in words and standard deviations.

    ``size``, ``low`` and ``high`` are positive; the direction stands in the words. ``in_ranking``
    is the same difference between both ends of the ranking, None where that is open or not told.
    """

    words: str
    size: float
    low: float
    high: float
    in_ranking: float | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The first screen in its order.

    ``makes`` says what the effects are differences of, or why there are none; ``ranked`` whether
    the ranking says anything; ``adds`` what a picture adds to what is known without it; ``sure``
    what the answer rests on.
    """

    makes: str
    effects: Sequence[Effect] = ()
    ranked: bool = False
    adds: Sequence[str] = ()
    sure: Sequence[str] = ()


def answer(context: Context) -> Answer:
    """The answer as far as the study goes."""
    made, found = _makes(context), context.comparison
    if found is None:
        return made
    # The first of the comparison's sentences is that of the gain, where there is one; the others
    # say what was measured on whom.
    said = list(found.answer)
    first = 1 if found.worth is not None else 0
    return replace(made, adds=said[:first], sure=said[first:])


def _makes(context: Context) -> Answer:
    explanation = context.explanation
    if explanation is None:
        return Answer(context.why_unexplained or _so_far(context))
    named = [d for d in explanation.in_likes if d.words]
    if not named:
        return Answer(explanation.liked())
    ranking = {d.name: d for d in explanation.ranking}
    return Answer(
        f"Beside those liked less, the pictures that are liked more are ({explanation.pictures:,} "
        f"pictures of {explanation.likers:,} {explanation.unit.many}; intervals are simultaneous; "
        "a difference is not a cause):",
        [_effect(d, ranking.get(d.name)) for d in named[:SHOWN]],
        explanation.above_chance,
    )


def _effect(d: Difference, ranked: Difference | None) -> Effect:
    low, high = sorted((abs(d.low), abs(d.high)))
    agrees = ranked is not None and ranked.supported and ranked.effect * d.effect > 0
    in_ranking = abs(ranked.effect) if ranked is not None and agrees else None
    return Effect(d.words, abs(d.effect), low, high, in_ranking)


def _so_far(context: Context) -> str:
    if context.manifest("labels") is not None:
        return "The pictures are labelled; whether they can be told apart is not known yet."
    if context.manifest("posts") is not None:
        return "Posts have been collected; no picture has been labelled yet."
    return "This study is empty so far."


def figure(context: Context) -> Figure | None:
    """Average precision of what is known, the picture and both, and of simpler ways to decide."""
    comparison = context.comparison
    if comparison is None:
        return None
    row, worth, many = comparison.best_result, comparison.worth, comparison.unit.many
    found = [("the picture alone", row.average_precision, True)]
    if worth is not None:
        found = [
            ("known without it", worth.known, False),
            ("the picture alone", worth.picture, True),
            ("both together", worth.both, True),
        ]
    found += [
        (b.name.replace("-", " "), b.metrics["average_precision"], False)
        for b in comparison.baselines
        if b.name != "chance"
    ]
    chance = comparison.chance.average_precision

    def paint(axes: Axes, wide: bool) -> None:
        axes.axvline(chance, color=QUIET, lw=1, ls=(0, (4, 3)))
        axes.text(chance, -0.75, "chance", color=QUIET, fontsize=9, ha="center", va="bottom")
        for place, (_, one, own) in enumerate(found):
            colour = GOOD if own else QUIET
            ends = np.array([one.low, one.value, one.high], dtype=np.float64)  # None becomes NaN
            axes.plot(ends[[0, 2]], [place, place], color=colour, lw=2.4)
            axes.plot(ends[1], place, "o", color=colour, ms=7 if own else 5)
        axes.set_yticks(range(len(found)), [name for name, _, _ in found])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(found) - 0.4, -0.7)
        axes.set_xlabel(f"average precision{f' on {many} never seen' if wide else ''}")
        axes.spines["left"].set_visible(False)

    words = "Average precision with 95 % intervals: " + "; ".join(
        f"{name} {score(one)}" for name, one, _ in found
    )
    return context.figure(
        "answer",
        "What is known, the picture, and simpler ways to decide, 95 % intervals by "
        f"{comparison.unit.one}",
        f"{words}; chance {chance:.2f}.",
        paint,
        height=0.34 * len(found) + 0.7,
        width=5.4,
    )
