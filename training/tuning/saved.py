"""A fine-tuned network as a saved model: it scores pictures where other models score features."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor, nn

from backbones import registry
from backbones.loading import build
from filters.pictures.headers import PictureError
from likewise.errors import DataError, MissingTableError, WeightsError
from likewise.study import Study
from training.statistics import calibration
from training.tuning.batches import centre, to_input
from training.tuning.canvases import canvas
from training.tuning.measure import logits_of, score_of
from training.tuning.network import swap_head

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backbones.registry import Preprocess

__all__ = ["KIND", "FinetunedScorer", "load", "names"]

KIND = "finetuned"
WEIGHTS = "network.safetensors"


@dataclass(frozen=True)
class FinetunedScorer:
    """A network that gives the score of a picture file; ``network`` serves Grad-CAM as well."""

    card: Mapping[str, Any]
    network: nn.Module

    layer = "pixels"

    @property
    def name(self) -> str:
        """Folder name below ``models/``."""
        return str(self.card["name"])

    @property
    def backbone(self) -> str:
        """The architecture that was tuned."""
        return str(self.card["backbone"])

    @cached_property
    def spec(self) -> Preprocess:
        """The preprocessing that the backbone was trained with."""
        return registry.get(self.backbone).preprocess

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the network's outputs; none where likes were asked."""
        return tuple(self.card.get("class_names", ()))

    def score_pictures(self, files: Iterable[bytes]) -> NDArray[np.float64]:
        """Log-odds of the last class, averaged over the picture and its mirror image.

        Takes n whole picture files, a few at a time, and gives (n,) scores; larger means better
        liked, NaN stands for a file that cannot be decoded.
        """
        return score_of(self.class_scores(files))

    def class_scores(self, files: Iterable[bytes]) -> NDArray[np.float64]:
        """(n, k) logits of n whole picture files, means of both views; NaN where undecodable."""
        readable: list[bool] = []
        logits = logits_of(
            self.network, self._canvases(files, readable), self.spec, both_views=True
        )
        scores = np.full((len(readable), int(self.card["classes"])), np.nan)
        if logits.size:
            scores[readable] = logits
        return scores

    def probabilities(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, k) logits to (n, k) probabilities of the classes."""
        share: NDArray[np.float64] = softmax(scores / float(self.card["temperature"]), axis=1)
        return share

    def _canvases(
        self, files: Iterable[bytes], readable: list[bool]
    ) -> Iterable[NDArray[np.uint8]]:
        for data in files:
            try:
                picture = canvas(data, self.spec)
            except PictureError:
                readable.append(False)
            else:
                readable.append(True)
                yield picture

    def prepare(self, files: Iterable[bytes]) -> Tensor:
        """Picture files as the network's input (n, 3, size, size), for ``gradcam.heatmap``.

        Raises:
            filters.pictures.headers.PictureError: a file cannot be decoded.
        """
        views = [centre(canvas(data, self.spec), self.spec.size) for data in files]
        return to_input(torch.from_numpy(np.stack(views)), self.spec)

    def probability(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) scores to (n,) calibrated probabilities of the last class; NaN where refused."""
        return calibration.probability(self.card["calibration"], scores)

    def write(self, folder: Path) -> str:
        """Write the network's weights."""
        from safetensors.torch import save_file

        state = {name: value.contiguous() for name, value in self.network.state_dict().items()}
        save_file(state, folder / WEIGHTS)
        return WEIGHTS


def load(study: Study | str | os.PathLike[str], name: str) -> FinetunedScorer:
    """Read a fine-tuned network back.

    Raises:
        MissingTableError: there is no fine-tuned model of that name.
        DataError: its card cannot be read.
        WeightsError: its weights are damaged, or belong to another backbone.
    """
    folder = Study.open(study).root / "models" / name
    card = _card(folder)
    if card is None:
        known = ", ".join(names(study)) or "none"
        raise MissingTableError(
            f"there is no fine-tuned model {name!r} in {folder.parent}; known: {known}",
            hint="run: likewise finetune",
        )
    with torch.device("meta"):
        network = build(str(card["backbone"]))
        swap_head(network, str(card["head"]), int(card["classes"]))
    network.load_state_dict(_weights(folder / str(card["file"]), network), assign=True)
    return FinetunedScorer(card, network.eval().requires_grad_(False))


def _weights(path: Path, network: nn.Module) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path} cannot be read: {error}", hint="run: likewise finetune --redo"
        ) from error
    expected = network.state_dict()
    for key in sorted(expected.keys() | state.keys()):
        if key not in state or key not in expected or state[key].shape != expected[key].shape:
            raise WeightsError(
                f"{path} does not hold the network that its card names: {key} differs",
                hint="run: likewise finetune --redo",
            )
    return state


def names(study: Study | str | os.PathLike[str]) -> list[str]:
    """Names of the fine-tuned models of a study."""
    models = Study.open(study).root / "models"
    folders = sorted(models.iterdir()) if models.is_dir() else []
    return [folder.name for folder in folders if _card(folder) is not None]


def _card(folder: Path) -> dict[str, Any] | None:
    path = folder / "card.json"
    if folder.name.startswith(".") or not path.is_file():
        return None
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged: {error}", hint="delete its folder") from error
    return card if isinstance(card, dict) and card.get("kind") == KIND else None
