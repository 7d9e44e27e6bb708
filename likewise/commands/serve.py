"""``likewise serve``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from likewise.commands._common import emit, json_option
from likewise.study import root_of
from web.security import passwords as people
from web.settings import Settings


@click.command("serve", epilog="Example: likewise serve my-study")
@click.argument("studies", nargs=-1, required=True, type=click.Path(), metavar="STUDY...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8417, show_default=True, type=click.IntRange(0, 65535),
              help="0 takes any free port.")  # fmt: skip
@click.option("--name", "names", multiple=True, metavar="HOST",
              help="Host name that browsers use for this server; may be repeated.")  # fmt: skip
@click.option("--read-only", is_flag=True, help="Take no reviews and delete nothing.")
@click.option("--passwords", type=click.Path(dir_okay=False, path_type=Path),
              help="File of hashed passwords; whoever is not in it is not let in.")  # fmt: skip
@click.option("--add-user", metavar="NAME", help="Add a person to --passwords, and end.")
@click.option("--reviews", metavar="URL", help="Database of the reviews, e.g. "
              "postgresql://USER@HOST/NAME; default is SQLite beside the study.")  # fmt: skip
@click.option("--workers", default=min(4, os.cpu_count() or 1), show_default=True,
              type=click.IntRange(1, 64), help="Processes that decode pictures.")  # fmt: skip
@json_option
def command(studies: tuple[str, ...], add_user: str | None, as_json: bool, **said: Any) -> None:
    """Browse studies in a browser: ranking, pictures, scores, reviews; and as REST.

    Only this machine is served unless --host says otherwise; then --passwords or the environment's
    LIKEWISE_SERVE_TOKEN guards it. What is shown is one state of the tables; a night that ends
    meanwhile is announced. Stop with Ctrl-C.
    """
    from web.serve import serve

    passwords: Path | None = said["passwords"]
    if add_user is not None:
        if passwords is None:
            raise click.UsageError("--add-user needs --passwords FILE")
        secret = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        people.add(passwords, add_user, secret)
        emit({"passwords": str(passwords), "user": add_user}, as_json=as_json,
             text=f"{add_user} may log in now ({passwords})")  # fmt: skip
        return
    if passwords is not None:
        people.names(passwords)  # a damaged file is told now, not at the first login
    said["names"] = tuple(name.lower() for name in said["names"])
    token = os.environ.get("LIKEWISE_SERVE_TOKEN") or None
    settings = Settings(tuple(root_of(one) for one in studies), token=token, **said)

    def say(url: str) -> None:
        emit({"url": url}, as_json=as_json, text=f"{url}  (stop with Ctrl-C)")

    serve(settings, ready=say)
