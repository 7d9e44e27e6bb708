"""``likewise tokens``."""

from __future__ import annotations

import datetime as dt

import click

from collectors.budgets.door import waiting_line
from likewise.commands._common import emit, json_option, study_argument


@click.command("tokens", epilog="Example: likewise tokens my-study")
@study_argument
@json_option
def command(study: str, as_json: bool) -> None:
    """Show what is left of every token's budget: remaining, resets at, calls, failures."""
    from collectors.overview import budgets

    rows = budgets(study)
    lines = [
        f"{'token':<12} {'bucket':<44} {'left':>11} {'resets at':<25} {'calls':>7} {'failed':>6}"
    ]
    lines += [
        f"{row['token']:<12} {row.get('bucket', row['retired'] or '-'):<44} "
        f"{row.get('remaining', 0):>5}/{row.get('limit', 0):<5} {row.get('resets_at', '-'):<25} "
        f"{row['calls']:>7} {row['failures']:>6}"
        for row in rows
    ]
    waits = [(row["host"], row["waiting_until"]) for row in rows if row.get("waiting_until")]
    lines += [
        waiting_line(host, dt.datetime.fromisoformat(until).timestamp())
        for host, until in dict.fromkeys(waits)
    ]
    emit(rows, as_json=as_json, text="\n".join(lines))
