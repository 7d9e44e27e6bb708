"""How sure a probability is, and how liked an author's pictures are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.statistics.sigmoid import logistic

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DRAWS", "drawn_sigmoids", "probability_interval", "wilson"]

DRAWS = 200
"""Resamples of authors."""

STEPS = 25
LEAST_AUTHORS = 5
"""Fewer held-out authors cannot be resampled in earnest."""


def drawn_sigmoids(
    scores: NDArray[np.float64],
    label: NDArray[np.int64],
    author: NDArray[np.int64],
    seed: int,
) -> NDArray[np.float64]:
    """Platt's sigmoid on held-out pictures, for resamples of their authors.

    Args:
        scores: (n,) scores of pictures of authors that the model has not seen.
        label: (n,) 0 or 1.
        author: (n,) an integer for each author.
        seed: of the resampling.

    Returns:
        (``DRAWS``, 2) slopes and intercepts; (0, 2) with one class, equal scores or fewer than
        five authors. Targets are smoothed as Platt (1999) does, so that no fit diverges.
    """
    _, group = np.unique(author, return_inverse=True)
    n_authors = int(group.max()) + 1 if group.size else 0
    if n_authors < LEAST_AUTHORS or len(set(label.tolist())) < 2 or not np.ptp(scores) > 0:
        return np.empty((0, 2))
    random = np.random.default_rng(seed)
    chosen = random.multinomial(n_authors, np.full(n_authors, 1 / n_authors), size=DRAWS)
    weight = chosen[:, group].astype(np.float64)
    centre, spread = float(scores.mean()), float(scores.std())
    fits = _newton((scores - centre) / spread, label, weight)
    slope = fits[:, 0] / spread
    return np.stack([slope, fits[:, 1] - slope * centre], axis=1)


def _newton(
    x: NDArray[np.float64], label: NDArray[np.int64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weighted logistic regressions of (n,) ``label`` on ``x``, one a row of (draws, n) weights."""
    good, bad = weight @ (label == 1), weight @ (label == 0)
    high, low = (good + 1) / (good + 2), 1 / (bad + 2)
    target = np.where(label == 1, high[:, None], low[:, None])
    fit = np.zeros((len(weight), 2))
    for _ in range(STEPS):
        p = logistic(fit[:, :1] * x + fit[:, 1:])
        slack = weight * (target - p)
        gradient = np.stack([slack @ x, slack.sum(axis=1)], axis=1)
        w = weight * np.maximum(p * (1 - p), 1e-9)
        cross = w @ x
        # A ridge of 1e-6 keeps draws of one class or one score solvable.
        hessian = np.stack([w @ (x * x), cross, cross, w.sum(axis=1)], axis=1).reshape(-1, 2, 2)
        step = np.linalg.solve(hessian + 1e-6 * np.eye(2), gradient[:, :, None])[:, :, 0]
        fit = fit + np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-9:
            break
    return fit


def probability_interval(
    score: float, probability: float, draws: NDArray[np.float64], level: float = 0.95
) -> tuple[float, float] | None:
    """Ends of the interval of a probability; None where nothing can be said.

    It is the share of liked pictures among held-out ones of such a score, over resamples of their
    authors, and always holds the probability itself.
    """
    if not len(draws) or not np.isfinite(probability):
        return None
    shares = logistic(draws[:, 0] * score + draws[:, 1])
    tail = (1 - level) / 2
    low, high = np.quantile(shares, [tail, 1 - tail])
    return min(float(low), probability), max(float(high), probability)


def wilson(good: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson's 95 % interval (1927) of a share of ``good`` in ``n``."""
    share, middle = good / n, 1 + z * z / n
    spread = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / middle
    centre = (share + z * z / (2 * n)) / middle
    return max(0.0, float(centre - spread)), min(1.0, float(centre + spread))
