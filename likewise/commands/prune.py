"""``likewise prune``."""

from __future__ import annotations

import click

from likewise.commands._common import emit, json_option, study_argument


@click.command("prune", epilog="Example: likewise prune my-study --keep 14")
@study_argument
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    default=14,
    show_default=True,
    help="Nights that stay readable.",
)
@json_option
def command(study: str, keep: int, as_json: bool) -> None:
    """Delete earlier versions of the tables, but for the last nights and the present state."""
    from likewise.nights import prune
    from likewise.study import Study

    opened = Study.open(study)
    gone = prune(opened, keep)
    lines = [f"{name}: {files} files deleted" for name, files in sorted(gone.items())]
    emit(gone, as_json=as_json, text="\n".join(lines) or "nothing to delete")
