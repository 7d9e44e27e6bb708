"""Fitted classifiers on disk: saved without pickle, loaded back with a check, named by their card.

A model is a folder ``STUDY/models/NAME/`` that holds ``card.json`` (what made it and how good it
is), ``card.md`` (the same for people) and its parameters: ``linear.safetensors`` for linear models
or ``forest.skops`` for random forests. The folder appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from likewise.errors import DataError, MissingTableError
from likewise.study import Study, write_json
from likewise.whole import sha256_of, whole_folder
from training.models import cards
from training.statistics.sigmoid import probability

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.ensemble import RandomForestClassifier

__all__ = ["ForestScorer", "LinearScorer", "Scorer", "best", "load", "names", "remove", "save"]

CARD = "card.json"

# The only class outside NumPy's and scikit-learn's plain estimators that a forest is made of.
TRUSTED = ["sklearn.tree._tree.Tree"]


class Model(Protocol):
    """A model of any kind, as it is saved and as its scores are told."""

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

    def probability(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) scores to (n,) calibrated probabilities of the label 1; NaN where there are none."""

    def _write(self, folder: Path) -> str:
        """Write the parameters into ``folder``; returns the file's name."""


class Scorer(Model, Protocol):
    """A saved classifier: features in, scores and calibrated probabilities out."""

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, d) features to (n,) scores; larger means better liked."""


@dataclass(frozen=True)
class _Carded:
    card: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.card["name"])

    @property
    def layer(self) -> str:
        return str(self.card["layer"])

    @property
    def backbone(self) -> str:
        return str(self.card["backbone"])

    def probability(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Platt's sigmoid with the slope and intercept fitted on cross-validation scores."""
        return probability(self.card["calibration"], scores)

    def _checked(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        expected = int(self.card["dim"])
        if features.ndim != 2 or features.shape[1] != expected:
            raise DataError(
                f"model {self.name} reads {self.layer} of {self.backbone}: (n, {expected}) "
                f"features, got {features.shape}"
            )
        return features


@dataclass(frozen=True)
class LinearScorer(_Carded):
    """``features @ weight + bias``; any scaling of the features is folded into both."""

    weight: NDArray[np.float32]
    bias: float

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, d) features to (n,) signed distances. Raises DataError on another width."""
        margin: NDArray[np.float32] = self._checked(features) @ self.weight
        return margin.astype(np.float64) + self.bias

    def _write(self, folder: Path) -> str:
        from safetensors.numpy import save_file

        weight = np.ascontiguousarray(self.weight, dtype=np.float32)
        save_file({"weight": weight, "bias": np.array([self.bias])}, folder / _LINEAR)
        return _LINEAR

    @classmethod
    def _read(cls, folder: Path, card: Mapping[str, Any]) -> LinearScorer:
        from safetensors.numpy import load_file

        tensors = load_file(folder / _LINEAR)
        return cls(card, tensors["weight"], float(tensors["bias"][0]))


@dataclass(frozen=True)
class ForestScorer(_Carded):
    """Share of trees that vote for the label 1, as scikit-learn averages them."""

    forest: RandomForestClassifier

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, d) features to (n,) scores in 0 ... 1. Raises DataError on another width."""
        votes: NDArray[np.float64] = self.forest.predict_proba(self._checked(features))[:, 1]
        return votes

    def _write(self, folder: Path) -> str:
        import skops.io

        skops.io.dump(self.forest, folder / _FOREST)
        return _FOREST

    @classmethod
    def _read(cls, folder: Path, card: Mapping[str, Any]) -> ForestScorer:
        import skops.io

        return cls(card, skops.io.load(folder / _FOREST, trusted=TRUSTED))


_LINEAR = "linear.safetensors"
_FOREST = "forest.skops"
_READERS: dict[str, Callable[[Path, Mapping[str, Any]], LinearScorer | ForestScorer]] = {
    "linear": LinearScorer._read,
    "forest": ForestScorer._read,
}


def save(study: Study | str | os.PathLike[str], scorer: Model) -> Path:
    """Write the model's folder whole; an older model of the same name is replaced."""
    models = Study.open(study).folder("models")
    name = _checked_name(scorer.name)
    with whole_folder(models / name, replace=True) as staged:
        parameters = scorer._write(staged)
        card = {**scorer.card, "file": parameters, "sha256": sha256_of(staged / parameters)}
        write_json(staged / CARD, card)
        (staged / "card.md").write_text(cards.markdown(card), encoding="utf-8")
    return models / name


def load(study: Study | str | os.PathLike[str], name: str) -> Scorer:
    """Read a saved model back.

    Raises:
        MissingTableError: there is no such model.
        DataError: its folder is damaged: the card cannot be read, or the parameters are not
            those that the card names (sha256).
    """
    folder = Study.open(study).root / "models" / _checked_name(name)
    card = _card(folder)
    if card is None:
        known = ", ".join(names(study)) or "none"
        raise MissingTableError(
            f"there is no model {name!r} in {folder.parent}; known: {known}",
            hint="run: likewise compare",
        )
    parameters = folder / str(card.get("file"))
    if not parameters.is_file() or sha256_of(parameters) != card.get("sha256"):
        raise DataError(
            f"{parameters} is not the file that {folder / CARD} describes",
            hint="make the models anew with: likewise compare --redo",
        )
    return _READERS[card["kind"]](folder, card)


def names(study: Study | str | os.PathLike[str]) -> list[str]:
    """Names of the saved models that score features, best first; see ``best``."""
    cards_found = [card for card in map(_card, _folders(study)) if card is not None]
    cards_found.sort(key=lambda card: (-_cv_score(card), str(card["name"])))
    return [str(card["name"]) for card in cards_found]


def best(study: Study | str | os.PathLike[str]) -> str:
    """Name of the model with the highest cross-validated average precision.

    Test scores play no part: a model chosen by them would look better than it is.

    Raises:
        MissingTableError: no model has been saved.
    """
    found = names(study)
    if not found:
        raise MissingTableError(
            f"{Study.open(study).root}: there is no saved model yet",
            hint=f"run: likewise compare {Study.open(study).root}",
        )
    return found[0]


def remove(study: Study | str | os.PathLike[str], name: str) -> None:
    """Delete a saved model; nothing happens when there is none of that name."""
    shutil.rmtree(Study.open(study).root / "models" / _checked_name(name), ignore_errors=True)


def _folders(study: Study | str | os.PathLike[str]) -> list[Path]:
    root = Study.open(study).root / "models"
    if not root.is_dir():
        return []
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _card(folder: Path) -> dict[str, Any] | None:
    """The folder's card; None where there is none or it is of a kind that reads no features."""
    path = folder / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged: {error}", hint="delete its folder") from error
    return card if isinstance(card, dict) and card.get("kind") in _READERS else None


def _cv_score(card: Mapping[str, Any]) -> float:
    return float(card["scores"]["cv_average_precision"])


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*", name):
        raise DataError(f"{name!r} cannot name a model: letters, digits, '.', '_' and '-' only")
    return name
