"""``likewise forget``."""

from __future__ import annotations

import click

from likewise.commands._common import emit, json_option, study_argument


@click.command("forget", epilog="Example: likewise forget my-study --author someone@example.social")
@study_argument
@click.option("--author", required=True, help="Handle or id of the person.")
@click.option("--host", help="Server, where several people go by that name.")
@json_option
def command(study: str, author: str, host: str | None, as_json: bool) -> None:
    """Delete one person's rows and pictures everywhere, and never collect them again."""
    from collectors.forget import forget
    from likewise.study import Study

    opened = Study.open(study)
    erased = forget(opened, author, host=host)
    lines = [f"{name}: {count} rows deleted" for name, count in sorted(erased.items())]
    lines.append("what other people wrote about the person stays in their posts")
    lines.append(
        "models learnt from these rows are not changed: likewise compare --redo learns anew"
    )
    emit(erased, as_json=as_json, text="\n".join(lines))
