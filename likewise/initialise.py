"""``likewise init``: a new study folder with a commented ``likewise.toml``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from collectors import platforms
from collectors.crawling.manners import check_permission
from likewise import recipes
from likewise.config import Source, parse, render
from likewise.errors import ConfigError, StudyError
from likewise.study import Study, root_of

__all__ = ["init"]


def init(
    path: str | os.PathLike[str],
    *,
    values: Mapping[str, Mapping[str, Any]] | None = None,
    recipe: str | None = None,
) -> Study:
    """Make a study folder.

    Args:
        path: of the new folder.
        values: settings by section, e.g. ``{"study": {"seed": 2}}``.
        recipe: name of a published study whose settings are taken where ``values`` has none.

    Raises:
        UsageError: there is no such recipe.
        StudyError: the path is a file or an address, or holds a study already.
        ConfigError: a value is not valid, or a source names no platform, server, tag or account
            that can be.
    """
    root = root_of(path)
    config_file = root / "likewise.toml"
    if root.exists() and not root.is_dir():
        raise StudyError(f"{root} is a file, expected a folder or nothing")
    if config_file.exists():
        raise StudyError(
            f"{config_file} exists already",
            hint="edit it, or choose another folder for a new study",
        )
    known = recipes.get(recipe) if recipe else None
    settings = {name: dict(section) for name, section in (known.settings if known else {}).items()}
    for name, section in (values or {}).items():
        settings[name] = settings.get(name, {}) | dict(section)
    settings["study"] = {"name": root.name, **settings.get("study", {})}
    about = "".join(f"# {line}\n" for line in known.about) + "\n" if known else ""
    text = about + render(settings)
    for source in parse(text, str(config_file)).collect.sources:
        _check(source)
    root.mkdir(parents=True, exist_ok=True)
    config_file.write_text(text, encoding="utf-8")
    return Study.open(root)


def _check(source: Source) -> None:
    """What collecting would refuse is refused before a folder is made."""
    platform = platforms.get(source.platform)(source)
    address = urlsplit(platform.base)
    odd = address.username or address.path or address.query
    if not platform.offline and (odd or not re.fullmatch(r"[\w.:-]+", address.hostname or "")):
        raise ConfigError(
            f"collect.sources: host {source.host!r}, expected a server's name alone",
            hint=f'for example --host "{address.scheme}://{platform.host}"',
        )
    if source.permission.strip():
        check_permission(platform)
    for kind, names in (("tag", source.tags), ("account", source.accounts)):
        for name in names:
            if not re.fullmatch(r"#?[^\s#/?&]+", name.strip()):
                raise ConfigError(
                    f"collect.sources: {kind} {name!r}, expected one word",
                    hint=f"give --{kind} once for each: --{kind} one --{kind} two",
                )
