"""``likewise reviews``."""

from __future__ import annotations

from dataclasses import asdict

import click

import likewise
from likewise.commands._common import emit, json_option, study_argument


@click.command("reviews", epilog="Example: likewise reviews my-study && likewise run my-study")
@study_argument
@click.option("--database", metavar="URL", help="Where they lie, e.g. postgresql://USER@HOST/NAME; "
              "default is what serve has noted beside the study.")  # fmt: skip
@json_option
def command(study: str, database: str | None, as_json: bool) -> None:
    """Publish what people said in the browser as the table reviews, for the next model.

    It is the button of the page Review, for schedules. Conflicts wait until somebody settles them;
    nothing is published again where nothing has changed.
    """
    done = likewise.reviews(study, database=database)
    emit(asdict(done), as_json=as_json, text=done.sentence)
