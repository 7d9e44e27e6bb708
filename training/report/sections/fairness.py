"""Does the model work alike for everyone: results by number of faces and by account size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes

from likewise.tables import AUTHOR_KEY
from training.data.unit import unit_codes
from training.drawing.figures import GOOD, INK, LINE, QUIET, Figure
from training.report.context import Context, Section
from training.report.words import count
from training.statistics.intervals import bounded, leave_out
from training.statistics.metrics import average_precision, roc_auc

__all__ = ["section"]

LEAST = 10


def section(context: Context) -> Section:
    """ROC AUC, average precision and shares of good in each group of held-out pictures."""
    data: dict[str, Any] = {"groups": [], "figure": None, "ranked": False}
    if context.manifest("scores") is not None:
        rows = _held_out(context)
        data["ranked"] = True
        data["groups"] = groups = _groups(rows, context.study.config.study.seed)
        if any(np.isfinite(row["auc"]) for row in groups):
            data["figure"] = _figure(context, groups)
    return Section("fairness", "Does it work alike for everyone", "fairness.html", data)


def _held_out(context: Context) -> pa.Table:
    columns = ["picture_id", "n_faces", "audience", "label", "group_key", "split"]
    labels = context.study.read("labels", columns)
    labels = labels.filter(pc.equal(labels["split"], "test"))
    columns = ["picture_id", *AUTHOR_KEY, "score", "probability"]
    scores = context.study.read("scores", columns)
    return labels.join(scores, "picture_id", join_type="inner").combine_chunks()


def _groups(rows: pa.Table, seed: int) -> list[dict[str, Any]]:
    frame = rows.to_pandas()
    author = unit_codes(rows)
    label, score = frame["label"].to_numpy(np.int64), frame["score"].to_numpy(np.float64)
    found = []
    for kind, name, mask in _masks(frame["n_faces"], frame["audience"]):
        if not mask.any():
            continue
        group = {
            "kind": kind,
            "name": name,
            "pictures": int(mask.sum()),
            "authors": len(np.unique(author[mask])),
            "good": float(label[mask].mean()),
            "said": _said(frame["probability"].to_numpy(np.float64)[mask]),
        }
        found.append(group | _measures(label[mask], score[mask], author[mask], seed))
    return found


def _said(probability: Any) -> float:
    """Share of (n,) pictures called good; NaN where the model has no probabilities."""
    return float((probability >= 0.5).mean()) if np.isfinite(probability).all() else float("nan")


def _masks(faces: Any, followers: Any) -> list[tuple[str, str, Any]]:
    """(kind, name, rows) of every group: all, by faces, by thirds of followers."""
    masks = [("all", "all held-out pictures", np.ones(len(faces), bool))]
    if faces.notna().any():
        counts = faces.to_numpy(np.float64)
        bounds = ((0, 0, "no face"), (1, 1, "one face"), (2, 2, "two faces"))
        masks += [("faces", name, (counts >= a) & (counts <= b)) for a, b, name in bounds]
        masks.append(("faces", "three or more", counts >= 3))
    sizes = followers.to_numpy(np.float64)
    if len(sizes) and np.isfinite(sizes).all():  # without followers only likes are compared
        low, high = np.quantile(sizes, [1 / 3, 2 / 3])
        masks += [
            ("followers", f"up to {count(low)} followers", sizes <= low),
            ("followers", f"to {count(high)} followers", (sizes > low) & (sizes <= high)),
            ("followers", f"above {count(high)} followers", sizes > high),
        ]
    return masks


def _measures(label: Any, score: Any, author: Any, seed: int) -> dict[str, Any]:
    """Both scores with intervals; NaN where a group is small or of one class."""
    nothing = {"auc": np.nan, "auc_low": np.nan, "auc_high": np.nan, "ap": np.nan}
    nothing |= {"ap_low": np.nan, "ap_high": np.nan}
    if min(label.sum(), len(label) - label.sum()) < LEAST:
        return nothing
    measures = {"auc": roc_auc, "ap": average_precision}
    without = leave_out(author, seed).values(
        lambda weight: {name: measure(label, score, weight) for name, measure in measures.items()}
    )
    answer: dict[str, Any] = {}
    for name, measure in measures.items():
        value = float(measure(label, score))
        low, high = bounded(value, without[name])
        answer |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return answer


def _figure(context: Context, groups: list[dict[str, Any]]) -> Figure:
    rows = [row for row in groups if np.isfinite(row["auc"])]

    def paint(axes: Axes, wide: bool) -> None:
        for place, row in enumerate(rows):
            colour = INK if row["kind"] == "all" else GOOD
            axes.plot([row["auc_low"], row["auc_high"]], [place, place], color=colour, lw=2.2)
            axes.plot(row["auc"], place, "o", color=colour, ms=6)
        axes.axvline(0.5, color=QUIET, lw=1, ls=(0, (4, 3)))
        axes.axvspan(rows[0]["auc_low"], rows[0]["auc_high"], color=LINE, alpha=0.4, lw=0)
        names = [row["name"].replace(" followers", "") if not wide else row["name"] for row in rows]
        axes.set_yticks(range(len(rows)), names)
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel("ROC AUC (0.5: chance)")
        axes.spines["left"].set_visible(False)

    words = "ROC AUC with 95 % intervals: " + "; ".join(
        f"{row['name']} {row['auc']:.2f} ({row['auc_low']:.2f} to {row['auc_high']:.2f})"
        for row in rows
    )
    return context.figure(
        "fairness",
        f"ROC AUC in each group, 95 % intervals by {context.unit.one}",
        words + ".",
        paint,
        height=0.34 * len(rows) + 0.7,
    )
