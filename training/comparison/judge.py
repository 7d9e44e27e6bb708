"""Holds every row of a comparison against the same held-out authors: intervals, tests, verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.comparison.results import Chance, Confusion, Difference, Score, Verdict
from training.statistics import intervals
from training.statistics.metrics import METRICS, chance_precision
from training.statistics.permutation import null_precisions, permutation_p, permuted_labels, swap_p

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.statistics.metrics import Evaluation

__all__ = ["ALPHA", "Held", "Judge", "finite", "verdict"]

ALPHA = 0.025
"""One-sided: as likely as the lower end of a 95 % interval lies above the truth."""

AP = "average_precision"


@dataclass(frozen=True)
class Held:
    """An evaluation with its values, and its (g,) values without each group of authors."""

    evaluation: Evaluation
    values: Mapping[str, float]
    without: Mapping[str, NDArray[np.float64]]


class Judge:
    """Deals the authors and draws the permutations once, and holds every row against them.

    Args:
        label: (n,) labels of the held-out pictures.
        author: (n,) their authors.
        permutations: of every test; 0 for none, and then nothing can be claimed.
        margin: differences of average precision below it are of no account.
        seed: of the deal and the permutations.
    """

    def __init__(
        self,
        label: NDArray[np.int64],
        author: NDArray[np.int64],
        *,
        permutations: int,
        margin: float,
        seed: int,
    ) -> None:
        self.label, self.author = label, author
        self.permutations, self.margin, self.seed = permutations, margin, seed
        self.left_out = intervals.leave_out(author, seed)
        self.permuted = (
            permuted_labels(label, author, permutations, seed + 1) if permutations else None
        )
        self.chance = Chance(chance_precision(int(label.sum()), len(label)), float(label.mean()))
        self._chance_without = self._expected()

    def _expected(self) -> NDArray[np.float64]:
        """(g,) chance without each group; NaN where no good picture is left."""
        group, count = self.left_out.group, self.left_out.count
        good = self.label.sum() - np.bincount(group, self.label, count)
        size = len(self.label) - np.bincount(group, minlength=count)
        return np.array(
            [
                chance_precision(int(g), int(n)) if g > 0 else np.nan
                for g, n in zip(good, size, strict=True)
            ]
        )

    def held(self, evaluation: Evaluation) -> Held:
        """Every metric of an evaluation, on all and without each group of authors."""
        values = {name: float(value) for name, value in evaluation.metrics().items()}
        return Held(evaluation, values, self.left_out.values(evaluation.metrics))

    def scores(self, held: Held) -> dict[str, Score]:
        """Each metric with its value and the 95 % interval over authors."""
        return {name: score_of(held.values[name], held.without[name]) for name in METRICS}

    def against_chance(self, held: Held) -> Difference:
        """Average precision minus what scores in random order are expected to get."""
        value = held.values[AP] - self.chance.average_precision
        without = held.without[AP] - self._chance_without
        null = self._null(held)
        p = permutation_p(held.values[AP], null) if null.size else None
        return self._judged(value, intervals.beyond(value, without, null), p, margin=0.0)

    def _null(self, held: Held) -> NDArray[np.float64]:
        """Average precisions under permuted labels; none where authors cannot be exchanged."""
        if self.permuted is None:
            return np.zeros(0)
        return null_precisions(held.evaluation.scores, self.permuted)

    def difference(self, left: Held, right: Held, *, tested: bool = True) -> Difference:
        """``left - right`` of average precision on the same authors.

        ``tested`` false leaves the permutation test out, and with it every claim.
        """
        value = left.values[AP] - right.values[AP]
        ends = intervals.plain(value, left.without[AP] - right.without[AP])
        p = self._swapped(left, right) if tested else None
        return self._judged(value, ends, p, margin=self.margin)

    def _swapped(self, left: Held, right: Held) -> float | None:
        if not self.permutations:
            return None
        scores = left.evaluation.scores, right.evaluation.scores
        return swap_p(self.label, *scores, self.left_out.group, self.permutations, self.seed + 2)

    def _judged(
        self, value: float, ends: tuple[float, float], p: float | None, *, margin: float
    ) -> Difference:
        low, high = ends
        found = verdict(low, high, p, margin)
        return Difference(finite(value), finite(low), finite(high), p, found)

    def confusion(self, held: Held) -> Confusion:
        """Counts at the threshold of probability 1/2."""
        said = held.evaluation.probability >= 0.5
        counts = np.zeros((2, 2), np.int64)
        np.add.at(counts, (self.label, said.astype(np.int64)), 1)
        return Confusion(("bad", "good"), counts.tolist())


def verdict(low: float, high: float, p: float | None, margin: float) -> Verdict:
    """What may be said of a difference with interval ``low`` to ``high``.

    ``above`` and ``below`` need the test as well; ``alike`` the whole interval inside the margin
    (two one-sided tests: Schuirmann 1987; here at half their usual error). That goes first: a
    gain that is surely smaller than the margin is of no account, however sure it is. A margin of
    0 asks for no equivalence.
    """
    if -margin < low and high < margin:
        return "alike"
    if low > 0 and p is not None and p <= ALPHA:
        return "above"
    if high < 0 and p is not None and p >= 1 - ALPHA:
        return "below"
    return "open"


def score_of(value: float, without: NDArray[np.float64]) -> Score:
    """A score between 0 and 1 with its interval, from its values without each group."""
    return Score(finite(value), *(finite(end) for end in intervals.bounded(value, without)))


def finite(value: float) -> float | None:
    """JSON knows no NaN: a number that does not exist is null."""
    return float(value) if np.isfinite(value) else None
