"""What a table in the making asks of its study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from likewise.config import Config
    from likewise.store import Manifest, Store

__all__ = ["Home"]


class Home(Protocol):
    """A study, as far as ``Stage`` and ``Growth`` need it; see ``likewise.study``."""

    root: Path
    config: Config
    store: Store

    def folder(self, *names: str) -> Path:
        """A folder below the study, made when missing."""

    def manifest(self, table: str) -> Manifest | None:
        """What made the table; None when there is none."""

    def require(self, table: str) -> Manifest:
        """What made the table; MissingTableError when there is none."""
