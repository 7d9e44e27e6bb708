"""From posts to pictures: what every stage took in, dropped by reason, and gave out."""

from __future__ import annotations

from matplotlib.axes import Axes

from likewise.funnel import Funnel
from training.drawing.figures import GOOD, INK, QUIET, Figure
from training.report.context import Context, Section
from training.report.words import count

__all__ = ["section"]


def section(context: Context) -> Section:
    """Bars of the rows that are left after each stage, and a table of reasons."""
    steps = [f.to_dict() for f in context.study.funnels()]
    return Section(
        "funnel",
        "From posts to pictures",
        "funnel.html",
        {"steps": steps, "figure": _figure(context) if steps else None},
    )


def _bars(funnels: list[Funnel]) -> list[tuple[str, int]]:
    """What comes in, and what each stage leaves; readings of authors are another stream."""
    stream = [f for f in funnels if "author" not in f.unit] or funnels
    return [
        (f"{stream[0].unit} in", stream[0].rows_in),
        *((f"{f.stage}: {f.unit}", f.rows_out) for f in stream),
    ]


def _figure(context: Context) -> Figure:
    bars = _bars(context.study.funnels())
    largest = max(rows for _, rows in bars) or 1

    def paint(axes: Axes, wide: bool) -> None:
        places = range(len(bars))
        axes.barh(places, [rows for _, rows in bars], color=GOOD, height=0.55, alpha=0.9)
        for place, (name, rows) in enumerate(bars):
            if wide:
                axes.text(rows + largest * 0.012, place, count(rows), va="center", color=INK)
            else:
                text = f"{name}  {count(rows)}"
                axes.text(0, place - 0.48, text, va="center", color=INK, fontsize=9)
        axes.set_yticks(places if wide else [], [name for name, _ in bars] if wide else [])
        axes.tick_params(axis="y", labelcolor=QUIET)
        axes.set_ylim(len(bars) - 0.5, -0.8)
        axes.set_xlim(0, largest * 1.12)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)

    words = "; ".join(f"{name} {count(rows)}" for name, rows in bars)
    return context.figure(
        "funnel",
        "Rows left after each stage",
        f"Bars of rows left after each stage: {words}.",
        paint,
        height=0.36 * len(bars) + 0.4,
        narrow_height=0.45 * len(bars) + 0.4,
    )
