"""``likewise run``."""

from __future__ import annotations

import click

from likewise.commands._common import emit, json_option, master_option, study_argument
from likewise.commands.plan import show


@click.command("run", epilog="Example: likewise run my-study --until extract")
@study_argument
@click.option("--until", default="report", show_default=True, metavar="STAGE", help="Last stage.")
@click.option("--plan", "only_plan", is_flag=True, help="Say what would be done, and stop.")
@master_option
@json_option
def command(study: str, until: str, only_plan: bool, master: str | None, as_json: bool) -> None:
    """Do all stages in order, skipping what is done; a killed run goes on where it stopped.

    The same command is a night: it collects from the last covered moment to now, reads the counts
    of posts that have come of age again, and computes what is missing.
    """
    import likewise
    from likewise.study import Study

    opened = Study.open(study)
    if only_plan:
        show(likewise.plan(opened), as_json=as_json)
        return
    report = likewise.run(opened, until=until, master=master)
    status = likewise.status(opened)
    text = f"report: {report}" if report else f"done until {until}: likewise status {study}"
    emit(status.to_dict(), as_json=as_json, text=text)
