"""Fine-tuning at a rate of 1e-5: every weight of the network and of its new last layer.

Paper 5, section 3.10: the tuned network is kept only where the validation loss is smaller.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

import backbones
from backbones import registry
from filters.pictures.headers import PictureError
from likewise.pictures import picture_bytes
from likewise.progress import progress
from likewise.whole import write_bytes
from training.explanation.gradcam import Backbone
from training.search.augmentation import augmented
from training.tuning.batches import centre, to_input
from training.tuning.canvases import canvas

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from likewise.study import Study
    from training.models.classes import LinearClasses
    from training.search.learning import Problem

__all__ = ["RATE", "tune"]

RATE = 1e-5
BATCH = 16


def tune(
    study: Study,
    problem: Problem,
    model: LinearClasses,
    rows: NDArray[np.int64],
    held: NDArray[np.int64],
    *,
    epochs: int,
    seed: int,
) -> tuple[LinearClasses | None, str]:
    """The tuned model, or None where validation did not improve; and the sentence about it.

    Args:
        study: holds the pictures; a kept network is written beside its models.
        problem: pictures and labels.
        model: where tuning starts.
        rows, held: (n,) and (m,) numbers of the training and validation pictures.
        epochs: passes over the training pictures.
        seed: of order and augmentation.
    """
    spec = registry.get(problem.backbone).preprocess
    squares = _squares(study, problem, np.concatenate([rows, held]))
    rows = np.array([row for row in rows if row in squares], np.int64)
    held = np.array([row for row in held if row in squares], np.int64)
    network = cast(nn.Module, backbones.load(problem.backbone))
    head = nn.Linear(*model.weight.shape)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(model.weight.T.copy()))
        head.bias.copy_(torch.from_numpy(model.bias))
    target = torch.from_numpy(problem.labels.label.astype(np.int64))

    def scores(inputs: Tensor) -> Tensor:
        layers = cast(Backbone, network).features(inputs)
        return cast(Tensor, head(layers[problem.layer].flatten(1)))

    def judged() -> float:
        network.eval()
        found = []
        with torch.inference_mode():
            for start in range(0, len(held), BATCH):
                part = held[start : start + BATCH]
                views = np.stack([centre(squares[row], spec.size) for row in part])
                found.append(scores(to_input(torch.from_numpy(views), spec)))
        return float(functional.cross_entropy(torch.cat(found), target[torch.from_numpy(held)]))

    parameters = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0)
    before = now = judged()
    best: tuple[float, dict[str, Any], dict[str, Any]] | None = None
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)  # of dropout: the same line must make the same network
    with progress("fine-tuning", epochs * len(rows)) as bar:
        for _ in range(epochs):
            network.train()
            # Statistics of batch normalisation stay: sixteen pictures are too few to tell them.
            for module in network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
            order = rng.permutation(rows)
            for start in range(0, len(order), BATCH):
                part = order[start : start + BATCH]
                views = np.stack([augmented(squares[row], spec.size, rng) for row in part])
                optimizer.zero_grad(set_to_none=True)
                loss = functional.cross_entropy(
                    scores(to_input(torch.from_numpy(views), spec)), target[torch.from_numpy(part)]
                )
                torch.autograd.backward(loss)
                optimizer.step()
                bar.advance(len(part))
            now = judged()
            if now < (before if best is None else best[0]):
                best = now, _copied(network), _copied(head)
    if best is None:
        return None, (
            f"fine-tuning at {RATE:g} did not lower the validation loss ({before:.4f} before, "
            f"{now:.4f} after): the network stays as it was"
        )
    loss_now, body, last = best
    path = _save(study.folder("models", f".{model.name}-network"), body)
    card = {
        **model.card,
        "network": str(path.relative_to(study.root / "models")),
        "maker": path.stem,
        "classifier": f"{model.card['classifier']}, fine-tuned at {RATE:g}",
        "scores": {"held_cross_entropy": loss_now},
    }
    weight = last["weight"].numpy().T.copy()
    kept = replace(model, card=card, weight=weight, bias=last["bias"].numpy())
    return kept, (
        f"fine-tuning at {RATE:g} lowered the validation loss from {before:.4f} to {loss_now:.4f}: "
        "the tuned network is kept"
    )


def _squares(
    study: Study, problem: Problem, rows: NDArray[np.int64]
) -> dict[int, NDArray[np.uint8]]:
    """Row -> its canvas, of those that decode; 0.2 MB each."""
    spec = registry.get(problem.backbone).preprocess
    at = {str(problem.labels.picture_id[row]): int(row) for row in rows}
    found = {}
    for picture_id, data in picture_bytes(study, list(at)):
        try:
            found[at[picture_id]] = canvas(data, spec)
        except PictureError:
            continue
    return found


def _copied(module: nn.Module) -> dict[str, Any]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _save(folder: Path, state: dict[str, Any]) -> Path:
    """Named after its content: killed right after it, an earlier model keeps its own network."""
    content = save({name: value.contiguous() for name, value in state.items()})
    path = folder / f"tuned-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
    write_bytes(path, content)
    return path
