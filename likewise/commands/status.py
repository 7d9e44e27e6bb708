"""``likewise status``."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from typing import TYPE_CHECKING

import click

from likewise.commands._common import emit, json_option, study_argument

if TYPE_CHECKING:
    from rich.table import Table

    from likewise.overview import StageStatus, Status


@click.command("status", epilog="Example: likewise status my-study --json")
@study_argument
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@json_option
def command(study: str, watch: bool, as_json: bool) -> None:
    """Show where a study stands: the funnel of every stage, with all reasons."""
    import likewise

    if watch:
        with contextlib.suppress(KeyboardInterrupt):  # it is how one ends a watch
            _watch(study, as_json=as_json)
        return
    answer = likewise.status(study)
    if as_json:
        emit(answer.to_dict(), as_json=True, text="")
        return
    show(answer)
    missing = f"not yet (likewise report {study})"
    click.echo(f"report: {answer.report or missing}")
    for line in answer.moved:
        click.echo(line)


EVERY_S = 2.0


def _watch(study: str, *, as_json: bool) -> None:
    """The same again and again: a screen that changes, or one JSON object a line."""

    from rich.console import Console, Group
    from rich.live import Live

    import likewise

    if as_json:
        while True:
            emit(likewise.status(study).to_dict(), as_json=True, text="")
            time.sleep(EVERY_S)
    console = Console()
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while True:
            shown = Group(_now(study), _table(likewise.status(study)))
            live.update(shown, refresh=True)
            time.sleep(EVERY_S)


def _now(study: str) -> str:
    from likewise.overview import at_work

    found = at_work(study)
    if found is None:
        return "nobody works on it"
    stage = "" if found.stage is None else f": {found.stage}"
    since = found.since and (dt.datetime.now(dt.UTC) - found.since).total_seconds()
    return f"process {found.pid} is at work{stage}" + (f", for {since:.0f} s" if since else "")


def show(answer: Status) -> None:
    """Print the table of stages on standard output."""
    from rich.console import Console

    console = Console()
    with console.capture() as text:  # rich would end the process when the reader of a pipe leaves
        console.print(_table(answer))
    click.echo(text.get(), nl=False)


def _table(answer: Status) -> Table:
    from rich.table import Table

    table = Table(title=answer.study, title_style="bold", caption="rows in - dropped = rows out")
    for name, justify in (
        ("stage", "left"),
        ("rows", "right"),
        ("what", "left"),
        ("state", "left"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for stage in answer.stages:
        _add_rows(table, stage)
    return table


_STYLES = {"done": "green", "stale": "yellow", "unfinished": "yellow", "missing": "dim"}


def _add_rows(table: Table, stage: StageStatus) -> None:
    state = stage.state + (f": {'; '.join(stage.why)}" if stage.why else "")
    style = _STYLES[stage.state]
    funnel = stage.funnel
    if not funnel:
        rows = "" if stage.rows is None else f"{stage.rows:,}"
        what = (
            stage.table if stage.buckets is None else f"{stage.table}: {stage.buckets} buckets made"
        )
        table.add_row(stage.stage, rows, what, f"[{style}]{state}[/]", end_section=True)
        return
    table.add_row(
        stage.stage, f"{funnel['rows_in']:,}", f"{funnel['unit']} in", f"[{style}]{state}[/]"
    )
    for reason, count in funnel["dropped"].items():
        table.add_row("", f"-{count:,}", f"[dim]{reason}[/]", "")
    table.add_row(
        "",
        f"{funnel['rows_out']:,}",
        f"out, table {stage.table}",
        "\n".join(stage.notes),
        end_section=True,
    )
