"""Split by time: train on earlier posts, test on later ones, of other authors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from likewise.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.data.labels import Labels

__all__ = ["cut_of", "split_by_time"]


def cut_of(created: NDArray[np.float64], test_fraction: float) -> float:
    """The moment after which ``test_fraction`` of the (n,) dated posts lie; NaN without any."""
    known = created[np.isfinite(created)]
    return float(np.quantile(known, 1 - test_fraction)) if known.size else float("nan")


def split_by_time(labels: Labels, test_fraction: float) -> Labels:
    """Training authors' pictures before the cut, held-out authors' after it; the rest is counted.

    Raises:
        DataError: no post has a date, or one side of the cut is empty.
    """
    cut = cut_of(labels.created, test_fraction)
    train = np.arange(len(labels.label)) < labels.n_train
    dated = np.isfinite(labels.created)
    early = labels.created < cut
    keep = dated & (train == early)
    if not (keep & train).any() or not (keep & ~train).any():
        raise DataError(
            '[compare] split = "time": the posts have no dates, or all the same one',
            hint='set split = "author"',
        )
    reasons = {
        "date unknown": ~dated,
        f"training {labels.unit.one}, after the cut": dated & train & ~early,
        f"held-out {labels.unit.one}, before the cut": dated & ~train & early,
    }
    return labels.only(keep, {name: int(rows.sum()) for name, rows in reasons.items()})
