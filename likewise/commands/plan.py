"""``likewise plan``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from likewise.commands._common import emit, json_option, study_argument
from likewise.planning import plan

if TYPE_CHECKING:
    from likewise.planning import Step


@click.command("plan", epilog="Example: likewise plan my-study")
@study_argument
@json_option
def command(study: str, as_json: bool) -> None:
    """Say what a run would do with each stage, why, and what it will about cost."""
    show(plan(study), as_json=as_json)


def show(steps: list[Step], *, as_json: bool) -> None:
    """Print the steps of a plan."""
    emit([step.to_dict() for step in steps], as_json=as_json, text="\n".join(map(_line, steps)))


def _line(step: Step) -> str:
    missing = "?" if step.missing is None else f"{step.missing:,}"
    cost = ""
    if step.missing and step.seconds is not None and step.bytes is not None:
        cost = f", about {step.seconds:,.0f} s and {step.bytes / 1e6:,.1f} MB"
    why = f": {'; '.join(step.why)}" if step.why else ""
    return f"{step.stage:<9} {step.there:>10,} there, {missing:>8} to do{cost}{why}"
