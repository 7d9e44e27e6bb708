"""Figures: drawn once by Matplotlib, kept as files, and put into the page in the page's colours.

The inline SVG names CSS variables in place of colours, so one drawing serves light, dark and
print; text stays text. Each figure is drawn in two shapes, for wide and for narrow screens.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

__all__ = [
    "BAD",
    "GOOD",
    "INK",
    "LINE",
    "QUIET",
    "THIRD",
    "Figure",
    "Painter",
    "beside",
    "draw",
    "legend",
]

INK, QUIET, LINE = "#1d2127", "#59606c", "#d9d9d2"
GOOD, BAD, THIRD = "#1f5fa8", "#b04a1e", "#6b5b95"

_VARIABLES = {
    INK: "var(--ink)",
    QUIET: "var(--quiet)",
    LINE: "var(--line)",
    GOOD: "var(--good)",
    BAD: "var(--bad)",
    THIRD: "var(--third)",
}

_STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.grid": False,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "text.parse_math": False,
}

Painter = Callable[[Axes, bool], None]
"""Draws into the axes; the flag is true for the wide shape."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawn figure: ``name`` of its files, what it shows in words, and the two inline SVGs."""

    name: str
    title: str
    words: str
    wide: Markup
    narrow: Markup


def draw(
    folder: Path,
    name: str,
    title: str,
    words: str,
    paint: Painter,
    *,
    height: float = 2.8,
    narrow_height: float | None = None,
    width: float = 7.2,
) -> Figure:
    """Draw a figure and write ``folder/name.png`` and ``.svg``.

    ``words`` says in a sentence what can be seen: it is the text alternative. Heights in inches;
    the shapes are ``width`` and 3.7 inches wide.
    """
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        wide = _painted(paint, width, height, wide=True)
        narrow = _painted(paint, 3.7, narrow_height or height, wide=False)
        wide.savefig(folder / f"{name}.png", dpi=160, facecolor="white")
        wide.savefig(folder / f"{name}.svg", facecolor="white", metadata={"Date": None})
        shapes = [
            _inline(canvas, f"{name}-{shape}", words)
            for canvas, shape in ((wide, "wide"), (narrow, "narrow"))
        ]
    return Figure(name, title, words, *shapes)


def legend(axes: Axes, wide: bool) -> None:
    """The legend beside the curves, or below them on a narrow screen; never on top of them."""
    if wide:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=9)
    else:
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.24), fontsize=8.5)


def beside(axes: Axes, x: float, y: float, words: str, colour: str, *, right: bool) -> None:
    """Words a little to the right or left of the point (x, y), below it."""
    axes.annotate(
        words,
        (x, y),
        (5 if right else -5, 0),
        textcoords="offset points",
        ha="left" if right else "right",
        va="top",
        color=colour,
        fontsize=9,
    )


def _painted(paint: Painter, width: float, height: float, *, wide: bool) -> Canvas:
    canvas = Canvas(figsize=(width, height), layout="constrained")
    axes = canvas.add_subplot()
    axes.tick_params(length=0, pad=5)
    paint(axes, wide)
    return canvas


def _inline(canvas: Canvas, name: str, words: str) -> Markup:
    """The drawing as an ``svg`` element with colours of the page and ids of its own."""
    file = StringIO()
    canvas.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|style).*?</\1>", "", text, flags=re.DOTALL)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(
        r' id="([^"]+)"',
        lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "",
        text,
    )
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    text = re.sub(
        r"font(-family)?: ([^;\"]*?)('DejaVu Sans'[^;\"]*)", r"font\1: \2var(--sans)", text
    )
    view = re.search(r'viewBox="([^"]+)"', text)
    assert view is not None
    head = f'<svg viewBox="{view[1]}" role="img" aria-label="{Markup.escape(words)}">'
    return Markup(head + text[text.index(">") + 1 :].strip())  # noqa: S704 - Matplotlib escapes
