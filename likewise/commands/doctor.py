"""``likewise doctor``."""

from __future__ import annotations

import click

import likewise
from likewise.commands._common import emit, json_option


@click.command("doctor", epilog="Example: likewise doctor my-study --spark")
@click.argument("study", type=click.Path(), metavar="[STUDY]", required=False)
@click.option("--spark", "start_spark", is_flag=True, help="Also start Spark and run a job.")
@click.option("--clean", "clean_up", is_flag=True, help="Remove what killed runs left.")
@json_option
@click.pass_context
def command(
    ctx: click.Context, study: str | None, start_spark: bool, clean_up: bool, as_json: bool
) -> None:
    """Check this machine (and a study) and say how to mend what is missing.

    Exit code 2 when something is broken; a warning does not count.
    """
    if clean_up:
        _clean(study, as_json=as_json)
        return
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


def _clean(study: str | None, *, as_json: bool) -> None:
    from likewise.orphans import clean

    if study is None:
        raise click.UsageError("--clean needs the study: likewise doctor STUDY --clean")
    gone = clean(study)
    lines = [f"{count:>6} {kind} removed" for kind, count in gone.items()]
    emit(gone, as_json=as_json, text="\n".join(lines))
