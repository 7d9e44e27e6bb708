"""Saved models of k classes: features in, k scores out, one temperature for their probabilities.

Parameters are ``classes.safetensors`` (linear: a softmax layer or one against the rest), the same
with the shape of a tree, or ``classes.skops`` for a forest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from training.models.carded import Carded, Saved

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.ensemble import RandomForestClassifier

__all__ = [
    "CLASS_READERS",
    "NEVER",
    "TRUSTED",
    "ClassScorer",
    "ForestClasses",
    "LinearClasses",
    "TreeClasses",
    "log_votes",
    "tree_scores",
]

# The only class outside NumPy's and scikit-learn's plain estimators that a forest is made of.
TRUSTED = ["sklearn.tree._tree.Tree"]

NEVER = -1e3
"""Score of a class that training had no picture of."""

_TENSORS = "classes.safetensors"
_FOREST = "classes.skops"


class ClassScorer(Saved, Protocol):
    """A saved model of k classes."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the k columns."""

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, d) features to (n, k) scores; the largest is the class."""

    def probabilities(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, k) scores, views averaged, to (n, k) probabilities."""


@dataclass(frozen=True)
class _Classes(Carded):
    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.card["classes"])

    def probabilities(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """``softmax(scores / temperature)``."""
        from scipy.special import softmax  # scoring models of likes does without SciPy

        share: NDArray[np.float64] = softmax(scores / float(self.card["temperature"]), axis=1)
        return share


@dataclass(frozen=True)
class LinearClasses(_Classes):
    """``features @ weight + bias``: (d, k) and (k,), any scaling of the features folded in."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, d) features to (n, k) scores. Raises DataError on another width."""
        return (self.checked(features) @ self.weight + self.bias).astype(np.float64)

    def write(self, folder: Path) -> str:
        """Write weight and bias."""
        return _write(folder, {"weight": self.weight, "bias": self.bias})

    @classmethod
    def read(cls, folder: Path, card: Mapping[str, Any]) -> LinearClasses:
        """The model of a folder."""
        tensors = _read(folder)
        return cls(card, tensors["weight"], tensors["bias"])


@dataclass(frozen=True)
class TreeClasses(_Classes):
    """A tree of m binary classifiers: (d, m) weights, (m,) biases, (m, k) ``path``.

    ``path`` is +1 or -1 where the way to a class turns that way at a node, 0 where it does not
    pass; a class's probability is the product along its way.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    path: NDArray[np.int8]

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, d) features to (n, k) logarithms of probabilities."""
        return tree_scores(self.checked(features) @ self.weight + self.bias, self.path)

    def write(self, folder: Path) -> str:
        """Write the nodes and the ways."""
        return _write(folder, {"weight": self.weight, "bias": self.bias, "path": self.path})

    @classmethod
    def read(cls, folder: Path, card: Mapping[str, Any]) -> TreeClasses:
        """The model of a folder."""
        tensors = _read(folder)
        return cls(card, tensors["weight"], tensors["bias"], tensors["path"])


def tree_scores(margin: NDArray[Any], path: NDArray[np.int8]) -> NDArray[np.float64]:
    """(n, m) margins of the nodes to (n, k) log-probabilities of the leaves.

    A class that no node leads to can never be said.
    """
    from scipy.special import log_expit

    right, left = log_expit(margin.astype(np.float64)), log_expit(-margin.astype(np.float64))
    answer: NDArray[np.float64] = right @ (path > 0) + left @ (path < 0)
    answer[:, ~path.any(axis=0)] = NEVER
    return answer


@dataclass(frozen=True)
class ForestClasses(_Classes):
    """Logarithms of the shares of trees that vote for each class."""

    forest: RandomForestClassifier

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, d) features to (n, k) scores. Raises DataError on another width."""
        votes = self.forest.predict_proba(self.checked(features))
        return log_votes(votes, len(self.forest.estimators_))

    def write(self, folder: Path) -> str:
        """Write the trees."""
        import skops.io

        skops.io.dump(self.forest, folder / _FOREST)
        return _FOREST

    @classmethod
    def read(cls, folder: Path, card: Mapping[str, Any]) -> ForestClasses:
        """The model of a folder."""
        import skops.io

        return cls(card, skops.io.load(folder / _FOREST, trusted=TRUSTED))


def log_votes(votes: NDArray[np.float64], trees: int) -> NDArray[np.float64]:
    """Logarithms of vote shares; no vote counts as half a one, so that there is a number."""
    share: NDArray[np.float64] = np.log(np.maximum(votes, 0.5 / trees))
    return share


def _write(folder: Path, tensors: Mapping[str, NDArray[Any]]) -> str:
    from safetensors.numpy import save_file

    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, folder / _TENSORS)
    return _TENSORS


def _read(folder: Path) -> dict[str, NDArray[Any]]:
    from safetensors.numpy import load_file

    found: dict[str, NDArray[Any]] = load_file(folder / _TENSORS)
    return found


CLASS_READERS: dict[str, Callable[[Path, Mapping[str, Any]], ClassScorer]] = {
    "linear-classes": LinearClasses.read,
    "tree-classes": TreeClasses.read,
    "forest-classes": ForestClasses.read,
}
"""Kind of a card -> what reads the model."""
