"""From features to a place on a plane, and how far that place may be believed.

Features are first reduced to the principal components that hold 80 % of their variance (van der
Maaten and Hinton, 2008, use 30; a share says what is lost), then laid out by t-SNE. A map always
looks as if it showed groups; ``Quality`` says whether it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import eigh
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Components", "Quality", "lay_out", "principal_components", "quality"]

Batches = Callable[[], Iterator["NDArray[np.float32]"]]
"""Gives the features from the beginning each time it is called, (rows, d) at a time."""

PERPLEXITY = 30.0
JUDGED = 2000
FIRST = 8
"""Part of the components that are looked for first."""
NEIGHBOURS = 10


@dataclass(frozen=True)
class Components:
    """The first principal components: ``axes`` (d, c), the mean (d,), and what they hold."""

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    held: float
    """Share of the variance that ``axes`` hold."""
    held_in_two: float
    """Share that the first two hold: what a plain two-dimensional PCA could show."""

    def transform(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, d) features to (n, c) coordinates."""
        moved = features.astype(np.float64) - self.mean
        answer: NDArray[np.float32] = (moved @ self.axes).astype(np.float32)
        return answer


def principal_components(batches: Batches, share: float = 0.8) -> Components:
    """The fewest components that hold at least ``share`` of the variance.

    The covariance (d, d) is summed batch by batch and its eigenvectors are exact, so memory does
    not grow with the number of pictures, and the cost is one product X'X.

    Raises:
        ValueError: there are fewer than two rows, or ``share`` is not in 0 < share <= 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}, expected 0 < share <= 1")
    n, total, products, shift = 0, np.zeros(0), np.zeros((0, 0)), np.zeros(0, np.float32)
    for batch in batches():
        if n == 0:
            # Summed around a first guess of the mean: X'X - n mm' would lose digits otherwise.
            shift = batch.mean(axis=0, dtype=np.float64).astype(np.float32)
            total, products = np.zeros(len(shift)), np.zeros((len(shift),) * 2)
        # Around the mean single precision loses nothing that a share of the variance would show.
        rows = batch - shift
        n, total = n + len(rows), total + rows.sum(axis=0, dtype=np.float64)
        products += rows.T @ rows
    if n < 2:
        raise ValueError(f"a map needs at least two pictures, got {n}")
    offset = total / n
    covariance = (products - n * np.outer(offset, offset)) / (n - 1)
    value, vector = _largest(covariance, share)
    # Equal pictures have no variance at all; one component of noughts then stands for them.
    variance = max(float(np.trace(covariance)), np.finfo(float).tiny)
    held = np.minimum(np.cumsum(np.maximum(value, 0)) / variance, 1)
    n_axes = min(int(np.searchsorted(held, share - 1e-12)) + 1, len(value))
    # An eigenvector's sign is free: the largest entry is made positive, so that maps agree.
    axes = vector[:, :n_axes]
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(n_axes)]
    axes = axes * np.where(largest < 0, -1, 1)
    in_two = float(held[min(1, len(held) - 1)])
    return Components(shift + offset, axes, float(held[n_axes - 1]), in_two)


def _largest(
    covariance: NDArray[np.float64], share: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues from the largest on, and eigenvectors as columns; all where an eighth is less
    than ``share`` of the trace.

    A network's features mostly need fewer, and vectors are what costs.
    """
    d = len(covariance)
    few = max(2, d // FIRST)
    if few < d:
        value, vector = eigh(covariance, subset_by_index=(d - few, d - 1))
        if value.sum() >= share * np.trace(covariance):
            return value[::-1], vector[:, ::-1]
    value, vector = eigh(covariance)
    return value[::-1], vector[:, ::-1]


def lay_out(points: NDArray[np.float32], *, seed: int, jobs: int = 1) -> NDArray[np.float32]:
    """(n, c) coordinates to (n, 2) places by t-SNE; the same for any number of ``jobs``.

    Source: van der Maaten and Hinton, JMLR 9 (2008), as openTSNE computes it (FFT interpolation
    above 10,000 points), started from the first two components.
    """
    if len(points) < 4:  # t-SNE has nothing to say: side by side
        return np.stack([np.arange(len(points)), np.zeros(len(points))], axis=1).astype(np.float32)
    from openTSNE import TSNE

    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
    places = TSNE(perplexity=perplexity, random_state=seed, n_jobs=jobs).fit(points)
    return np.asarray(places, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Quality:
    """How far the map keeps neighbours, judged on ``judged`` pictures with ``k`` neighbours each.

    ``preserved``: mean share of the k nearest pictures among the k nearest on the map, 0 ... 1.
    ``chance``: the same for places at random. ``trustworthiness``: Venna and Kaski (2001), 0 ... 1:
    1 when no stranger has come near.
    """

    preserved: float
    chance: float
    trustworthiness: float
    judged: int
    k: int

    @property
    def trusted(self) -> bool:
        """False when the map shows fewer true neighbours than strangers, or strangers come near."""
        return self.preserved >= max(0.3, 3 * self.chance) and self.trustworthiness >= 0.9

    @property
    def sentence(self) -> str:
        """What may be said of the map."""
        facts = (
            f"{self.preserved:.0%} of the {self.k} nearest pictures are among the {self.k} nearest "
            f"on the map ({self.chance:.0%} by chance); trustworthiness {self.trustworthiness:.2f}"
        )
        if self.trusted:
            return f"Near pictures on the map are alike: {facts}."
        return f"Do not trust this map, its groups may be made by the layout alone: {facts}."


def quality(
    points: NDArray[np.float32], places: NDArray[np.float32], *, seed: int
) -> Quality | None:
    """Quality of a map, on at most 2,000 pictures drawn by ``seed``; None below five pictures."""
    n = len(points)
    drawn = np.sort(np.random.default_rng(seed).permutation(n)[: min(n, JUDGED)])
    k = min(NEIGHBOURS, (len(drawn) - 1) // 2 - 1)
    if k < 1:
        return None
    original, shown = points[drawn], places[drawn]
    near = [
        NearestNeighbors(n_neighbors=k).fit(rows).kneighbors(return_distance=False)
        for rows in (original, shown)
    ]
    kept = [len(np.intersect1d(a, b)) for a, b in zip(*near, strict=True)]
    trust = float(trustworthiness(original, shown, n_neighbors=k))
    return Quality(float(np.mean(kept)) / k, k / (len(drawn) - 1), trust, len(drawn), k)
