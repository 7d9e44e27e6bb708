"""What counts as liked: the distribution of the ratio and its median."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from likewise.tables import AUTHOR_KEY
from training.drawing.figures import BAD, GOOD, INK, Figure, beside
from training.report.context import Context, Section
from training.report.sections.audience import power
from training.report.words import count, number

__all__ = ["section"]

NAMES = {
    "likes/followers": "Likes per follower",
    "likes/views": "Likes per view",
    "likes": "Likes",
}
"""What ``[label] target`` compares, as a title."""


def section(context: Context) -> Section:
    """Histogram of likes / followers coloured by label, and the sizes of both halves."""
    table = context.labels
    config, said = context.study.config.label, context.said("labels")
    target, method = said.get("target", config.target), said.get("method", config.method)
    data: dict[str, Any] = {"target": target, "method": method, "figure": None}
    if table is not None and table.num_rows:
        pooled = method == "pooled"
        data |= _facts(table) | {"figure": _figure(context, table, target, pooled=pooled)}
    return Section("labels", "What counts as liked", "labels.html", data)


def _facts(table: pa.Table) -> dict[str, Any]:
    good = int(pc.sum(table["label"]).as_py())
    authors = table.group_by([*AUTHOR_KEY]).aggregate([])
    test = table.filter(pc.equal(table["split"], "test"))
    return {
        "n": table.num_rows,
        "good": good,
        "bad": table.num_rows - good,
        "authors": authors.num_rows,
        "test": test.num_rows,
        "median": float(np.median(table["ratio"].to_numpy())),
        "zeros": int(pc.sum(pc.equal(table["likes"], 0)).as_py()),
    }


def _figure(context: Context, table: pa.Table, target: str, *, pooled: bool) -> Figure:
    """The histogram; only labels that are ``pooled`` have one line for all pictures."""
    ratio, good = table["ratio"].to_numpy(), table["label"].to_numpy() == 1
    positive = ratio > 0
    logs = np.log10(ratio[positive])
    middle = float(np.median(ratio))
    sides = [logs[good[positive]], logs[~good[positive]]]

    def paint(axes: Axes, wide: bool) -> None:
        edges = np.histogram_bin_edges(logs, bins=40 if wide else 26).tolist()
        axes.hist(sides[::-1], bins=edges, stacked=True, color=[BAD, GOOD], alpha=0.9)
        top = axes.get_ylim()[1] * 1.3
        axes.set_ylim(0, top)
        if pooled and middle > 0:
            names = ("good: above the median", "bad: at or below it")
            place = float(np.log10(middle))
            axes.axvline(place, color=INK, lw=1)
            down = top * (0.98 if wide else 0.9)
            beside(axes, place, top * 0.98, names[0], GOOD, right=True)
            beside(axes, place, down, names[1], BAD, right=False)
        if not pooled:
            axes.legend(["bad", "good"][: len(sides)], frameon=False)
        axes.set_xlabel(f"{target.replace('/', ' / ')} (log scale)")
        axes.set_ylabel("pictures")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
        axes.xaxis.set_major_formatter(FuncFormatter(power))

    line = f"split at the median {number(middle)}" if pooled else "good and bad ones in colour"
    words = (
        f"Histogram of {NAMES[target].lower()} of {count(len(ratio))} pictures on a log scale, "
        f"{line}."
    )
    title = f"{NAMES[target]}, and where the line is" if pooled else f"{NAMES[target]}, by label"
    return context.figure("labels", title, words, paint)
