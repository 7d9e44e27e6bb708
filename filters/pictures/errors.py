"""Why a picture cannot be used."""

from __future__ import annotations

from likewise.errors import DataError

__all__ = ["PictureError"]


class PictureError(DataError):
    """A picture cannot be used; ``error_class`` is the named reason that funnels count."""

    def __init__(self, error_class: str, detail: str = "") -> None:
        super().__init__(f"{error_class}: {detail}" if detail else error_class)
        self.error_class = error_class
