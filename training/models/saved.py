"""Fitted classifiers on disk: saved without pickle, loaded back with a check, named by their card.

A model is a folder ``STUDY/models/NAME/`` that holds ``card.json`` (what made it and how good it
is), ``card.md`` (the same for people) and its parameters: ``linear.safetensors`` for linear models
or ``forest.skops`` for random forests; models of k classes see ``training.models.classes``. The
folder appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from likewise.errors import DataError, MissingTableError
from likewise.study import Study, write_json
from likewise.whole import sha256_of, whole_folder
from training.models import cards
from training.models.carded import Carded, Saved
from training.models.classes import CLASS_READERS, TRUSTED
from training.statistics.sigmoid import probability

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.ensemble import RandomForestClassifier

    from training.models.classes import ClassScorer

__all__ = [
    "ForestScorer",
    "LinearScorer",
    "Scorer",
    "best",
    "class_names",
    "forget_networks",
    "load",
    "load_classes",
    "names",
    "own_network",
    "remove",
    "save",
]

CARD = "card.json"


class Scorer(Saved, Protocol):
    """A saved classifier: features in, scores and calibrated probabilities out."""

    def probability(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) scores to (n,) calibrated probabilities of the label 1; NaN where there are none."""

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, d) features to (n,) scores; larger means better liked."""


@dataclass(frozen=True)
class _Liked(Carded):
    """A model of one score, with Platt's sigmoid in its card."""

    def probability(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Platt's sigmoid with the slope and intercept fitted on cross-validation scores."""
        return probability(self.card["calibration"], scores)


@dataclass(frozen=True)
class LinearScorer(_Liked):
    """``features @ weight + bias``; any scaling of the features is folded into both."""

    weight: NDArray[np.float32]
    bias: float

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, d) features to (n,) signed distances. Raises DataError on another width."""
        margin: NDArray[np.float32] = self.checked(features) @ self.weight
        return margin.astype(np.float64) + self.bias

    def write(self, folder: Path) -> str:
        from safetensors.numpy import save_file

        weight = np.ascontiguousarray(self.weight, dtype=np.float32)
        save_file({"weight": weight, "bias": np.array([self.bias])}, folder / _LINEAR)
        return _LINEAR

    @classmethod
    def read(cls, folder: Path, card: Mapping[str, Any]) -> LinearScorer:
        from safetensors.numpy import load_file

        tensors = load_file(folder / _LINEAR)
        return cls(card, tensors["weight"], float(tensors["bias"][0]))


@dataclass(frozen=True)
class ForestScorer(_Liked):
    """Share of trees that vote for the label 1, as scikit-learn averages them."""

    forest: RandomForestClassifier

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, d) features to (n,) scores in 0 ... 1. Raises DataError on another width."""
        votes: NDArray[np.float64] = self.forest.predict_proba(self.checked(features))[:, 1]
        return votes

    def write(self, folder: Path) -> str:
        import skops.io

        skops.io.dump(self.forest, folder / _FOREST)
        return _FOREST

    @classmethod
    def read(cls, folder: Path, card: Mapping[str, Any]) -> ForestScorer:
        import skops.io

        return cls(card, skops.io.load(folder / _FOREST, trusted=TRUSTED))


_LINEAR = "linear.safetensors"
_FOREST = "forest.skops"
_READERS: dict[str, Callable[[Path, Mapping[str, Any]], LinearScorer | ForestScorer]] = {
    "linear": LinearScorer.read,
    "forest": ForestScorer.read,
}


def save(study: Study | str | os.PathLike[str], scorer: Saved) -> Path:
    """Write the model's folder whole; an older model of the same name is replaced."""
    models = Study.open(study).folder("models")
    name = _checked_name(scorer.name)
    with whole_folder(models / name, replace=True) as staged:
        parameters = scorer.write(staged)
        card = {**scorer.card, "file": parameters, "sha256": sha256_of(staged / parameters)}
        write_json(staged / CARD, card)
        (staged / "card.md").write_text(cards.markdown(card), encoding="utf-8")
    return models / name


def load(study: Study | str | os.PathLike[str], name: str) -> Scorer:
    """Read a saved model of likes back.

    Raises:
        MissingTableError: there is no such model.
        DataError: its folder is damaged: the card cannot be read, or the parameters are not
            those that the card names (sha256).
    """
    folder, card = _whole(study, name, names(study), _READERS)
    return _READERS[card["kind"]](folder, card)


def load_classes(study: Study | str | os.PathLike[str], name: str | None = None) -> ClassScorer:
    """Read a saved model of k classes back; without a name the best of them.

    Raises as ``load`` does.
    """
    known = class_names(study)
    folder, card = _whole(study, name or next(iter(known), None), known, CLASS_READERS)
    return CLASS_READERS[card["kind"]](folder, card)


def own_network(study: Study | str | os.PathLike[str], model: ClassScorer) -> Path | None:
    """The network that was fine-tuned with a model of classes; None: it reads the usual one.

    Raises:
        MissingTableError: the card names one that is not there.
    """
    name = model.card.get("network")
    if name is None:
        return None
    path = Study.open(study).root / "models" / str(name)
    if not path.is_file():
        raise MissingTableError(
            f"{path}, the network of model {model.name}, is not there",
            hint=f"run: likewise classify run -c {','.join(model.classes)} ...",
        )
    return path


def forget_networks(study: Study, model: ClassScorer) -> None:
    """Remove what was fine-tuned with earlier models of the name."""
    kept = own_network(study, model)
    for path in (study.root / "models" / f".{model.name}-network").glob("*.safetensors"):
        if path != kept:
            path.unlink()


def _whole(
    study: Study | str | os.PathLike[str],
    name: str | None,
    known: list[str],
    kinds: Collection[str],
) -> tuple[Path, dict[str, Any]]:
    """A model's folder and card, once its parameters have been found to be those of the card.

    ``name`` is None where any model would do and there is none.
    """
    root = Study.open(study).root
    folder = None if name is None else root / "models" / _checked_name(name)
    card = None if folder is None else _card(folder, kinds)
    if folder is None or card is None:
        what = "there is no saved model yet" if name is None else f"there is no model {name!r}"
        raise MissingTableError(
            f"{what} in {root / 'models'}; known: {', '.join(known) or 'none'}",
            hint=f"run: likewise compare {root}",
        )
    parameters = folder / str(card.get("file"))
    if not parameters.is_file() or sha256_of(parameters) != card.get("sha256"):
        raise DataError(
            f"{parameters} is not the file that {folder / CARD} describes",
            hint="make the models anew with: likewise compare --redo",
        )
    return folder, card


def names(study: Study | str | os.PathLike[str]) -> list[str]:
    """Names of the saved models of likes that score features, best first; see ``best``."""
    found = _cards(study, _READERS)
    found.sort(key=lambda card: (-float(card["scores"]["cv_average_precision"]), card["name"]))
    return [str(card["name"]) for card in found]


def class_names(study: Study | str | os.PathLike[str]) -> list[str]:
    """Names of the saved models of k classes, the least cross-entropy on held pictures first."""
    found = _cards(study, CLASS_READERS)
    found.sort(key=lambda card: (float(card["scores"]["held_cross_entropy"]), card["name"]))
    return [str(card["name"]) for card in found]


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


def _cards(study: Study | str | os.PathLike[str], kinds: Collection[str]) -> list[dict[str, Any]]:
    found = (_card(folder, kinds) for folder in _folders(study))
    return [card for card in found if card is not None]


def _card(folder: Path, kinds: Collection[str]) -> dict[str, Any] | None:
    """The folder's card; None where there is none or it is of another kind."""
    path = folder / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged: {error}", hint="delete its folder") from error
    return card if isinstance(card, dict) and card.get("kind") in kinds else None


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*", name):
        raise DataError(f"{name!r} cannot name a model: letters, digits, '.', '_' and '-' only")
    return name
