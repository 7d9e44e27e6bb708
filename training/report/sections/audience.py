"""Followers before and after the MAD rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from training.drawing.figures import BAD, GOOD, QUIET, Figure, beside, legend
from training.report.context import Context, Section
from training.report.words import count, number

__all__ = ["power", "section"]


def section(context: Context) -> Section:
    """Histogram of followers with the bounds of the rule."""
    extra = context.said("kept_posts")
    bounds, histogram = extra.get("bounds"), extra.get("histogram")
    figure = _figure(context, bounds, histogram) if bounds and histogram else None
    data = {
        "bounds": bounds,
        "authors": extra.get("authors") or {},
        "audience": extra.get("audience", "followers"),
        "figure": figure,
        "published": context.manifest("kept_posts") is not None,
    }
    return Section("audience", "Whose posts count", "audience.html", data)


def power(value: float, _position: object = None) -> str:
    """A tick of a log10 axis as a plain number: 3 -> '1,000', 6 -> '1 M'."""
    whole = 10**value
    for size, sign in ((1e9, " G"), (1e6, " M")):
        if whole >= size:
            return f"{whole / size:g}{sign}"
    return f"{whole:,.0f}" if whole >= 1 else f"{whole:g}"


def _figure(context: Context, bounds: Mapping[str, Any], histogram: Mapping[str, Any]) -> Figure:
    def paint(axes: Axes, wide: bool) -> None:
        before, after = histogram["before"], histogram["after"]
        axes.stairs(before["counts"], before["edges"], color=QUIET, lw=1.2, label="all authors")
        axes.stairs(
            after["counts"], after["edges"], color=GOOD, fill=True, alpha=0.85, label="kept"
        )
        top = max(before["counts"], default=1) * 1.12
        for name in ("lower", "upper"):
            value = float(bounds[name])
            if value <= 0 or not np.isfinite(value):
                continue
            place = float(np.log10(value))
            axes.axvline(place, color=BAD, lw=1.2, ls=(0, (4, 3)))
            beside(axes, place, top, number(value), BAD, right=name == "upper")
        axes.set_ylim(0, top)
        axes.set_xlabel("followers (log scale)")
        axes.set_ylabel("authors")
        axes.xaxis.set_major_locator(_decades())
        axes.xaxis.set_major_formatter(FuncFormatter(power))
        legend(axes, wide)

    words = (
        f"Histogram of {count(bounds['n'])} authors' followers on a log scale; the rule keeps "
        f"{number(bounds['lower'])} to {number(bounds['upper'])} followers, "
        f"{count(bounds['kept'])} authors."
    )
    return context.figure("audience", "Followers before and after the MAD rule", words, paint)


def _decades() -> Any:
    return MaxNLocator(integer=True, nbins=7)
