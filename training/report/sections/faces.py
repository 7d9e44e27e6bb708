"""Which pictures show people: confidences, the threshold, and examples on both sides of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes

from training.drawing.figures import BAD, GOOD, QUIET, Figure, beside
from training.report.context import Context, Section
from training.report.words import count, number

__all__ = ["section"]

EXAMPLES = 12


def section(context: Context) -> Section:
    """Histogram of the best confidence and example pictures with their boxes."""
    data: dict[str, Any] = {"figure": None, "examples": [], "n": 0}
    if context.manifest("faces") is not None:
        data |= _facts(context)
    return Section("faces", "Which pictures show people", "faces.html", data)


def _facts(context: Context) -> dict[str, Any]:
    columns = ["picture_id", "detector", "n_faces", "best_confidence", "status"]
    rows = context.study.read("faces", columns)
    extra = context.said("faces")
    threshold = _threshold(extra, rows)
    seen = rows.filter(pc.is_valid(rows["best_confidence"]))
    return {
        "n": rows.num_rows,
        "detector": rows["detector"][0].as_py() if rows.num_rows else None,
        "with_faces": int(pc.sum(pc.greater(rows["n_faces"], 0)).as_py() or 0),
        "failed": int(pc.sum(pc.equal(rows["status"], "failed")).as_py() or 0),
        "threshold": threshold,
        "calibration": extra.get("calibration"),
        "figure": _figure(context, seen, threshold) if seen.num_rows else None,
        "examples": _examples(context, seen, threshold),
    }


def _threshold(extra: Any, rows: pa.Table) -> float | None:
    """The stage's own word, or the least confidence that counted as a face."""
    for name in ("threshold", "min_confidence"):
        if isinstance(extra.get(name), int | float):
            return float(extra[name])
    faces = rows.filter(pc.greater(rows["n_faces"], 0))
    least = pc.min(faces["best_confidence"]).as_py()
    return None if least is None else float(least)


def _figure(context: Context, seen: pa.Table, threshold: float | None) -> Figure:
    values = seen["best_confidence"].to_numpy()
    line = -np.inf if threshold is None else threshold

    def paint(axes: Axes, wide: bool) -> None:
        edges = np.histogram_bin_edges(values, bins=40 if wide else 26).tolist()
        parts = [values[values < line], values[values >= line]]
        axes.hist(parts, bins=edges, stacked=True, color=[QUIET, GOOD], alpha=0.9)
        if threshold is not None:
            axes.axvline(threshold, color=BAD, lw=1.2, ls=(0, (4, 3)))
            top = axes.get_ylim()[1] * 1.15
            axes.set_ylim(0, top)
            right = threshold > (edges[0] + edges[-1]) / 2
            beside(axes, threshold, top, f"threshold {number(threshold)}", BAD, right=not right)
        axes.set_xlabel("confidence of the surest face")
        axes.set_ylabel("pictures")

    words = f"Histogram of the highest face confidence of {count(len(values))} pictures."
    if threshold is not None:
        words += f" The threshold {number(threshold)} is marked."
    return context.figure("faces", "How sure the detector is", words, paint)


def _examples(context: Context, seen: pa.Table, threshold: float | None) -> list[dict[str, Any]]:
    """Pictures evenly spread over the ranks of confidence, surest first."""
    if not seen.num_rows:
        return []
    seen = seen.sort_by([("best_confidence", "descending"), ("picture_id", "ascending")])
    rows = np.unique(np.linspace(0, seen.num_rows - 1, EXAMPLES).round().astype(int))
    chosen = seen.take(pa.array(rows)).to_pylist()
    boxes = _boxes(context, [row["picture_id"] for row in chosen])
    line = -np.inf if threshold is None else threshold
    return [
        {
            "thumb": context.thumbs.boxed(row["picture_id"], boxes.get(row["picture_id"], [])),
            "confidence": row["best_confidence"],
            "face": row["best_confidence"] >= line,
            "n_faces": row["n_faces"],
        }
        for row in chosen
    ]


def _boxes(context: Context, picture_ids: list[str]) -> dict[str, list[tuple[float, ...]]]:
    """The surest three boxes of each picture, as shares of its width and height."""
    wanted = pc.field("picture_id").isin(picture_ids)
    found = context.study.read("faces", ["picture_id", "boxes"], filter=wanted).to_pylist()
    sizes = {}
    if context.manifest("pictures") is not None:
        columns = ["picture_id", "width", "height"]
        for row in context.study.read("pictures", columns, filter=wanted).to_pylist():
            sizes[row["picture_id"]] = (row["width"], row["height"])
    return {
        row["picture_id"]: [_share(box, *sizes[row["picture_id"]]) for box in row["boxes"][:3]]
        for row in found
        if row["boxes"] and all(sizes.get(row["picture_id"], ())) and row["picture_id"] in sizes
    }


def _share(box: dict[str, float], width: int, height: int) -> tuple[float, ...]:
    return (box["x"] / width, box["y"] / height, box["width"] / width, box["height"] / height)
