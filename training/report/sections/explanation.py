"""What the model goes by: properties that differ between the ends, and nearest neighbours."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc
from matplotlib.axes import Axes

from training.drawing.figures import BAD, GOOD, INK, LINE, QUIET, Figure
from training.explain import Difference, Explanation
from training.galleries import neighbours
from training.report.context import Context, Section

__all__ = ["section"]

ASKED = 3
SHOWN = 6


def section(context: Context) -> Section:
    """Dots with simultaneous intervals, a table with adjusted p-values, and neighbours."""
    found = context.explanation
    data: dict[str, Any] = {
        "explanation": found,
        "why": context.why_unexplained,
        "neighbours": [],
    }
    if found is not None:
        data |= {"figure": _figure(context, found)}
        data["likes"] = {d.name: d for d in found.in_likes}
    if context.manifest("scores") is not None:
        data["neighbours"] = _neighbours(context)
    return Section(
        "explanation",
        "What liked pictures are like, and what the model goes by",
        "explanation.html",
        data,
    )


def _figure(context: Context, found: Explanation) -> Figure | None:
    rows = found.ranking
    if not rows:
        return None

    def paint(axes: Axes, wide: bool) -> None:
        for place, d in enumerate(rows):
            colour = (GOOD if d.effect > 0 else BAD) if d.supported else QUIET
            axes.plot([d.low, d.high], [place, place], color=colour, lw=2.2)
            axes.plot(d.effect, place, "o", color=colour, ms=6)
        axes.axvline(0, color=INK, lw=0.8)
        axes.set_yticks(range(len(rows)), [d.name for d in rows], fontsize=10 if wide else 9)
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel("best minus worst, standard deviations")
        axes.spines["left"].set_visible(False)
        axes.grid(axis="y", color=LINE, lw=0.6)
        axes.set_axisbelow(True)

    words = f"Differences between the best and the worst pictures with intervals: {_spoken(rows)}."
    return context.figure(
        "explanation",
        "Difference between the best and the worst pictures, 95 % simultaneous intervals",
        words,
        paint,
        height=0.3 * len(rows) + 0.7,
    )


def _spoken(rows: list[Difference]) -> str:
    return "; ".join(f"{d.name} {d.effect:+.2f} ({d.low:+.2f} to {d.high:+.2f})" for d in rows)


def _neighbours(context: Context) -> list[dict[str, Any]]:
    """The best and the worst pictures beside those that the network takes to be alike."""
    chosen, about = context.galleries, context.said("scores")
    if chosen is None or context.manifest("features") is None:
        return []
    asked = [("best", one) for one in chosen.top[:ASKED]]
    asked += [("worst", one) for one in chosen.bottom[:ASKED]]
    found = neighbours.nearest(
        context.study,
        [one.picture_id for _, one in asked],
        layer=None if about.get("layer") == "pixels" else about.get("layer"),
        backbone=None if about.get("layer") == "pixels" else about.get("backbone"),
        k=SHOWN,
    )
    labels = _labels(context, [n.picture_id for near in found.values() for n in near])
    return [
        {
            "end": end,
            "thumb": context.thumbs.square(one.picture_id),
            "near": [context.thumbs.square(n.picture_id, 120) for n in found[one.picture_id]],
            "good": sum(labels.get(n.picture_id, 0) for n in found[one.picture_id]),
            "of": len(found[one.picture_id]),
        }
        for end, one in asked
        if found.get(one.picture_id)
    ]


def _labels(context: Context, picture_ids: list[str]) -> dict[str, int]:
    wanted = pc.field("picture_id").isin(picture_ids)
    rows = context.study.read("labels", ["picture_id", "label"], filter=wanted)
    return dict(zip(rows["picture_id"].to_pylist(), rows["label"].to_pylist(), strict=True))
