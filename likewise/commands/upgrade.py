"""``likewise upgrade``."""

from __future__ import annotations

import click

from likewise.commands._common import emit, json_option, study_argument


@click.command("upgrade", epilog="Example: likewise upgrade my-study")
@study_argument
@json_option
def command(study: str, as_json: bool) -> None:
    """Convert a study of an older likewise; nothing is computed again."""
    from likewise.study import Study
    from likewise.upgrading import upgrade

    opened = Study.open(study)
    done = upgrade(opened)
    text = f"converted: {', '.join(done)}" if done else "nothing to convert"
    emit({"converted": done}, as_json=as_json, text=text)
