"""A softmax layer on stored features, trained by steps as the papers did, many runs in one pass.

Papers 2 and 3 keep a network and train its last layer anew: batches of 32, a few thousand steps,
SGD or Adagrad, and a search over rates and numbers of steps. Runs that differ in these only see the
same batches, so their weights stand side by side in one matrix and each batch is read once for all
of them; a run with fewer steps is the beginning of one with more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from training.data.mapped import let_go

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likewise.progress import Bar

__all__ = ["CurveStep", "Run", "Trained", "train_runs"]

BATCH = 32
CURVE_POINTS = 20
"""How often the learning curves are taken, evenly over the longest run."""
AT_ONCE = 8_192
"""Rows that are judged in one product: features may lie on disk and be larger than the memory."""
LET_GO = 128
"""Steps between which rows of a mapped file stay: each brings 64 KiB with it, 256 MiB in all."""
ADAGRAD_START = 0.1
"""Starting sum of squares, as in TensorFlow's Adagrad, which both papers used."""


class Run(NamedTuple):
    """One way to train: optimiser, learning rate, number of steps."""

    optimiser: Literal["sgd", "adagrad"]
    rate: float
    steps: int


class CurveStep(NamedTuple):
    """Where a run stood after ``step`` steps, on all training and all validation rows."""

    step: int
    train_accuracy: float
    train_cross_entropy: float
    validation_accuracy: float
    validation_cross_entropy: float


@dataclass(frozen=True)
class Trained:
    """Weights (d, k) and biases (k,) of a run after its last step, with its learning curve."""

    run: Run
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    curve: tuple[CurveStep, ...]

    @property
    def diverged(self) -> bool:
        """True when a weight is not finite: the rate was too large."""
        return not (np.isfinite(self.weight).all() and np.isfinite(self.bias).all())


def train_runs(
    features: NDArray[np.float32],
    label: NDArray[np.int64],
    validation: tuple[NDArray[np.float32], NDArray[np.int64]],
    runs: Sequence[Run],
    *,
    n_classes: int,
    seed: int,
    scale: float = 1.0,
    bar: Bar | None = None,
) -> list[Trained]:
    """Train every run on the same batches and answer in the order of ``runs``.

    Args:
        features: (n, d) training features; they may be mapped from a file, and are never copied.
        label: (n,) classes 0 ... k-1.
        validation: features (m, d) and labels (m,); they choose, they train nothing.
        runs: at least one; equal optimiser and rate share one pass up to the most steps.
        n_classes: k.
        seed: of the order of the rows.
        scale: what features are multiplied by, for a mean square of about 1 per row. The answer's
            weights take features as they are.
        bar: told of every step.

    Raises:
        ValueError: there is no run, no row, or a run without steps.
    """
    if not runs or len(features) == 0 or min(run.steps for run in runs) < 1:
        raise ValueError("training needs runs with at least one step, and rows")
    features = np.asarray(features)  # a mapped array's own indexing costs more than the product
    passes = sorted({run[:2] for run in runs}, key=lambda key: (key[0] != "sgd", key[1]))
    longest = max(run.steps for run in runs)
    ends = {run.steps for run in runs}
    curve_at = set(np.unique(np.linspace(1, longest, CURVE_POINTS).round().astype(int)).tolist())
    n_sgd = sum(optimiser == "sgd" for optimiser, _ in passes) * n_classes
    rate = np.repeat(np.array([rate for _, rate in passes], np.float32), n_classes)
    # Classes lie along rows, so that the runs of one optimiser are one block of memory. The bias is
    # a feature that is always 1, at the end of each row.
    weight = np.zeros((len(rate), features.shape[1] + 1), np.float32)
    gradient = np.empty_like(weight)
    squares = np.full_like(weight[n_sgd:], ADAGRAD_START)
    scratch = np.empty_like(squares)
    kept: dict[int, NDArray[np.float32]] = {}
    curves: list[list[CurveStep]] = [[] for _ in passes]
    order = _batches(len(features), BATCH, longest, seed)
    each_row = np.arange(order.shape[1])
    drawn = np.ones((order.shape[1], weight.shape[1]), np.float32)
    slope, slope_rate = gradient[n_sgd:], rate[n_sgd:, None]
    size = np.float32(scale)
    # Products of 32 rows are too small to share: a second BLAS thread only waits, 40 CPU-s for 1.
    # A rate that is too large overflows; the run is told as diverged and the others go on.
    with threadpool_limits(1, "blas"), np.errstate(over="ignore", invalid="ignore"):
        for step in range(1, longest + 1):
            rows = order[step - 1]
            np.multiply(features[rows], size, out=drawn[:, :-1])
            error = _softmax(drawn @ weight.T, n_classes)
            error[each_row, :, label[rows]] -= 1
            error /= np.float32(len(rows))
            flat = error.reshape(len(rows), -1)
            # 32 values a weight row instead of 1,280: the rates of SGD go into the errors.
            flat[:, :n_sgd] *= rate[:n_sgd]
            np.matmul(flat.T, drawn, out=gradient)
            if n_sgd < len(weight):
                squares += np.multiply(slope, slope, out=scratch)
                slope /= np.sqrt(squares, out=scratch)
                slope *= slope_rate
            weight -= gradient
            if step in ends:
                kept[step] = weight.copy()
            if step in curve_at or step in ends:
                train = _judge(features, size, label, weight, n_classes)
                judged = _judge(validation[0], size, validation[1], weight, n_classes)
                for at, curve in enumerate(curves):
                    curve.append(CurveStep(step, *train[at], *judged[at]))
            if step % LET_GO == 0:
                let_go(features)
            if bar is not None:
                bar.advance(1)
    answer = []
    for run in runs:
        at = passes.index(run[:2])
        own = kept[run.steps][at * n_classes : (at + 1) * n_classes].T
        seen = tuple(point for point in curves[at] if point.step <= run.steps)
        answer.append(Trained(run, own[:-1] * size, own[-1].copy(), seen))
    return answer


def _batches(n: int, batch: int, steps: int, seed: int) -> NDArray[np.int64]:
    """(steps, min(batch, n)) row numbers: whole passes over shuffled rows, the rest dropped."""
    rng = np.random.default_rng(seed)
    size = min(batch, n)
    each = n // size
    passes = -(-steps // each)
    order = np.stack([rng.permutation(n)[: each * size] for _ in range(passes)])
    return order.reshape(-1, size)[:steps]


def _softmax(logits: NDArray[np.float32], n_classes: int) -> NDArray[np.float32]:
    """(n, r k) logits to (n, r, k) probabilities."""
    split = logits.reshape(len(logits), -1, n_classes)
    share: NDArray[np.float32] = np.exp(split - split.max(axis=2, keepdims=True))
    share /= share.sum(axis=2, keepdims=True)
    return share


def _judge(
    features: NDArray[np.float32],
    scale: np.float32,
    label: NDArray[np.int64],
    weight: NDArray[np.float32],
    k: int,
) -> list[tuple[float, float]]:
    """Accuracy and mean cross-entropy (nats) of each pass; NaN without rows."""
    passes = len(weight) // k
    if len(features) == 0:
        return [(float("nan"), float("nan"))] * passes
    plain, bias = weight[:, :-1].T * scale, weight[:, -1]
    right, loss = np.zeros(passes), np.zeros(passes)
    for start in range(0, len(label), AT_ONCE):
        own = label[start : start + AT_ONCE]
        share = _softmax(features[start : start + AT_ONCE] @ plain + bias, k)
        true = share[np.arange(len(own)), :, own]
        loss -= np.log(np.maximum(true, np.finfo(np.float32).tiny)).sum(axis=0, dtype=np.float64)
        right += (share.argmax(axis=2) == own[:, None]).sum(axis=0)
        let_go(features)  # pages of a mapped file, which else stay until all of it is in memory
    n = len(label)
    return list(zip((right / n).tolist(), (loss / n).tolist(), strict=True))
