"""One model of classes on a page of its own, made of the report's sections.

``classify train`` shows the pictures that chose, ``classify evaluate`` those of the test part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from filters.classes import folder_name
from training.report import summary
from training.report.context import Context, Section
from training.report.pages import render, write
from training.report.sections import class_pictures, classes

if TYPE_CHECKING:
    from likewise.study import Study
    from training.comparison.class_results import ClassComparison
    from training.galleries.class_gallery import ClassGalleries
    from training.models.classes import ClassScorer

__all__ = ["model_page"]

SECTIONS: tuple[Callable[[Context], Section], ...] = (
    classes.table,
    classes.confusion,
    class_pictures.difficult,
    class_pictures.section,
    classes.abstention,
    classes.parts,
)


def model_page(
    study: Study,
    name: str,
    found: ClassComparison,
    galleries: ClassGalleries,
    scorer: ClassScorer,
    more: Sequence[Callable[[Context], Section]] = (),
) -> Path:
    """Write ``reports/classify-NAME.html``, or ``classify-NAME-train.html`` of what chose.

    Args:
        study: where the model and its pictures are.
        name: of the model.
        found: figures of the pictures that are shown.
        galleries: those pictures.
        scorer: the model; heat maps say what speaks for a class in it.
        more: further sections, after those of the report.
    """
    stem = f"classify-{folder_name(name)}" + ("" if found.judged_on == "test" else "-train")
    figures = study.folder("reports", "figures")
    context = Context(study, figures, prefix=f"{stem}-")
    # The sections draw from what the context holds; here that is one model and not the ranking's.
    context.classes, context.class_galleries = found, galleries
    context.class_scorer = scorer
    head = summary.head(context)
    sections = [make(context) for make in (*SECTIONS, *more)]
    missing = context.thumbs.load(study)
    path = study.folder("reports") / f"{stem}.html"
    write(
        path,
        render(head, sections, context.thumbs, missing=missing, fingerprint=found.fingerprint),
    )
    return path
