"""``likewise doctor``."""

from __future__ import annotations

import click

import likewise
from likewise.commands._common import emit, json_option


@click.command("doctor", epilog="Example: likewise doctor my-study --spark")
@click.argument("study", type=click.Path(), metavar="[STUDY]", required=False)
@click.option("--spark", "start_spark", is_flag=True, help="Also start Spark and run a job.")
@json_option
@click.pass_context
def command(ctx: click.Context, study: str | None, start_spark: bool, as_json: bool) -> None:
    """Check this machine (and a study) and say how to mend what is missing.

    Exit code 2 when something is broken; a warning does not count.
    """
    checks = likewise.doctor(study, start_spark=start_spark)
    lines = []
    for check in checks:
        mark = {"ok": "ok      ", "warning": "warning ", "broken": "BROKEN  "}[check.state]
        lines.append(f"{mark} {check.name:<14} {check.detail}")
        if check.mend:
            lines.append(f"{'':<23} mend: {check.mend}")
    emit([check.to_dict() for check in checks], as_json=as_json, text="\n".join(lines))
    if any(check.state == "broken" for check in checks):
        ctx.exit(2)
