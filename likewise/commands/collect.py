"""``likewise collect``."""

from __future__ import annotations

import click

from likewise.commands._common import emit, json_option, manifest_result, study_argument
from likewise.errors import UsageError


@click.command("collect", epilog="Example: likewise collect my-study")
@study_argument
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Extend the crawl: everything from this day until now that is not covered yet.",
)
@click.option(
    "--join",
    is_flag=True,
    help="Read hosts for a crawl of this study that runs elsewhere; needs [collect] leases.",
)
@json_option
def command(study: str, since: object, join: bool, as_json: bool) -> None:
    """Gather posts and authors from the platforms, or go on where it stopped."""
    import datetime as dt

    import likewise
    from likewise.study import Study

    opened = Study.open(study)
    if join:
        from collectors.collect import join as join_crawl

        if since is not None:
            raise UsageError(
                "--since is for the collector that others join", hint="leave --since away"
            )
        found = join_crawl(opened)
        text = f"{found['hosts']} hosts read, {found['lost']} leases lost to other collectors"
        emit(found, as_json=as_json, text=text)
        return
    day = since.date() if isinstance(since, dt.datetime) else None
    manifest = likewise.collect(opened, since=day)
    manifest_result(manifest, as_json=as_json)
