"""``likewise collect``."""

from __future__ import annotations

import click

from likewise.commands._common import json_option, manifest_result, study_argument


@click.command("collect", epilog="Example: likewise collect my-study")
@study_argument
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Extend the crawl: everything from this day until now that is not covered yet.",
)
@json_option
def command(study: str, since: object, as_json: bool) -> None:
    """Gather posts and authors from the platforms, or go on where it stopped."""
    import datetime as dt

    import likewise
    from likewise.study import Study

    opened = Study.open(study)
    day = since.date() if isinstance(since, dt.datetime) else None
    manifest = likewise.collect(opened, since=day)
    manifest_result(manifest, as_json=as_json)
