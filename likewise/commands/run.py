"""``likewise run``."""

from __future__ import annotations

import click

from likewise.commands._common import emit, json_option, master_option, study_argument


@click.command("run", epilog="Example: likewise run my-study --until extract")
@study_argument
@click.option("--until", default="report", show_default=True, metavar="STAGE", help="Last stage.")
@master_option
@json_option
def command(study: str, until: str, master: str | None, as_json: bool) -> None:
    """Do all stages in order, skipping what is done; a killed run goes on where it stopped."""
    import likewise
    from likewise.study import Study

    opened = Study.open(study)
    with opened.lock():
        report = likewise.run(opened, until=until, master=master)
    status = likewise.status(opened)
    text = f"report: {report}" if report else f"done until {until}: likewise status {study}"
    emit(status.to_dict(), as_json=as_json, text=text)
