"""``likewise explain``."""

from __future__ import annotations

from dataclasses import asdict

import click

from likewise.commands._common import emit, json_option, redo_option, study_argument


@click.command("explain", epilog="Example: likewise explain my-study")
@study_argument
@click.option("--class", "name", metavar="NAME", help="What speaks for a class.")
@redo_option
@json_option
def command(study: str, name: str | None, redo: bool, as_json: bool) -> None:
    """Show which plain properties differ between the best and the worst of the ranking.

    Intervals are simultaneous and drawn over authors; words stand only where they support them.
    With --class it writes a page of that class's pictures, and what speaks for it in each.
    """
    if name is not None:
        from training.report.class_page import explain_class

        path = explain_class(study, name)
        emit({"page": str(path)}, as_json=as_json, text=str(path))
        return
    from likewise.study import Study
    from training.explain import explain, table

    opened = Study.open(study)
    found = explain(opened, redo=redo)
    emit(asdict(found), as_json=as_json, text=table(found))
