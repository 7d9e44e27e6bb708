"""``likewise rank``."""

from __future__ import annotations

import click

from likewise.commands._common import (
    json_option,
    manifest_result,
    master_option,
    redo_option,
    study_argument,
)


@click.command("rank", epilog="Example: likewise rank my-study --n 25")
@study_argument
@click.option("--model", metavar="NAME", help="Saved model; default is [rank] model.")
@click.option("-n", "--n", type=click.IntRange(min=1), help="Pictures in each gallery.")
@redo_option
@master_option
@json_option
def command(
    study: str, model: str | None, n: int | None, redo: bool, master: str | None, as_json: bool
) -> None:
    """Score every picture and lay out the best and the worst: features, labels -> scores.

    The galleries are reports/galleries/index.html, top.png and bottom.png. Another model's scores
    replace the present ones with --redo.
    """
    import likewise
    from likewise.study import Study

    opened = Study.open(study)
    manifest = likewise.rank(opened, model=model, n=n, redo=redo, master=master)
    manifest_result(manifest, as_json=as_json)
