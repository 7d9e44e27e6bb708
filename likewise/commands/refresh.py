"""``likewise refresh``."""

from __future__ import annotations

import click

from likewise.commands._common import json_option, manifest_result, study_argument


@click.command("refresh", epilog="Example: likewise refresh my-study")
@study_argument
@click.option(
    "--confirm-deletions",
    is_flag=True,
    help="Erase even if more posts are gone than [collect] expects of one run.",
)
@json_option
def command(study: str, confirm_deletions: bool, as_json: bool) -> None:
    """Read counts again and drop what was deleted upstream, everywhere in the study."""
    from collectors.refresh import refresh
    from likewise.study import Study

    opened = Study.open(study)
    manifest = refresh(opened, confirm_deletions=confirm_deletions)
    manifest_result(manifest, as_json=as_json)
