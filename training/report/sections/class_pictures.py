"""Pictures of a study about classes: of each class, the difficult ones, what is confused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from training.galleries.class_gallery import ClassPick, Confused, OfClass
from training.report import heat
from training.report.context import Context, Section

__all__ = ["difficult", "of_class", "section"]

MOST = 24
"""Difficult pictures that are shown."""


def section(context: Context) -> Section:
    """The surest and the hardest pictures of every class."""
    chosen = context.class_galleries
    data: dict[str, Any] = {"galleries": chosen, "classes": []}
    if chosen is not None:
        data["classes"] = [
            {
                "name": one.name,
                "seen": one.seen,
                "best": heat.cards(context, one.best),
                "worst": heat.cards(context, one.worst),
            }
            for one in chosen.classes
        ]
        data["unseen"] = heat.cards(context, chosen.unseen)
    return Section("galleries", "Pictures of each class", "class_pictures.html", data)


def difficult(context: Context) -> Section:
    """Wrong and nearly wrong test pictures, with what speaks for their own class in each."""
    chosen = context.class_galleries
    data: dict[str, Any] = {"galleries": chosen, "cards": [], "confused": [], "why_no_heat": None}
    if chosen is not None:
        # Of a class of few pictures all may stand among the surest, the unsure ones, too.
        hard = sorted(
            (
                one
                for group in chosen.classes
                for one in (*group.worst, *group.best)
                if one.probability is not None
            ),
            key=lambda one: one.probability or 0.0,
        )[:MOST]
        pairs = [one for group in chosen.confused for one in group.picks]
        shown = {one.picture_id for one in pairs}
        # What is surely right is difficult for nobody.
        hard = [
            one
            for one in hard
            if one.picture_id not in shown and not (one.right and (one.probability or 0.0) >= 0.9)
        ]
        data["why_no_heat"] = _paint(context, [*hard, *pairs])
        data["cards"] = heat.cards(context, hard)
        data["confused"] = [_pair(context, one) for one in chosen.confused]
    return Section("difficult", "Difficult pictures", "difficult.html", data)


def of_class(context: Context, one: OfClass, taken: Sequence[Confused]) -> Section:
    """One class alone: its surest and hardest pictures, and what it is taken for, with heat."""
    pairs = [pick for group in taken for pick in group.picks]
    why = _paint(context, [*one.best, *one.worst, *pairs], towards=one.name)
    data = {
        "name": one.name,
        "seen": one.seen,
        "best": heat.cards(context, one.best),
        "worst": heat.cards(context, one.worst),
        "confused": [_pair(context, group) for group in taken],
        "why_no_heat": why,
    }
    return Section("galleries", f"What speaks for {one.name}", "of_class.html", data)


def _pair(context: Context, one: Confused) -> dict[str, Any]:
    return {"pair": one, "cards": heat.cards(context, one.picks)}


def _paint(context: Context, picks: Sequence[ClassPick], *, towards: str = "") -> str | None:
    """Heat of each picture's own class, or of one class in all of them."""
    scorer = context.class_scorer
    if scorer is None:
        return "the model of the ranking is no longer among the saved models"
    number = {name: at for at, name in enumerate(scorer.classes)}
    wanted = {one.picture_id: towards or one.true for one in picks}
    asked = {key: number[name] for key, name in wanted.items() if name in number}
    return heat.paint(context, scorer, asked)
