"""scikit-learn's LinearSVC on float32 features, in as little memory as its interface allows.

LinearSVC makes float64 of its input and then one node of 16 bytes (index and value) of every value
that is not 0. Given a dense array it holds 8 bytes for each value beside the nodes; given a CSR
matrix of float64, which is not copied, 12 bytes for each value that is not 0. Activations behind a
ReLU are mostly 0, and the nodes are the same ones either way, so the weights are, too.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from training.data.mapped import let_go

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Reference", "bytes_needed", "fit"]

NODE, DENSE, SPARSE = 16, 8, 12
CHUNK = 256
MOST_STEPS = 10_000

# liblinear and scikit-learn's wrapper count non-zero values in 32 bits.
MOST_VALUES = 2**31 - 1


@dataclass(frozen=True)
class Reference:
    """What LinearSVC found: (d,) weights, the intercept, whether it met its tolerance."""

    weight: NDArray[np.float64]
    bias: float
    converged: bool


def bytes_needed(rows: NDArray[np.float32]) -> float:
    """Bytes that ``fit`` holds beside (n, d) rows; infinite when LinearSVC cannot count so far."""
    values = int(_counts(rows).sum())
    if values + 2 * len(rows) > MOST_VALUES:
        return float("inf")
    return float(NODE * values + min(SPARSE * values, DENSE * rows.size))


def fit(
    rows: NDArray[np.float32],
    sign: NDArray[np.float32],
    weight: NDArray[np.float64],
    c: float,
    seed: int,
    *,
    keep: NDArray[np.bool_] | None = None,
) -> Reference:
    """LinearSVC(C=c) with squared hinge and L2.

    Args:
        rows: (n, d) features; the memory of mapped ones is let go while liblinear works.
        sign: (n,) labels as -1 and +1.
        weight: (n,) of the pictures.
        c: penalty.
        seed: of liblinear's order of rows, where it uses one.
        keep: (n,) rows to fit on; all of them without it.
    """
    chosen = np.arange(len(rows)) if keep is None else np.flatnonzero(keep)
    model = LinearSVC(C=c, dual="auto", max_iter=MOST_STEPS, random_state=seed)
    design = _design(rows, chosen)
    let_go(rows)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(design, sign[chosen], sample_weight=weight[chosen])
    stopped = any(issubclass(w.category, ConvergenceWarning) for w in caught)
    return Reference(model.coef_[0], float(model.intercept_[0]), not stopped)


def _counts(rows: NDArray[np.float32]) -> NDArray[np.int64]:
    """(n,) numbers of values that are not 0."""
    parts = [np.count_nonzero(rows[at : at + CHUNK], axis=1) for at in range(0, len(rows), CHUNK)]
    return np.concatenate(parts)


def _design(rows: NDArray[np.float32], chosen: NDArray[np.intp]) -> Any:
    """The chosen rows as whichever of CSR and dense float64 is smaller."""
    counts = _counts(rows)[chosen]
    values, dim = int(counts.sum()), rows.shape[1]
    parts = [chosen[at : at + CHUNK] for at in range(0, len(chosen), CHUNK)]
    if SPARSE * values >= DENSE * len(chosen) * dim:
        dense = np.empty((len(chosen), dim))
        for number, part in enumerate(parts):
            dense[number * CHUNK : number * CHUNK + len(part)] = rows[part]
        return dense
    start = np.zeros(len(chosen) + 1, np.int32)
    np.cumsum(counts, out=start[1:])
    data, column = np.empty(values), np.empty(values, np.int32)
    at = 0
    for part in parts:
        some = rows[part]
        end = at + int(np.count_nonzero(some))
        data[at:end], column[at:end] = some[some != 0], np.nonzero(some)[1]
        at = end
    return sparse.csr_matrix((data, column, start), shape=(len(chosen), dim))
