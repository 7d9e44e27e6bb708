"""Paths of pictures as tables write them: relative, absolute, with ``..`` or backslashes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from collectors.imports.places import SCHEME, address, parse
from collectors.imports.trees import Folder
from likewise.errors import DataError

__all__ = ["Pictures"]

_DRIVE = re.compile(r"^[A-Za-z]:[\\/]")


class Pictures:
    """The folder that a table's paths are relative to, and that none of them may leave."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real = root.resolve()
        self._tree = Folder(root)

    def placed(self, text: str) -> tuple[str | None, str | None]:
        """Address of a picture, or why it has none."""
        if re.match(r"https?://", text, re.IGNORECASE):
            return (text, None) if urlsplit(text).hostname else (None, "address without host")
        if text.lower().startswith("file://"):
            text = unquote(urlsplit(text).path)
        elif re.match(r"[a-z][a-z0-9+.-]+:", text, re.IGNORECASE) and not _DRIVE.match(text):
            return None, "address of a kind that is not read"
        return self._inside(text)

    def _inside(self, text: str) -> tuple[str | None, str | None]:
        path = self._real / text
        if not path.exists() and "\\" in text:
            path = self._real / text.replace("\\", "/")
        try:
            real = path.resolve()
        except (OSError, RuntimeError):
            return None, "link that leads in a circle"
        if not real.is_relative_to(self._real):
            return None, f"outside of {self.root} (another folder: --pictures FOLDER)"
        return address(PurePosixPath(*real.relative_to(self._real).parts)), None

    def check(self, addresses: Sequence[str]) -> None:
        """Raise DataError when none of these pictures is there: the folder is the wrong one."""
        local = [a for a in addresses if not a.startswith(("http:", "https:"))]
        paths = [parse(a)[0] if a.startswith(SCHEME) else a for a in local]
        if paths and not any(self._tree.entry(path) for path in paths):
            raise DataError(
                f"none of the first {len(paths)} pictures is there, e.g. {self.root / paths[0]}",
                hint="say where they lie: --pictures FOLDER",
            )
