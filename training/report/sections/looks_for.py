"""What a model looks for in each class: pictures that nobody took, drawn by gradient ascent."""

from __future__ import annotations

from typing import Any

import numpy as np

import backbones
from likewise.errors import UsageError
from likewise.progress import progress
from training.models.classes import LinearClasses
from training.models.saved import class_names, load_classes
from training.report.context import Context, Section

__all__ = ["section"]

MOST_CLASSES = 24
"""Each takes some seconds of the processor."""
BESIDE = 3


def section(context: Context) -> Section:
    """The picture that speaks most for each class, beside its surest real ones."""
    from training.explanation.maximisation import STEPS, class_scores, maximise

    scorer, galleries = context.class_scorer, context.class_galleries
    data: dict[str, Any] = {"why": None, "classes": [], "left": 0}
    if scorer is None or galleries is None:
        return Section("looks", "What it looks for", "looks_for.html", data)
    surest = {one.name: one.best[:BESIDE] for one in galleries.classes}
    names = scorer.classes[:MOST_CLASSES]
    data["left"] = len(scorer.classes) - len(names)
    try:
        scores = class_scores(context.study, scorer)
    except UsageError as error:  # a forest or a tree
        data |= {"why": str(error), "hint": error.hint, "other": _linear(context)}
        return Section("looks", "What it looks for", "looks_for.html", data)
    seed = context.study.config.study.seed
    backbone = backbones.get(scorer.backbone)
    # Networks that end in a mean over places take smaller pictures, at a quarter of the cost.
    side = backbone.input_size // (1 if "fc6" in backbone.dims else 2)
    with progress("what each class looks like to the model", STEPS * len(names)) as bar:
        for number, name in enumerate(names):
            found = maximise(
                lambda rgb, k=number: scores(rgb)[:, k],  # type: ignore[misc]
                side,
                seed=seed,
                on_step=lambda: bar.advance(1),
            )
            key = f"looks:{number}"
            context.thumbs.give(key, (255 * found).round().astype(np.uint8))
            real = [context.thumbs.square(one.picture_id) for one in surest.get(name, [])]
            data["classes"].append({"name": name, "drawn": key, "real": real})
    return Section("looks", "What it looks for", "looks_for.html", data)


def _linear(context: Context) -> str | None:
    """The best model of the study that could be drawn; None where there is none."""
    for name in class_names(context.study):
        if isinstance(load_classes(context.study, name), LinearClasses):
            return name
    return None
