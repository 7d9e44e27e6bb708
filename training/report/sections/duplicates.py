"""Copies: pictures posted more than once, and how many rows they cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from likewise.tables import AUTHOR_KEY
from training.report.context import Context, Section

__all__ = ["section"]

GROUPS = 6
SHOWN = 4


def section(context: Context) -> Section:
    """Counts by reason, and the largest groups of exact and near copies."""
    manifest = context.manifest("labels")
    funnel = (manifest.funnel if manifest else None) or {}
    dropped = {
        name: rows
        for name, rows in funnel.get("dropped", {}).items()
        if "duplicate" in name or "copy" in name
    }
    data: dict[str, Any] = {
        "dropped": dropped,
        "radius": context.study.config.label.near_duplicate_radius,
        "groups": [],
        "published": bool(context.manifest("labels")),
    }
    if context.manifest("pictures") is not None:
        data["groups"] = _groups(context)
    return Section("duplicates", "Copies", "duplicates.html", data)


def _groups(context: Context) -> list[dict[str, Any]]:
    good = pc.field("status") == "ok"
    rows = context.study.read("fetches", ["picture_id", *AUTHOR_KEY], filter=good)
    hashes = context.study.read("pictures", ["picture_id", "phash"]).drop_null()
    rows = rows.join(hashes, "picture_id", join_type="inner")
    groups = rows.group_by("phash").aggregate(
        [("picture_id", "count"), ("picture_id", "count_distinct")]
    )
    groups = groups.filter(pc.greater(groups["picture_id_count"], 1))
    largest = groups.sort_by([("picture_id_count", "descending"), ("phash", "ascending")])
    return [_group(context, rows, row) for row in largest.slice(0, GROUPS).to_pylist()]


def _group(context: Context, rows: pa.Table, row: dict[str, Any]) -> dict[str, Any]:
    members = rows.filter(pc.equal(rows["phash"], row["phash"]))
    authors = members.group_by([*AUTHOR_KEY]).aggregate([]).num_rows
    files = np.unique(members["picture_id"].to_numpy(zero_copy_only=False))[:SHOWN]
    return {
        "posts": row["picture_id_count"],
        "files": row["picture_id_count_distinct"],
        "authors": authors,
        "thumbs": [context.thumbs.square(str(one), 96) for one in files],
    }
