"""The galleries alone as a page of their own: what ``rank`` leaves beside the contact sheets."""

from __future__ import annotations

from pathlib import Path

from likewise.study import Study
from training.report import summary
from training.report.answer import Answer
from training.report.context import Context
from training.report.pages import render, write
from training.report.sections import galleries

__all__ = ["gallery_page"]


def gallery_page(study: Study) -> Path:
    """Write ``reports/galleries/index.html``: both ends with links to the posts, no heat maps."""
    folder = study.folder("reports", "galleries")
    context = Context(study, folder)
    section = galleries.section(context, heat_maps=False)
    missing = context.thumbs.load(study)
    scores = study.require("scores")
    words = f"{scores.rows:,} pictures ranked by {scores.extra['model']}."
    head = summary.start_of(context, Answer(words))
    page = render(head, [section], context.thumbs, missing=missing, fingerprint=scores.fingerprint)
    write(folder / "index.html", page)
    return folder / "index.html"
