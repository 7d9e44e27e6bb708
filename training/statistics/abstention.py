"""When a model should rather say nothing: thresholds that keep a promised accuracy.

A threshold on the largest probability means nothing by itself (0.99 may let everything or nothing
pass). Here a person promises an accuracy and how sure it should be, and gets the smallest
threshold that held-back pictures support.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import beta

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Promise", "accuracy_bound", "coverage_curve", "promised_threshold"]


def accuracy_bound(
    right: NDArray[np.int64], shown: NDArray[np.int64], confidence: float
) -> NDArray[np.float64]:
    """One-sided lower Clopper-Pearson bounds of ``right / shown``; 0 where nothing was right.

    Source: Clopper and Pearson (1934), through the quantiles of the beta distribution.
    """
    bound = beta.ppf(1 - confidence, np.maximum(right, 1), shown - right + 1)
    return np.where(right > 0, bound, 0.0)


@dataclass(frozen=True, slots=True)
class Promise:
    """What ``promised_threshold`` found: pictures with ``certainty >= threshold`` are answered."""

    threshold: float
    """Infinity where no threshold can be promised: every picture is abstained from."""
    accuracy: float
    confidence: float
    answered: int
    right: int
    of: int
    needed: int
    """Pictures without an error that the promise needs at least."""

    @property
    def coverage(self) -> float:
        """Share of the validation pictures that are answered."""
        return self.answered / self.of if self.of else 0.0


def promised_threshold(
    certainty: NDArray[np.float64],
    right: NDArray[np.bool_],
    accuracy: float,
    confidence: float = 0.95,
) -> Promise:
    """The smallest threshold at which an accuracy can be promised.

    Thresholds are tested from the most certain picture downwards and the search stops at the first
    whose bound fails: a fixed sequence of tests keeps the error of the whole search at
    ``1 - confidence``, while the smallest of all passing thresholds broke its promise in up to
    7.5 % of simulated worlds (Angelopoulos et al., "Learn then Test", 2021, section 4.1).

    Args:
        certainty: (n,) largest probability of each validation picture, which trained nothing.
        right: (n,) whether the class of that probability is the true one.
        accuracy: share of right answers to be promised, 0 < accuracy < 1.
        confidence: how sure the promise should be.

    Raises:
        ValueError: an argument is outside of its range, or lengths differ.
    """
    if not (0 < accuracy < 1 and 0 < confidence < 1):
        raise ValueError(f"accuracy {accuracy} and confidence {confidence} lie between 0 and 1")
    if certainty.shape != right.shape or not np.isfinite(certainty).all():
        raise ValueError("certainty and right are finite and of one length")
    # With fewer pictures than this not even a run without an error proves the accuracy.
    needed = int(np.ceil(np.log(1 - confidence) / np.log(accuracy)))
    order = np.argsort(-certainty, kind="stable")
    # A threshold cannot divide ties, so only the last picture of each tie is a candidate.
    last = np.flatnonzero(np.append(np.diff(certainty[order]) != 0, len(order) > 0))
    candidates = last[last + 1 >= needed]
    total = np.cumsum(right[order], dtype=np.int64)
    fails = accuracy_bound(total[candidates], candidates + 1, confidence) < accuracy
    passed = candidates[: int(np.argmax(fails))] if fails.any() else candidates
    if not len(passed):
        return Promise(np.inf, accuracy, confidence, 0, 0, len(right), needed)
    at = int(passed[-1])
    threshold = float(certainty[order[at]])
    return Promise(threshold, accuracy, confidence, at + 1, int(total[at]), len(right), needed)


def coverage_curve(
    certainty: NDArray[np.float64], right: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Thresholds (falling), coverage and accuracy at each, (t,) each; ties share a threshold."""
    order = np.argsort(-certainty, kind="stable")
    last = np.flatnonzero(np.append(np.diff(certainty[order]) != 0, len(order) > 0))
    shown = last + 1
    return certainty[order][last], shown / max(len(order), 1), np.cumsum(right[order])[last] / shown
