"""``likewise label``."""

from __future__ import annotations

import click

from likewise.commands._common import (
    json_option,
    manifest_result,
    master_option,
    redo_option,
    study_argument,
)


@click.command("label", epilog="Example: likewise label my-study")
@study_argument
@redo_option
@master_option
@json_option
def command(study: str, redo: bool, master: str | None, as_json: bool) -> None:
    """Label pictures good or bad: kept_posts, pictures, faces -> labels."""
    import likewise
    from likewise.study import Study

    opened = Study.open(study)
    with opened.lock():
        manifest = likewise.label(opened, redo=redo, master=master)
    manifest_result(manifest, as_json=as_json)
