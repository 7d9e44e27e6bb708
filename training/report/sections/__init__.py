"""The parts of the report, one subject a file, in the order of the page."""

from __future__ import annotations

from collections.abc import Callable

from training.report.context import Context, Section
from training.report.sections import (
    audience,
    changes,
    class_pictures,
    classes,
    comparison,
    duplicates,
    explanation,
    faces,
    fairness,
    finetuning,
    funnel,
    galleries,
    labels,
    lineage,
    privacy,
)

__all__ = ["CLASS_SECTIONS", "SECTIONS"]

SECTIONS: tuple[Callable[[Context], Section], ...] = (
    galleries.section,
    explanation.section,
    comparison.section,
    finetuning.section,
    funnel.section,
    changes.section,
    audience.section,
    labels.section,
    faces.section,
    duplicates.section,
    fairness.section,
    privacy.section,
    lineage.section,
)

CLASS_SECTIONS: tuple[Callable[[Context], Section], ...] = (
    classes.table,
    classes.confusion,
    class_pictures.difficult,
    class_pictures.section,
    classes.abstention,
    finetuning.section,
    classes.parts,
    funnel.section,
    changes.section,
    duplicates.section,
    privacy.section,
    lineage.section,
)
"""Those of a study that asks which class a picture is of."""
