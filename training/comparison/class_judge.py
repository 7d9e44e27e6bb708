"""Models of k classes held against the same test pictures, which neither trained nor chose them.

The pictures that chose may be judged the same way: a page of a training shows them, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from likewise.errors import DataError
from training.comparison.class_results import (
    Abstention,
    Against,
    ClassData,
    ClassResult,
    Difficult,
    OpenWorld,
    Part,
)
from training.explanation.differences import holm
from training.statistics.abstention import coverage_curve, promised_threshold
from training.statistics.classes import Rate, in_top, mcnemar, open_world, per_class, rate
from training.statistics.nearness import Nearness, fit_nearness

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likewise.study import Study
    from training.data.matrix import Labels, Matrix

__all__ = ["MAJORITY", "ClassJudge", "data_of", "nearness_of"]

MAJORITY = "majority"
SHOWN = 24
MOST_POINTS = 200
MOST_NEAR = 20_000
"""Training pictures that nearness is fitted to: covariances of 1,280 values need no more."""


class ClassJudge:
    """The test pictures of known classes, and those of unseen ones.

    Scores and probabilities come for all pictures that train nothing, (n - n_train, k): those of
    validation, of test and of unseen classes. With ``chose`` they come for the (h, k) pictures that
    chose, which then stand where the test pictures do.

    Raises:
        DataError: no test picture is of a known class.
    """

    def __init__(self, labels: Labels, *, chose: bool = False) -> None:
        self.labels, start = labels, labels.n_train
        self.names = labels.known
        self.own = labels.test
        self.test = slice(labels.test.start - start, labels.test.stop - start)
        self.held = slice(0, labels.n_validation)
        self.hidden = slice(labels.hidden.start - start, labels.hidden.stop - start)
        if chose:
            self.own = labels.validation if labels.n_validation else slice(0, start)
            self.test = slice(0, self.own.stop - self.own.start)
        self.label, self.group = labels.label[self.own], labels.group[self.own]
        self.k = min(3, len(self.names) - 1)
        if not len(self.label):
            raise DataError(
                "the test part holds no picture of a known class",
                hint="raise the last share of [question] split, then: likewise label",
            )
        counts = np.bincount(labels.label[:start], minlength=len(self.names))
        self.majority = int(counts.argmax())

    def right(self, share: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(t,) whether the most probable class is the true one, on the test pictures."""
        return in_top(share[self.test], self.label)

    @property
    def majority_right(self) -> NDArray[np.bool_]:
        """(t,) what saying the largest training class gets right."""
        found: NDArray[np.bool_] = self.label == self.majority
        return found

    def rate(self, right: NDArray[np.bool_]) -> Rate:
        """A share of the test pictures."""
        return rate(right, self.group)

    def judged(self, share: NDArray[np.float64]) -> ClassResult:
        """What the test pictures say of probabilities; the fields of a fit are empty."""
        own = share[self.test]
        loss = -np.log(np.maximum(own[np.arange(len(own)), self.label], 1e-300)).mean()
        rows, counts = per_class(own.argmax(axis=1), self.label, self.names, self.group)
        nothing = Rate(0, 0, 0.0, 1.0)
        return ClassResult(
            "", "", "", "", {}, nothing, 0.0, 1.0,
            top_1=self.rate(self.right(share)),
            top_k=self.rate(in_top(own, self.label, self.k)),
            cross_entropy=float(loss),
            per_class=rows,
            confusion=counts.tolist(),
            curve=(), steps=(), made_by={}, checks={}, notes=(),
        )  # fmt: skip

    def against(
        self, best: NDArray[np.float64], others: Mapping[str, NDArray[np.float64]]
    ) -> list[Against]:
        """The best beside saying the largest class, and beside each other model."""
        first = self.right(best)
        answers = {MAJORITY: self.majority_right}
        answers |= {name: self.right(share) for name, share in others.items()}
        pairs = {name: mcnemar(first, right, self.group) for name, right in answers.items()}
        # Against the majority is another question than which of several models is the best.
        names = [name for name in pairs if name != MAJORITY]
        adjusted = holm(np.array([pairs[name].p for name in names]))
        for name, p in zip(names, adjusted.tolist(), strict=True):
            pairs[name] = replace(pairs[name], p=p)
        return [Against(name, paired) for name, paired in pairs.items()]

    def abstention(
        self, share: NDArray[np.float64], accuracy: float, confidence: float
    ) -> Abstention:
        """A threshold promised on validation, and what it does on test and unseen pictures."""
        certainty = share.max(axis=1)
        labels = self.labels.label[self.labels.validation]
        held_right = in_top(share[self.held], labels)
        promise = promised_threshold(certainty[self.held], held_right, accuracy, confidence)
        right, test = self.right(share), certainty[self.test]
        passes = test >= promise.threshold
        promised = bool(np.isfinite(promise.threshold))
        return Abstention(
            accuracy=accuracy,
            confidence=confidence,
            threshold=promise.threshold if promised else None,
            needed=promise.needed,
            validation_pictures=promise.of,
            validation_answered=promise.answered,
            test_answered=self.rate(passes),
            test_right=rate(right[passes], self.group[passes]),
            unseen_passing=rate(certainty[self.hidden] >= promise.threshold),
            **self._curve(share),
        )

    def without_promise(self, share: NDArray[np.float64], accuracy: float) -> Abstention:
        """What silence would buy, where no pictures are left that could promise anything."""
        none = Rate(0, 0, 0.0, 1.0)
        return Abstention(accuracy, 0.0, None, 0, 0, 0, none, none, none, **self._curve(share))

    def _curve(self, share: NDArray[np.float64]) -> dict[str, list[float]]:
        certainty = share[self.test].max(axis=1)
        thresholds, coverage, kept = coverage_curve(certainty, self.right(share))
        thin = np.unique(np.linspace(0, len(kept) - 1, MOST_POINTS).round().astype(int))
        return {
            "thresholds": thresholds[thin].tolist(),
            "coverage": coverage[thin].tolist(),
            "accuracies": kept[thin].tolist(),
        }

    def limit(self, near: NDArray[np.float64], share: float) -> float:
        """The nearness that this share of the validation pictures reaches (else of the test's)."""
        own = near[self.held] if self.labels.n_validation else near[self.test]
        return float(np.quantile(own, 1 - share, method="lower"))

    def open_world(
        self, share: NDArray[np.float64], near: Callable[[], NDArray[np.float64]]
    ) -> OpenWorld | None:
        """Known and unseen classes apart, by nearness; None where no class is held out whole.

        ``near`` is asked for the (n - n_train,) nearness only where one is.
        """
        labels = self.labels
        group = np.concatenate([self.group, labels.group[labels.hidden]])
        n = len(labels.label[labels.hidden])
        if not n:
            return None
        by = [
            open_world(value[self.test], value[self.hidden], group)
            for value in (near(), share.max(axis=1))
        ]
        return OpenWorld(labels.unseen, n, *by)

    def difficult(self, share: NDArray[np.float64]) -> list[Difficult]:
        """Test pictures whose own class got the least probability, the worst first."""
        own = share[self.test]
        true = own[np.arange(len(own)), self.label]
        picture = self.labels.picture_id[self.own]
        return [
            Difficult(
                str(picture[row]),
                self.names[self.label[row]],
                self.names[int(own[row].argmax())],
                float(true[row]),
                float(own[row].max()),
            )
            for row in np.argsort(true, kind="stable")[:SHOWN].tolist()
        ]


def nearness_of(labels: Labels, matrix: Matrix) -> tuple[Nearness, NDArray[np.float64]]:
    """Nearness to the classes of training, and the (n - n_train,) of what trains nothing.

    Mirror images are left out. Beyond ``MOST_NEAR`` training pictures an even sample is taken.
    """
    rows = np.arange(labels.n_train)
    if len(rows) > MOST_NEAR:
        rows = np.linspace(0, len(rows) - 1, MOST_NEAR).round().astype(np.int64)
    near = fit_nearness(matrix.train(1)[rows], labels.label[rows])
    return near, near(matrix.test[: matrix.n_test])


def data_of(study: Study, labels: Labels) -> ClassData:
    """Sizes of the parts, and what they are made of."""
    n_train = labels.n_train
    places = {"train": slice(0, n_train), "validation": labels.validation, "test": labels.test}
    parts = [
        Part(
            name,
            len(labels.label[at]),
            int(np.unique(labels.group[at]).size),
            np.bincount(labels.label[at], minlength=len(labels.known))[
                : len(labels.known)
            ].tolist(),
        )
        for name, at in places.items()
    ]
    manifest = study.require("labels")
    return ClassData(
        parts=parts,
        split=str(manifest.made_from["params"].get("split", study.config.question.split)),
        group=str(manifest.extra.get("group", "group")),
        unseen_pictures=len(labels.label[labels.hidden]),
        held_by="validation" if labels.n_validation else "cross-validation",
        labels_fingerprint=manifest.fingerprint,
        features_fingerprint=study.require("features").fingerprint,
    )
