"""Which properties differ between two groups of pictures, by how much, and how sure that is.

Means are compared in units of the property's standard deviation. Authors, not pictures, are drawn
in the bootstrap, since the pictures of one author are alike. The intervals are simultaneous: all of
them hold their true value together in 95 % of studies (single-step max-t; Westfall and Young,
Resampling-Based Multiple Testing, Wiley 1993, section 2.6). ``p_swap`` holds the largest difference
against what comes out when whole authors of as many pictures swap their groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import false_discovery_control, norm

from training.explanation.scenes import GROUPS
from training.statistics.bootstrap import author_weights
from training.statistics.permutation import permuted_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LEAST", "Difference", "differences", "effects", "holm"]

RESAMPLES = 2000
PERMUTATIONS = 999
LEAST = 8
"""Pictures at either side below which a property is left out."""

WORDS = {
    "brightness": ("brighter", "darker"),
    "contrast": ("richer in contrast", "poorer in contrast"),
    "saturation": ("more saturated", "less saturated"),
    "warmth": ("warmer in colour", "cooler in colour"),
    "colourfulness": ("more colourful", "less colourful"),
    "sharpness": ("sharper", "softer"),
    "megapixels": ("larger in pixels", "smaller in pixels"),
    "aspect": ("wider", "taller"),
    "faces": ("with more faces", "with fewer faces"),
    "face size": ("with larger faces", "with smaller faces"),
    "people": ("with more people in full", "with fewer people in full"),
    "text area": ("with more text", "with less text"),
    "animals": ("more like animals", "less like animals"),
    "dogs and cats": ("more like dogs and cats", "less like dogs and cats"),
    "food": ("more like food", "less like food"),
    "landscape": ("more like landscapes", "less like landscapes"),
    "plants and fruit": ("more like plants and fruit", "less like plants and fruit"),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One property in two groups, the upper and the lower.

    ``effect`` is (top - bottom) in standard deviations; ``low`` and ``high`` are its simultaneous
    95 % interval; ``p`` is unadjusted, ``p_holm`` and ``p_bh`` are adjusted for all properties;
    ``p_swap`` is that of the test by exchange, adjusted, None where no two authors can be swapped.
    """

    name: str
    top: float
    bottom: float
    n: int
    effect: float
    low: float
    high: float
    p: float
    p_holm: float
    p_bh: float
    p_swap: float | None

    @property
    def supported(self) -> bool:
        """True when the simultaneous interval leaves zero out.

        What an ImageNet head takes a picture for must hold against swapped authors, too: its
        shares are skew, and a few pictures can move a mean.
        """
        sure = self.low > 0 or self.high < 0
        if self.name in GROUPS:
            return sure and self.p_swap is not None and self.p_swap <= 0.05
        return sure

    @property
    def words(self) -> str:
        """'brighter' or 'darker'; empty where neither is supported."""
        if not self.supported:
            return ""
        more, less = WORDS.get(self.name, (f"higher in {self.name}", f"lower in {self.name}"))
        return more if self.effect > 0 else less

    @property
    def size(self) -> str:
        """'+0.45, +0.21 to +0.69'."""
        ends = f"{self.low:+.2f} to {self.high:+.2f}"
        return f"{self.effect:+.2f}, {ends}".replace("-", "\u2212")


def effects(found: Sequence[Difference]) -> str:
    """'brighter (+0.45, +0.21 to +0.69), sharper (...)', the strongest first; '' without any."""
    return ", ".join(f"{d.words} ({d.size})" for d in found if d.words)


def differences(
    values: Mapping[str, NDArray[np.float64]],
    top: NDArray[np.bool_],
    author: NDArray[np.int64],
    *,
    seed: int = 1,
    resamples: int = RESAMPLES,
) -> list[Difference]:
    """Compare the rows where ``top`` is true with the others, property by property.

    Args:
        values: (n,) array for each property; NaN where unknown.
        top: (n,) flags.
        author: (n,) author of each row, the unit of the bootstrap and of the swaps.
        seed: of both.
        resamples: bootstrap samples.

    Returns:
        One ``Difference`` for each property that varies and is known of enough pictures and authors
        at both ends, largest absolute effect first.
    """
    weights = author_weights(author, resamples, seed)
    draws = {name: _effect(x, top, weights) for name, x in values.items() if _varies(x, top)}
    # A draw of authors may miss one end altogether; a property of too few authors is left out.
    draws = {name: own for name, own in draws.items() if np.isfinite(own).mean() > 0.9}
    if not draws:
        return []
    usable = {name: values[name] for name in draws}
    found = np.array([_effect(x, top, None)[0] for x in usable.values()])
    drawn = np.stack(list(draws.values()))
    drawn = drawn[:, np.isfinite(drawn).all(axis=0)]
    spread = drawn.std(axis=1, ddof=1)
    spread = np.where(spread > 0, spread, np.nan)
    t = np.abs(drawn - found[:, None]) / spread[:, None]
    reach = float(np.nanquantile(np.nanmax(t, axis=0), 0.95)) * spread
    p = np.nan_to_num(2 * norm.sf(np.abs(found) / spread), nan=1.0)
    swapped = _swapped(usable, top, author, found, seed)
    adjusted = zip(holm(p), false_discovery_control(p), swapped, strict=True)
    rows = [
        Difference(
            name,
            float(np.nanmean(x[top])),
            float(np.nanmean(x[~top])),
            int(np.isfinite(x).sum()),
            float(found[i]),
            float(found[i] - reach[i]),
            float(found[i] + reach[i]),
            float(p[i]),
            float(p_holm),
            float(p_bh),
            p_swap,
        )
        for i, ((name, x), (p_holm, p_bh, p_swap)) in enumerate(
            zip(usable.items(), adjusted, strict=True)
        )
    ]
    return sorted(rows, key=lambda d: -abs(d.effect))


def _swapped(
    values: Mapping[str, NDArray[np.float64]],
    top: NDArray[np.bool_],
    author: NDArray[np.int64],
    found: NDArray[np.float64],
    seed: int,
) -> list[float | None]:
    """Share of exchanges in which the largest of all effects reaches each one's own.

    Effects are compared in units of their deviation over the exchanges, which does not hang on
    which of them is the true one: so the test is exact.
    """
    permuted = permuted_labels(top.astype(np.int64), author, PERMUTATIONS, seed + 1)
    if permuted is None:
        return [None] * len(values)
    upper = permuted.astype(np.float64)
    # A swap may empty one side of a property that few pictures have: no effect then.
    null = np.nan_to_num(np.stack([_exchanged(x, upper) for x in values.values()]))
    unit = np.maximum(null.std(axis=1), 1e-12)
    largest = (np.abs(null) / unit[:, None]).max(axis=0)
    own = np.abs(found) / unit
    return [float((1 + (largest >= t - 1e-9).sum()) / (1 + PERMUTATIONS)) for t in own]


def _exchanged(x: NDArray[np.float64], upper: NDArray[np.float64]) -> NDArray[np.float64]:
    """(b,) effects when the rows of (b, n) flags are the upper group."""
    known = np.isfinite(x)
    scaled = np.where(known, x, 0.0) / np.std(x[known])
    above, among = upper @ scaled, upper @ known
    with np.errstate(invalid="ignore", divide="ignore"):
        answer: NDArray[np.float64] = above / among - (scaled.sum() - above) / (known.sum() - among)
    return answer


def _varies(x: NDArray[np.float64], top: NDArray[np.bool_]) -> bool:
    known = np.isfinite(x)
    both = min((known & top).sum(), (known & ~top).sum()) >= LEAST
    return bool(both and np.ptp(x[known]) > 1e-12)


def _effect(
    x: NDArray[np.float64], top: NDArray[np.bool_], weights: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """(b,) differences of the weighted means in units of the property's standard deviation."""
    known = np.isfinite(x)
    scaled = np.where(known, x, 0.0) / np.std(x[known])
    rows = np.ones((1, len(x))) if weights is None else weights
    means = []
    for side in (known & top, known & ~top):
        drawn = rows[:, side]
        with np.errstate(invalid="ignore", divide="ignore"):
            means.append(drawn @ scaled[side] / drawn.sum(axis=1))
    answer: NDArray[np.float64] = means[0] - means[1]
    return answer


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's step-down adjusted p-values: they bound the chance of any false finding."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted
