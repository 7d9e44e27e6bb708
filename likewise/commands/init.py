"""``likewise init``."""

from __future__ import annotations

import tomllib
from typing import Any

import click

import likewise
from collectors import platforms
from likewise.commands._common import emit, json_option
from likewise.config import Config, Section
from likewise.errors import UsageError


@click.command(
    "init",
    epilog="Example: likewise init my-study --platform mastodon --host https://pixelfed.example "
    "--tag me --permission 'admin, mail of 2 May'",
)
@click.argument("study", type=click.Path(), metavar="STUDY")
@click.option("--platform", default="mastodon", show_default=True, help="Platform of the source.")
@click.option("--host", help="Server to collect from; without it the source is left to you.")
@click.option("--tag", "tags", multiple=True, help="Hashtag to follow; may be given several times.")
@click.option("--account", "accounts", multiple=True, help="Account to read; may be repeated.")
@click.option("--permission", default="", help="Who allowed the collection, and when.")
@click.option(
    "--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE",
    help='A setting of likewise.toml, e.g. label.target=\'"likes"\'; may be repeated.',
)  # fmt: skip
@click.option("--recipe", help="Settings of a published study: paper1.")
@json_option
def command(
    study: str,
    platform: str,
    host: str | None,
    tags: tuple[str, ...],
    accounts: tuple[str, ...],
    permission: str,
    as_json: bool,
    **said: Any,
) -> None:
    """Make a study folder with a commented likewise.toml.

    Without --host the source is left to you: the file shows an example.
    """
    usual = platforms.get(platform).usual_host
    host = host or (usual if tags or accounts else None)
    given = [name for name, value in (("--tag", tags), ("--account", accounts)) if value]
    if not host and (given or permission):
        raise UsageError(
            f"{', '.join(given) or '--permission'} without --host: of which server?",
            hint="add --host https://your.server",
        )
    values = _values(said["settings"])
    if host:
        source: dict[str, Any] = {"platform": platform, "host": host, "permission": permission}
        lists = {"tags": list(tags), "accounts": list(accounts)}
        values.setdefault("collect", {})["sources"] = [
            source | {k: v for k, v in lists.items() if v}
        ]
    made = likewise.init(study, values=values, recipe=said["recipe"])
    emit(
        {"study": str(made.root), "config": str(made.root / "likewise.toml")},
        as_json=as_json,
        text=f"made {made.root / 'likewise.toml'}: look through it, then: likewise run {study}",
    )


def _values(settings: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Settings by section; a value that is no TOML is taken as text. Raises UsageError."""
    values: dict[str, dict[str, Any]] = {}
    for one in settings:
        name, equals, text = one.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and key):
            raise UsageError(f"--set {one!r}, expected SECTION.KEY=VALUE")
        known = Config.model_fields.get(section)
        model = None if known is None else known.annotation
        if not (isinstance(model, type) and issubclass(model, Section)):
            raise UsageError(f"--set {one!r}: there is no section {section!r}")
        if key not in model.model_fields:
            raise UsageError(f"--set {one!r}: [{section}] has {', '.join(model.model_fields)}")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        values.setdefault(section, {})[key] = value
    return values
