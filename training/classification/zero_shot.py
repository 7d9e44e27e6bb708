"""``classify zero-shot``: what an ImageNet network says of a study's classes, untrained."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backbones.inference import embed
from backbones.planning import make_plan
from filters.classes import ClassNames
from likewise.errors import DataError
from likewise.pictures import picture_bytes
from likewise.progress import progress
from likewise.study import Study
from training.categories.maps import Finding, load_map
from training.categories.zero_shot import ZeroShot, evaluate

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["zero_shot"]


def zero_shot(
    study: Study | str | os.PathLike[str],
    categories: str | Path,
    *,
    backbone: str = "auto",
) -> tuple[ZeroShot, tuple[Finding, ...], dict[str, int]]:
    """Paper 2's table on the study's own pictures.

    Args:
        study: a study whose labels are classes; their names are those of the map's categories.
        categories: a shipped map or a YAML file; see ``training.categories.maps``.
        backbone: the network; its ImageNet head is used as it is.

    Returns:
        The table, the map's warnings, and how many pictures were left out by reason.

    Raises:
        UsageError, ConfigError: there is no such map, or lint found an error in it.
        MissingTableError: there are no labels or pictures yet.
        DataError: no picture is of a category of the map.
    """
    opened = Study.open(study)
    found, findings = load_map(categories)
    labels = opened.read("labels", ["picture_id", "class"]).to_pylist()
    names = ClassNames(found.names, found.names)
    wanted = {
        row["picture_id"]: number for row in labels for number in names.of([row["class"] or ""])
    }
    left_out = {"class is not in the map": len(labels) - len(wanted)}
    if not wanted:
        raise DataError(
            f"no picture is of a category of {found.name}: {', '.join(found.names)}",
            hint="name the classes as the map does, or write a map: docs/classify.md",
        )
    logits, ids = _logits(opened, wanted, backbone)
    left_out["cannot be decoded or is gone"] = len(wanted) - len(ids)
    category = np.array([wanted[picture] for picture in ids], np.int64)
    return evaluate(logits, category, found), findings, left_out


def _logits(
    study: Study, wanted: dict[str, int], backbone: str
) -> tuple[NDArray[np.float32], list[str]]:
    plan = make_plan(backbone, ["logits"], flip=False, threads=len(os.sched_getaffinity(0)))
    rows: list[NDArray[np.float32]] = []
    ids: list[str] = []
    with progress(f"zero-shot {plan.backbone}", len(wanted)) as bar:
        for batch in embed(picture_bytes(study, set(wanted)), plan):
            rows.append(batch.features["logits"])
            ids += [i for i, e in zip(batch.ids, batch.errors, strict=True) if e is None]
            bar.advance(len(batch.ids))
    return np.concatenate(rows) if rows else np.empty((0, 1000), np.float32), ids
