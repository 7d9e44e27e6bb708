"""How good a network is: logits of many pictures, and loss, accuracy and average precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import log_softmax, logsumexp
from sklearn.metrics import average_precision_score
from torch import nn

from likewise.errors import DataError
from training.tuning.batches import centre, to_input

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backbones.registry import Preprocess

__all__ = ["DIVERGED", "logits_of", "measure", "score_of"]

DIVERGED = "lower [finetune] learning_rate or head_factor, then run again with --redo"

# On CPUs larger batches spend their gain on fresh memory for the activations.
AT_ONCE = {"cpu": 16}


def logits_of(
    network: nn.Module,
    pictures: Iterable[NDArray[np.uint8]],
    spec: Preprocess,
    *,
    both_views: bool,
    done: Callable[[int], None] = lambda _: None,
) -> NDArray[np.float64]:
    """(n, classes) logits of the pictures' middles; ``both_views`` averages with the mirror image.

    Pictures are canvases, taken from the iterable a few at a time. ``done`` hears how many.
    """
    device = next(network.parameters()).device
    network.eval()
    answers = []
    with torch.inference_mode():
        for some in _chunks(pictures, AT_ONCE.get(device.type, 128)):
            views = np.stack([centre(picture, spec.size) for picture in some])
            x = to_input(torch.from_numpy(views).to(device), spec)
            logits = network(x)
            if both_views:
                logits = (logits + network(x.flip(3))) / 2
            answers.append(logits.double().cpu().numpy())
            done(len(some))
    return np.concatenate(answers) if answers else np.empty((0, 0))


def _chunks(pictures: Iterable[NDArray[np.uint8]], size: int) -> Iterator[list[NDArray[np.uint8]]]:
    source = iter(pictures)
    while some := list(islice(source, size)):
        yield some


def score_of(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds of the last class against all others; with two classes, the difference."""
    others: NDArray[np.float64] = logsumexp(logits[:, :-1], axis=1)
    odds: NDArray[np.float64] = logits[:, -1] - others
    return odds


def measure(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    """Cross-entropy, accuracy, and average precision (mean over the classes when more than two).

    Raises:
        DataError: a logit is not finite: the training has diverged.
    """
    if not np.isfinite(logits).all():
        raise DataError("fine-tuning: the network's answers are not finite", hint=DIVERGED)
    log_p = log_softmax(logits, axis=1)
    if logits.shape[1] == 2:
        precision = average_precision_score(labels == 1, score_of(logits))
    else:
        every = labels[:, None] == np.arange(logits.shape[1])
        there = every.any(axis=0)  # of a class without a picture there is no precision
        precision = average_precision_score(every[:, there], log_p[:, there], average="macro")
    return {
        "loss": float(-log_p[np.arange(len(labels)), labels].mean()),
        "accuracy": float((logits.argmax(axis=1) == labels).mean()),
        "average_precision": float(precision),
    }
