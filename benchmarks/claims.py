"""How often ``compare`` claims what is not there, and how often its intervals hold the truth.

    python -m benchmarks.claims                 # 1,000 worlds each: about 15 CPU-minutes
    python -m benchmarks.claims --worlds 200

Every world has held-out authors of two pictures each; labels follow an appeal of picture and
author. ``noise``: scores know nothing. ``authors alike``: half of the variance of labels and of
scores is the author's, and the two have nothing in common. ``signal``: scores know something.
``followers decide``: labels follow the audience; the picture's score follows it, too, and adds
nothing; what is known and what both know are fitted on three times as many training authors.

False claims: worlds without signal in which "beats chance" is said, or "the picture adds". Before:
the lower end of a 95 % percentile interval of 400 resamples of authors, minus the share of good
pictures in the same resample, above zero. After: ``Judge``'s verdict. Coverage: of the average
precision by its interval, truth from 400,000 pictures; of the gain over chance, truth its mean over
the worlds. Wanted: false claims at most .035, coverage .93 to .97.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression

from training.comparison.judge import Judge
from training.statistics.bootstrap import author_weights, interval
from training.statistics.metrics import Evaluation, average_precision

AUTHORS = (20, 60, 100, 300)
PICTURES = 2
PERMUTATIONS = 199
RESAMPLES = 400
MANY = 400_000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """``effect``: the author's deviation beside a picture's of 1; ``strength`` of the signal."""

    name: str
    strength: float
    effect: float

    def draw(self, rng: np.random.Generator, authors: int, pictures: int) -> Draw:
        """Labels and scores of ``authors`` times ``pictures`` pictures."""
        author = np.repeat(np.arange(authors), pictures)
        unit = np.sqrt(1 + self.effect**2)
        appeal, noise = (
            (self.effect * rng.normal(size=authors)[author] + rng.normal(size=author.size)) / unit
            for _ in range(2)
        )
        return Draw(author, (appeal > 0).astype(np.int64), self.strength * appeal + noise)


@dataclass(frozen=True)
class Draw:
    """(n,) authors, labels and scores."""

    author: NDArray[np.int64]
    label: NDArray[np.int64]
    score: Floats


WORLDS = (
    World("noise", 0.0, 0.0),
    World("authors alike", 0.0, 1.0),
    World("weak signal", 0.5, 0.5),
    World("signal", 1.0, 1.0),
    World("strong signal", 2.0, 0.5),
)


@functools.cache
def truth(world: World) -> float:
    """Average precision in the limit of many authors."""
    drawn = world.draw(np.random.default_rng(1), MANY, 1)
    return float(average_precision(drawn.label, drawn.score))


def chance_row(world: World, authors: int, worlds: int) -> str:
    """False claims (or power) before and after, and coverage before and after."""
    before, after, held_before, held, gains = [], [], [], [], []
    for seed, drawn in _worlds(world, authors, worlds):
        judge = _judge(drawn, seed)
        own = judge.held(_evaluation(drawn.label, drawn.score))
        gain = judge.against_chance(own)
        ap = judge.scores(own)["average_precision"]
        weight = author_weights(drawn.author, RESAMPLES, seed)
        resampled = average_precision(drawn.label, drawn.score, weight)
        low, high = interval(resampled)
        share = weight @ drawn.label / weight.sum(axis=1)
        before.append(interval(resampled - share)[0] > 0)
        after.append(gain.verdict == "above")
        held_before.append(low <= truth(world) <= high)
        held.append(ap.low <= truth(world) <= ap.high)
        gains.append((gain.low, gain.value, gain.high))
    ends = np.array(gains)
    middle = ends[:, 1].mean()
    covered = (ends[:, 0] <= middle) & (middle <= ends[:, 2])
    cells = [world.name, str(authors), *map(_share, (before, after, held_before, held, covered))]
    return f"| {' | '.join(cells)} |"


def _worlds(world: World, authors: int, worlds: int) -> Iterator[tuple[int, Draw]]:
    """Worlds with both classes, and their numbers."""
    for seed in range(worlds):
        drawn = world.draw(np.random.default_rng([authors, seed]), authors, PICTURES)
        if 0 < drawn.label.sum() < drawn.label.size:
            yield seed, drawn


def _judge(drawn: Draw, seed: int) -> Judge:
    return Judge(drawn.label, drawn.author, permutations=PERMUTATIONS, margin=0.02, seed=seed)


def _evaluation(label: NDArray[np.int64], score: Floats) -> Evaluation:
    return Evaluation(label, score, np.full(len(score), np.nan))


def _share(flags: list[bool] | NDArray[np.bool_]) -> str:
    """'.031 (.021-.044)': the share of worlds, and Wilson's interval of it."""
    ends = binomtest(int(np.sum(flags)), len(flags)).proportion_ci(method="wilson")
    value, low, high = (f"{x:.3f}".lstrip("0") for x in (np.mean(flags), ends.low, ends.high))
    return f"{value or '0'} ({low}-{high})"


def gain_row(authors: int, worlds: int, adds: float) -> str:
    """What the picture is said to add where followers decide; ``adds`` 0: it adds nothing."""
    said: dict[str, list[bool]] = {"chance": [], "known": [], "gain": []}
    ends = []
    for seed in range(worlds):
        rng = np.random.default_rng([7, authors, seed])
        known, label, picture, author = _audience(rng, 4 * authors, adds)
        train = author >= authors
        test = ~train
        drawn = Draw(author[test], label[test], picture[test])
        if not 0 < drawn.label.sum() < drawn.label.size:
            continue
        judge = _judge(drawn, seed)
        alone = judge.held(_evaluation(drawn.label, drawn.score))
        one, both = (
            judge.held(_evaluation(drawn.label, _fitted(design, label, train)))
            for design in (known, np.column_stack([known, picture]))
        )
        gain = judge.difference(both, one)
        said["chance"].append(judge.against_chance(alone).verdict == "above")
        said["known"].append(judge.difference(alone, one).verdict == "above")
        said["gain"].append(gain.verdict == "above")
        ends.append((gain.low, gain.value, gain.high))
    found = np.array(ends)
    middle = found[:, 1].mean()
    covered = (found[:, 0] <= middle) & (middle <= found[:, 2])
    shares = map(_share, (*said.values(), covered))
    return f"| {adds:g} | {authors} | {' | '.join(shares)} | {middle:+.4f} |"


def _audience(
    rng: np.random.Generator, authors: int, adds: float
) -> tuple[Floats, NDArray[np.int64], Floats, NDArray[np.int64]]:
    """log followers and square, labels, picture scores that follow the audience, authors."""
    author = np.repeat(np.arange(authors), PICTURES)
    audience = rng.normal(size=authors)[author]
    looks = rng.normal(size=author.size)
    appeal = -audience + adds * looks + 0.5 * rng.normal(size=author.size)
    picture = -0.5 * audience + looks
    known = np.column_stack([audience, audience**2])
    return known, (appeal > 0).astype(np.int64), picture, author


def _fitted(design: Floats, label: NDArray[np.int64], train: NDArray[np.bool_]) -> Floats:
    model = LogisticRegression(max_iter=2000).fit(design[train], label[train])
    decision: Floats = model.decision_function(design[~train])
    return decision


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--worlds", type=int, default=1000)
    options = parser.parse_args()
    started = time.process_time()
    print("| World | Authors | Claims before | Claims | AP held before | AP held | Gain held |")
    print("|---|---|---|---|---|---|---|")
    for world in WORLDS:
        for authors in AUTHORS:
            print(chance_row(world, authors, options.worlds), flush=True)
    print("\nFollowers decide; the picture's own part in the last rows is 0.5.\n")
    print("| Picture's part | Authors | Beats chance | Beats followers | Adds | Held | Mean gain |")
    print("|---|---|---|---|---|---|---|")
    for adds in (0.0, 0.5):
        for authors in AUTHORS:
            print(gain_row(authors, options.worlds, adds), flush=True)
    print(f"\n{options.worlds} worlds each, {time.process_time() - started:.0f} CPU-seconds")


if __name__ == "__main__":
    main()
