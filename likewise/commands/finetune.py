"""``likewise finetune``."""

from __future__ import annotations

import click

from likewise.commands._common import (
    json_option,
    manifest_result,
    master_option,
    redo_option,
    study_argument,
)


@click.command("finetune", epilog="Example: likewise finetune my-study --workers 2")
@study_argument
@click.option(
    "--workers", type=click.IntRange(min=1), help="Processes; default is [finetune] workers."
)
@redo_option
@master_option
@json_option
def command(study: str, workers: int | None, redo: bool, master: str | None, as_json: bool) -> None:
    """Go on training the network itself: pictures, labels -> a model that scores pictures."""
    import likewise
    from likewise.study import Study

    opened = Study.open(study)
    manifest = likewise.finetune(opened, workers=workers, redo=redo, master=master)
    manifest_result(manifest, as_json=as_json)
