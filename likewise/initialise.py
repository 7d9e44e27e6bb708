"""``likewise init``: a new study folder with a commented ``likewise.toml``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from likewise.config import parse, render
from likewise.errors import StudyError
from likewise.study import Study, root_of

__all__ = ["init"]


def init(
    path: str | os.PathLike[str], *, values: Mapping[str, Mapping[str, Any]] | None = None
) -> Study:
    """Make a study folder; ``values`` are settings by section, e.g. ``{"study": {"seed": 2}}``.

    Raises:
        StudyError: the path is a file or an address, or holds a study already.
        ConfigError: a value is not valid.
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
    settings = {name: dict(section) for name, section in (values or {}).items()}
    settings["study"] = {"name": root.name, **settings.get("study", {})}
    text = render(settings)
    parse(text, str(config_file))
    root.mkdir(parents=True, exist_ok=True)
    config_file.write_text(text, encoding="utf-8")
    return Study.open(root)
