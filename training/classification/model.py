"""A softmax layer on a network's features, saved with everything that a prediction needs."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import softmax

from likewise.errors import DataError, MissingTableError
from likewise.whole import sha256_of, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likewise.study import Study

__all__ = ["ClassModel", "load_model", "model_names", "save_model"]

KIND = "classes"
CARD = "card.json"
PARAMETERS = "softmax.safetensors"


@dataclass(frozen=True)
class ClassModel:
    """``softmax((features @ weight + bias) / temperature)`` over ``classes``.

    ``weight`` (d, k) and ``bias`` (k,) already hold any scaling of the features. The card names
    the classes, the network (``backbone``, ``layer``, ``maker``), the temperature and what is known
    of the model; see ``training.classification.fit``.
    """

    name: str
    card: Mapping[str, Any]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.card["classes"])

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, d) or (v, n, d) features to (n, k) scores, the mean over the views.

        Raises:
            DataError: features of another width.
        """
        views = features[None] if features.ndim == 2 else features
        if views.shape[2] != len(self.weight):
            raise DataError(
                f"model {self.name} reads {self.card['layer']} of {self.card['backbone']}: "
                f"{len(self.weight)} values a picture, got {views.shape[2]}"
            )
        answer: NDArray[np.float64] = (views @ self.weight + self.bias).mean(
            axis=0, dtype=np.float64
        )
        return answer

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, k) calibrated probabilities; shapes as for ``logits``."""
        answer: NDArray[np.float64] = softmax(
            self.logits(features) / float(self.card["temperature"]), axis=1
        )
        return answer


def save_model(study: Study, model: ClassModel) -> Path:
    """Write ``models/NAME/`` whole; an older model of that name is replaced."""
    from safetensors.numpy import save_file

    target = study.folder("models") / model.name
    staged = target.with_name(f".{model.name}.{uuid.uuid4().hex[:8]}")
    staged.mkdir()
    try:
        tensors = {"weight": np.ascontiguousarray(model.weight), "bias": model.bias}
        save_file(tensors, staged / PARAMETERS)
        sha256 = sha256_of(staged / PARAMETERS)
        write_json(
            staged / CARD, {**model.card, "kind": KIND, "name": model.name, "sha256": sha256}
        )
        shutil.rmtree(target, ignore_errors=True)
        staged.rename(target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return target


def load_model(study: Study, name: str | None = None) -> ClassModel:
    """A saved model; without a name the one that was trained last.

    Raises:
        MissingTableError: there is none of that name.
        DataError: its files are damaged.
    """
    from safetensors.numpy import load_file

    known = model_names(study)
    if not known or (name is not None and name not in known):
        raise MissingTableError(
            f"{study.root} has no classifier {name or ''}".rstrip()
            + f"; known: {', '.join(known) or 'none'}",
            hint=f"run: likewise classify train {study.root}",
        )
    folder = study.root / "models" / (name or known[0])
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        whole = sha256_of(folder / PARAMETERS) == card["sha256"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder} is damaged: {error}", hint="train it anew") from error
    if not whole:
        raise DataError(
            f"{folder / PARAMETERS} is not the file that {CARD} describes",
            hint="train it anew: likewise classify train",
        )
    tensors = load_file(folder / PARAMETERS)
    return ClassModel(folder.name, card, tensors["weight"], tensors["bias"])


def model_names(study: Study) -> list[str]:
    """Names of the saved classifiers, the one that was trained last first."""
    folder = study.root / "models"
    if not folder.is_dir():
        return []
    found = [p / CARD for p in folder.iterdir() if p.name[0] != "." and (p / CARD).is_file()]
    ours = [card for card in found if _kind(card) == KIND]
    return [card.parent.name for card in sorted(ours, key=lambda card: -card.stat().st_mtime_ns)]


def _kind(card: Path) -> str | None:
    """What a card says of its model; None where it cannot be read (``load_model`` tells why)."""
    try:
        found = json.loads(card.read_text(encoding="utf-8"))
    except ValueError:
        return KIND
    return str(found.get("kind")) if isinstance(found, dict) else None
