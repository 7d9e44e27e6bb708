"""From features to classifiers of k classes, chosen on validation alone.

One against the rest for LinearSVC, natively for the random forest and the softmax layer; all see
the same pictures. The softmax layer with the least cross-entropy on validation becomes the model:
it is the one that gives probabilities and that a few numbers describe.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import log_softmax
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from training.classification.problem import ClassProblem
from training.classifiers.last_layer import Run, train_runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likewise.progress import Bar

__all__ = ["PENALTIES", "SEARCH", "Candidate", "candidates", "scale_of", "softmax"]

PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)
"""C of the softmax layer and of LinearSVC, on features whose mean square is 1 a row."""

SEARCH: tuple[Run, ...] = (
    *(Run("sgd", rate, steps) for rate in (0.3, 1.0, 3.0) for steps in (1000, 3000, 9000)),
    *(Run("adagrad", rate, steps) for rate in (0.03, 0.1, 0.3) for steps in (1000, 3000, 9000)),
)
"""Paper 3's search: 18 runs over optimisers, rates and steps, in one pass."""

TREES = 200


@dataclass(frozen=True)
class Candidate:
    """One fitted classifier: scores (n, k) of all pictures of the problem, the best column wins.

    ``weight`` and ``bias`` are those of a softmax layer on unscaled features, else None.
    """

    name: str
    parameters: str
    scores: NDArray[np.float64]
    weight: NDArray[np.float32] | None = None
    bias: NDArray[np.float32] | None = None
    curve: Sequence[Any] = ()

    def cross_entropy(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> float:
        """Mean cross-entropy on these pictures, nats; only a softmax layer's means anything."""
        share = log_softmax(self.scores[rows], axis=1)
        return -float(share[np.arange(len(rows)), columns].mean())

    def right(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(r,) whether each picture's best column is its class."""
        answer: NDArray[np.bool_] = self.scores[rows].argmax(axis=1) == columns
        return answer


def scale_of(features: NDArray[np.float32]) -> float:
    """Factor that makes the mean squared length of rows 1, so that C and rates mean one thing."""
    return float(1 / np.sqrt(max(float((features.astype(np.float64) ** 2).sum(1).mean()), 1e-30)))


def candidates(
    problem: ClassProblem, *, seed: int, search: bool, bar: Bar | None = None
) -> Iterator[Candidate]:
    """Every classifier, fitted on the training part; see ``PENALTIES`` and ``SEARCH``.

    Args:
        problem: pictures, classes and features.
        seed: of the forest and of the order of batches.
        search: also train the last layer by steps, as papers 2 and 3 did.
        bar: told of each classifier.
    """
    rows = problem.rows("train")
    features, columns = problem.training(rows)
    scale = scale_of(features)
    features = features * np.float32(scale)

    for c in PENALTIES:
        yield softmax(problem, c, features, columns, scale)
        _tell(bar)
    for c in PENALTIES:
        svc = LinearSVC(C=c, random_state=seed, max_iter=5000).fit(features, columns)
        yield Candidate("linear-svc", f"C={c:g}", _scored(problem, *_columns(svc, scale)))
        _tell(bar)
    forest = RandomForestClassifier(TREES, random_state=seed, n_jobs=1).fit(features, columns)
    votes = [forest.predict_proba(view * np.float32(scale)) for view in problem.features]
    yield Candidate("random-forest", f"{TREES} trees", np.mean(votes, axis=0))
    _tell(bar)
    if search:
        held = problem.rows("validation")
        validation = (problem.features[0, held] * np.float32(scale), problem.columns(held))
        trained = train_runs(
            features, columns, validation, SEARCH, n_classes=len(problem.known), seed=seed
        )
        for run in trained:
            _tell(bar)
            if run.diverged:
                continue
            weight = run.weight * np.float32(scale)
            yield Candidate(
                "last layer",
                f"{run.run.optimiser}, rate {run.run.rate:g}, {run.run.steps} steps",
                _scored(problem, weight, run.bias),
                weight,
                run.bias,
                run.curve,
            )


def softmax(
    problem: ClassProblem,
    c: float,
    features: NDArray[np.float32],
    columns: NDArray[np.int64],
    scale: float,
) -> Candidate:
    """Multinomial logistic regression of penalty ``c`` on (r, d) scaled features of (r,) classes.

    ``scale`` is what the features were multiplied with (``scale_of``).
    """
    weight, bias = _columns(LogisticRegression(C=c, max_iter=2000).fit(features, columns), scale)
    return Candidate("softmax", f"C={c:g}", _scored(problem, weight, bias), weight, bias)


def _scored(
    problem: ClassProblem, weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> NDArray[np.float64]:
    """(n, k) scores of all pictures of the problem, means over their views."""
    return np.asarray((problem.features @ weight + bias).mean(axis=0, dtype=np.float64))


def _tell(bar: Bar | None) -> None:
    if bar is not None:
        bar.advance(1)


def _columns(fit: Any, scale: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(d, k) weights and (k,) biases on unscaled features.

    scikit-learn keeps one row for two classes; half of it for and half against is the same.
    """
    weight, bias = fit.coef_, fit.intercept_
    if len(weight) == 1:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return (weight.T * scale).astype(np.float32), bias.astype(np.float32)
