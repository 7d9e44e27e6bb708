"""The report: one HTML file that needs neither server nor network, and every figure beside it.

It shows what the study holds so far and says what is missing; nothing in it is recomputed that a
stage has already published.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from likewise.errors import StudyError
from likewise.progress import progress
from likewise.study import MADE_BY, Study, fingerprint, write_json
from likewise.working import changes_study
from training.changes import NIGHT
from training.data.question import asks_classes
from training.report import summary
from training.report.context import Context
from training.report.pages import render, write
from training.report.sections import CLASS_SECTIONS, SECTIONS
from training.report.sharing import Sharing

__all__ = ["report"]

CODE = 2
RECEIPT = "report.json"


@changes_study("report")
def report(
    study: Study | str | os.PathLike[str],
    *,
    output: str | os.PathLike[str] | None = None,
    redo: bool = False,
    sharing: Sharing | None = None,
) -> Path:
    """Write the report and return its path.

    Figures go into ``figures/`` beside it, as PNG and SVG. A report that was made from the same
    tables stands as it is unless ``redo`` is true. With ``sharing`` the page is made to be passed
    on (``reports/shared.html`` unless ``output`` is given) and is always made anew.

    Raises:
        StudyError: the study or the place of the report cannot be used.
    """
    opened = Study.open(study)
    shared = sharing is not None and sharing.anything
    usual = opened.folder("reports") / ("shared.html" if shared else "report.html")
    path = Path(output) if output is not None else usual
    if path.is_dir():
        raise StudyError(f"{path} is a folder, expected a file to write the report to")
    receipt = opened.root / "reports" / RECEIPT
    made_from = _made_from(opened, path)
    if not shared and not redo and path.is_file() and _same(receipt, made_from):
        return path
    figures = path.parent / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    context = Context(opened, figures, sharing)
    write(path, _page(context, made_from["fingerprint"]))
    if not shared:
        write_json(
            receipt.with_name(NIGHT), {} if context.moved is None else context.moved.to_dict()
        )
        write_json(receipt, made_from)
    return path


def _page(context: Context, print_now: str) -> str:
    sections = []
    makers = CLASS_SECTIONS if asks_classes(context.study) else SECTIONS
    with progress("report", total=len(makers) + 2) as bar:
        head = summary.head(context)
        bar.advance()
        for make in makers:
            sections.append(make(context))
            bar.advance()
        missing = context.thumbs.load(context.study)
        return render(
            head,
            sections,
            context.thumbs,
            missing=missing,
            fingerprint=print_now,
            unit=context.unit,
        )


def _made_from(study: Study, path: Path) -> dict[str, Any]:
    """What the page depends on: the tables, the other reports, the configuration and the code."""
    tables = {name: m.fingerprint for name in MADE_BY if (m := study.manifest(name)) is not None}
    folder = study.root / "reports"
    files = sorted(
        p for p in folder.glob("*.json") if p.name not in {RECEIPT, NIGHT, "explanation.json"}
    )
    content = {
        "code": CODE,
        "tables": tables,
        "files": {p.name: fingerprint({"text": p.read_text(encoding="utf-8")}) for p in files},
        "config": study.config.model_dump(mode="json"),
        "path": str(path.absolute()),
    }
    return {"fingerprint": fingerprint(content), **content}


def _same(receipt: Path, made_from: dict[str, Any]) -> bool:
    try:
        before = json.loads(receipt.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    return bool(before.get("fingerprint") == made_from["fingerprint"])
