"""One class on a page of its own: which pictures are it, and what the model goes by."""

from __future__ import annotations

import os
from pathlib import Path

from filters.classes import folder_name
from likewise.errors import DataError, UsageError
from likewise.study import Study
from likewise.working import changes_study
from training.galleries import class_gallery
from training.report import summary
from training.report.answer import Answer
from training.report.context import Context
from training.report.pages import render, write
from training.report.sections import class_pictures

__all__ = ["explain_class"]


@changes_study("explain")
def explain_class(study: Study | str | os.PathLike[str], name: str) -> Path:
    """Write ``reports/class-NAME.html``: surest, hardest and mistaken pictures, with heat maps.

    Raises:
        MissingTableError: nothing has been ranked.
        DataError: the study asks what is liked.
        UsageError: there is no such class.
    """
    opened = Study.open(study)
    scores = opened.require("scores")
    if scores.extra.get("question", "likes") == "likes":
        raise DataError(
            f"{opened.root} has ranked what is liked: there are no classes to explain",
            hint=f"run: likewise explain {opened.root}",
        )
    found = class_gallery.load(opened)
    one = next((one for one in found.classes if one.name == name), None)
    if one is None:
        raise UsageError(
            f"there is no class {name!r} among the ranked pictures",
            hint=f"one of: {', '.join(one.name for one in found.classes)}",
        )
    folder = opened.folder("reports")
    context = Context(opened, folder / "figures")
    taken = [pair for pair in found.confused if name in (pair.true, pair.said)]
    section = class_pictures.of_class(context, one, taken)
    missing = context.thumbs.load(opened)
    where = "test pictures" if found.split == "test" else "pictures"
    head = summary.start_of(context, Answer(f"{one.seen:,} {where}, by {found.model}."))
    page = render(head, [section], context.thumbs, missing=missing, fingerprint=scores.fingerprint)
    path = folder / f"class-{folder_name(name)}.html"
    write(path, page)
    return path
