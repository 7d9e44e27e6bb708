"""How often one account's study claims what is not there, and how often it finds what is.

    python -m benchmarks.one_account                # 400 worlds each: about 4 CPU-minutes
    python -m benchmarks.one_account --worlds 100

A world is one account, or three, with 300 posts in 18 months at random moments. Likes are Poisson
around a level that grows fivefold and a mood; pictures have 12 features. Both moods are first-order
autoregressive in time with the correlation time that the row names, and know nothing of each other,
so every claim is false; in the last rows one feature is liked. Labels, blocks, folds and sides are
those of ``label``; the picture's score is a logistic regression's on the training blocks.

``Beats chance`` is ``Judge``'s verdict; ``adds`` that of the gain over time of day. ``By picture``
is what the same verdict would be with pictures dealt and resampled one by one. Wanted: at most .05.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from benchmarks.claims import _evaluation, _share
from filters.blocks import block_of, chosen_length
from filters.folds import assign
from filters.labels import own_level
from training.comparison.judge import Judge

POSTS, DAYS, FEATURES, PERMUTATIONS = 300, 550.0, 12, 199
START = 18_000.0
"""Days since 1970 of the first post."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """``lasting``: correlation time of both moods in days, 0 for none; ``liked``: true signal."""

    name: str
    lasting: float = 0.0
    accounts: int = 1
    liked: float = 0.0


WORLDS = (
    World("nothing lasts"),
    World("moods of 3 days", 3.0),
    World("moods of 10 days", 10.0),
    World("moods of 30 days", 30.0),
    World("moods of 100 days", 100.0),
    World("three accounts, 10 days", 10.0, accounts=3),
    World("liked, 0.25", liked=0.25),
    World("liked, 0.5", liked=0.5),
    World("liked, 0.5, moods of 10 days", 10.0, liked=0.5),
)


def mood(rng: np.random.Generator, days: Floats, lasting: float, columns: int) -> Floats:
    """(n, columns) stationary autoregressive values of variance 1 at ascending ``days``."""
    found = rng.normal(size=(len(days), columns))
    if lasting:
        keep = np.exp(-np.diff(days) / lasting)
        for row, part in enumerate(keep, 1):
            found[row] = part * found[row - 1] + np.sqrt(1 - part**2) * found[row]
    return found


def draw(world: World, seed: int) -> tuple[NDArray[np.int64], Floats, Floats, Floats]:
    """Authors, days, likes and (n, ``FEATURES``) features of a world."""
    rng = np.random.default_rng([seed, 11])
    parts = []
    for account in range(world.accounts):
        n = POSTS // world.accounts
        days = np.sort(START + rng.uniform(0, DAYS, n))
        own = mood(rng, days, world.lasting, FEATURES)
        pictures = (own + rng.normal(size=own.shape)) / np.sqrt(2)
        level = 40 * np.exp(np.log(5) * (days - START) / DAYS)
        swing = 0.3 * mood(rng, days, world.lasting, 1)[:, 0] + 0.3 * rng.normal(size=n)
        likes = rng.poisson(level * np.exp(swing + world.liked * pictures[:, 0]))
        parts.append((np.full(n, account), days, likes.astype(np.float64), pictures))
    author, days, likes, pictures = (np.concatenate(x) for x in zip(*parts, strict=True))
    return author, days, likes, pictures


def judged(world: World, seed: int) -> tuple[bool, bool, bool, int]:
    """Beats chance, adds to time of day, beats chance by picture; and days of a block."""
    author, days, likes, pictures = draw(world, seed)
    low, _ = own_level(author, days, likes, around=30)
    label = (likes > low).astype(np.int64)
    length = chosen_length(author, days, label, 1)
    unit = author * 10_000 + block_of(days, length)
    alone, adds = _claims(unit, label, pictures, days, seed)
    by_picture, _ = _claims(np.arange(len(label)), label, pictures, days, seed)
    return alone, adds, by_picture, length


def _claims(
    unit: NDArray[np.int64], label: NDArray[np.int64], pictures: Floats, days: Floats, seed: int
) -> tuple[bool, bool]:
    keys, group, sizes = np.unique(unit, return_inverse=True, return_counts=True)
    good = np.bincount(group, label).astype(np.int64)
    dealt = assign(keys, sizes, good, folds=5, test_fraction=0.25, seed=1)
    test, fold = dealt.test[group], dealt.fold[group]
    score, out_of_fold = np.zeros(len(label)), np.zeros(len(label))
    score[test] = _fit(pictures[~test], label[~test], pictures[test])
    for number in range(5):
        inside, rest = ~test & (fold == number), ~test & (fold != number)
        if inside.any():
            out_of_fold[inside] = _fit(pictures[rest], label[rest], pictures[inside])
    judge = Judge(label[test], group[test], permutations=PERMUTATIONS, margin=0.02, seed=seed)
    held = judge.held(_evaluation(label[test], score[test]))
    turn = 2 * np.pi * days
    known = np.stack([np.sin(turn), np.cos(turn), np.sin(turn / 7), np.cos(turn / 7)], axis=1)
    both = np.column_stack([known, np.where(test, score, out_of_fold)])
    one, two = (
        judge.held(_evaluation(label[test], _fit(x[~test], label[~test], x[test])))
        for x in (known, both)
    )
    beats = judge.against_chance(held).verdict == "above"
    return beats, judge.difference(two, one).verdict == "above"


def _fit(x: Floats, label: NDArray[np.int64], asked: Floats) -> Floats:
    decision: Floats = LogisticRegression(C=0.1).fit(x, label).decision_function(asked)
    return decision


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--worlds", type=int, default=400)
    options = parser.parse_args()
    started = time.process_time()
    print("| World | Beats chance | Adds | By picture | Median block, days |")
    print("|---|---|---|---|---|")
    for world in WORLDS:
        rows = [judged(world, seed) for seed in range(options.worlds)]
        alone, adds, by_picture, lengths = zip(*rows, strict=True)
        shares = " | ".join(_share(list(flags)) for flags in (alone, adds, by_picture))
        print(f"| {world.name} | {shares} | {np.median(lengths):.0f} |", flush=True)
    print(f"\n{options.worlds} worlds each, {time.process_time() - started:.0f} CPU-seconds")


if __name__ == "__main__":
    main()
