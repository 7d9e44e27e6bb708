"""``likewise report``."""

from __future__ import annotations

from pathlib import Path

import click

from likewise.commands._common import emit, json_option, redo_option, study_argument


@click.command("report", epilog="Example: likewise report my-study")
@study_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="HTML file to write; default is reports/report.html of the study.",
)
@click.option("--blur-faces", is_flag=True, help="Blur the faces that were found.")
@click.option("--no-handles", is_flag=True, help="Number the authors; leave their names away.")
@click.option("--top", type=click.IntRange(min=1), help="Show this many pictures of each end.")
@redo_option
@json_option
def command(
    study: str,
    output: Path | None,
    blur_faces: bool,
    no_handles: bool,
    top: int | None,
    redo: bool,
    as_json: bool,
) -> None:
    """Write one HTML file that shows everything the study holds so far.

    It opens without a server or a network. Every figure also lies beside it as PNG and SVG.
    --blur-faces, --no-handles and --top make a page to pass on, reports/shared.html.
    """
    import likewise
    from likewise.study import Study
    from training.report.sharing import Sharing

    opened = Study.open(study)
    path = likewise.report(
        opened, output=output, redo=redo, sharing=Sharing(blur_faces, no_handles, top)
    )
    emit({"report": str(path)}, as_json=as_json, text=str(path))
