"""``likewise compare``."""

from __future__ import annotations

import click

from likewise.commands._common import (
    emit,
    json_option,
    master_option,
    redo_option,
    study_argument,
)


@click.command("compare", epilog="Example: likewise compare my-study")
@study_argument
@redo_option
@master_option
@json_option
def command(study: str, redo: bool, master: str | None, as_json: bool) -> None:
    """Compare classifiers on the same author-disjoint folds, with intervals and baselines."""
    import likewise
    from likewise.study import Study
    from training.compare import comparison_text

    opened = Study.open(study)
    with opened.lock():
        manifest = likewise.compare(opened, redo=redo, master=master)
    emit(manifest.to_dict(), as_json=as_json, text=comparison_text(opened))
