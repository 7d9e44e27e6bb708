"""``likewise diff``."""

from __future__ import annotations

import click

from likewise.commands._common import emit, json_option, study_argument
from likewise.errors import UsageError


def _moment(text: str) -> int | str:
    return int(text) if text.isdigit() and len(text) < 8 else text


@click.command("diff", epilog="Example: likewise diff my-study --at 3 --at now")
@study_argument
@click.argument("other", type=click.Path(), required=False, metavar="[STUDY_B]")
@click.option(
    "--at", "moments", multiple=True, metavar="NIGHT",
    help="Two nights or moments of one study: a number, a time, or now.",
)  # fmt: skip
@json_option
def command(study: str, other: str | None, moments: tuple[str, ...], as_json: bool) -> None:
    """Say what differs between two studies, or between two nights of one.

    Funnel, bounds, medians, the models on the same held-out pictures with a paired interval, and
    what became more or less liked. The report of the second shows it, too.
    """
    from training.diff import diff

    if moments and len(moments) != 2:
        raise UsageError("give --at twice: the earlier and the later night")
    at = (_moment(moments[0]), _moment(moments[1])) if moments else None
    found = diff(study, other, at=at)
    emit(found.to_dict(), as_json=as_json, text=found.text())
