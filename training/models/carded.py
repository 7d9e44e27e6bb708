"""What every saved model has: a card that names the layer that it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from likewise.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Carded", "Saved"]


class Saved(Protocol):
    """A model of any kind, as it is saved."""

    @property
    def name(self) -> str:
        """Folder name below ``models/``."""

    @property
    def card(self) -> Mapping[str, Any]:
        """Content of ``card.json``."""

    @property
    def layer(self) -> str:
        """Column of ``features`` that the model reads."""

    @property
    def backbone(self) -> str:
        """Network that made those features."""

    def write(self, folder: Path) -> str:
        """Write the parameters into ``folder``; returns the file's name."""


@dataclass(frozen=True)
class Carded:
    """A model by its card: ``name``, ``backbone``, ``layer``, ``dim`` and what is known of it."""

    card: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Folder name below ``models/``."""
        return str(self.card["name"])

    @property
    def layer(self) -> str:
        """Column of ``features`` that the model reads."""
        return str(self.card["layer"])

    @property
    def backbone(self) -> str:
        """Network that made those features."""
        return str(self.card["backbone"])

    def checked(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """The (n, dim) features. Raises DataError on another width."""
        expected = int(self.card["dim"])
        if features.ndim != 2 or features.shape[1] != expected:
            raise DataError(
                f"model {self.name} reads {self.layer} of {self.backbone}: (n, {expected}) "
                f"features, got {features.shape}"
            )
        return features
