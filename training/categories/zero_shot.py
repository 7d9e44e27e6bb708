"""Paper 2's experiment: an ImageNet network's own labels read as everyday categories.

A picture is right at top-1 when the class that the network says counts as the picture's category,
and right at top-5 when one of its five most probable classes does (Jeong and Cho 2017, 3.1).
Categories without any class are always wrong; totals are given with and without them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.categories.maps import CategoryMap
from training.statistics.classes import Rate, rate

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PAPER", "CategoryRow", "ZeroShot", "evaluate"]

PAPER: dict[str, tuple[float, float]] = {
    "AlexNet": (49.58, 35.42),
    "ResNet-50": (40.42, 25.00),
    "Inception v3": (30.42, 20.83),
    "Inception v3, last layer retrained (abstract)": (5.00, 0.00),
    "Inception v3, last layer retrained (Table 3: 5 of 240)": (2.08, 0.00),
}
"""Top-1 and top-5 errors in per cent that paper 2 prints; its abstract contradicts its Table 3."""


@dataclass(frozen=True, slots=True)
class CategoryRow:
    """Errors of one category at top-1 and top-5; ``covered`` is False without any class."""

    name: str
    covered: bool
    top1: Rate
    top5: Rate


@dataclass(frozen=True)
class ZeroShot:
    """The table of paper 2 for one network: a row a category, and the totals."""

    rows: tuple[CategoryRow, ...]
    total: CategoryRow
    covered_total: CategoryRow

    def text(self) -> str:
        """The table as people read it; ``*`` marks categories that the network cannot say."""
        lines = [f"{'category':<24}{'top-1 error':<44}top-5 error"]
        for row in (*self.rows, self.total, self.covered_total):
            name = row.name if row.covered else f"*{row.name}"
            lines.append(f"{name:<24}{row.top1!s:<44}{row.top5!s}")
        return "\n".join(lines)


def evaluate(
    logits: NDArray[np.float32], category: NDArray[np.int64], categories: CategoryMap
) -> ZeroShot:
    """Errors of a network's own labels on pictures of known categories.

    Args:
        logits: (n, 1000) scores before the softmax.
        category: (n,) index into ``categories.names`` of each picture.
        categories: which classes count as which category.
    """
    best = np.argsort(-logits, axis=1, kind="stable")[:, :5]
    said = categories.category_of_class[best]
    wrong1 = said[:, 0] != category
    wrong5 = (said != category[:, None]).all(axis=1)
    uncovered = {categories.names.index(name) for name in categories.uncovered}
    covered = ~np.isin(category, list(uncovered))

    def row(name: str, where: NDArray[np.bool_], *, known: bool = True) -> CategoryRow:
        return CategoryRow(name, known, rate(wrong1[where]), rate(wrong5[where]))

    rows = tuple(
        row(name, category == at, known=at not in uncovered)
        for at, name in enumerate(categories.names)
        if (category == at).any()
    )
    everything = np.ones(len(category), bool)
    return ZeroShot(rows, row("total", everything), row("total without *", covered))
