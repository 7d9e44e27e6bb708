"""What moved since the last night, and what differs from another state that was compared."""

from __future__ import annotations

import json
from typing import Any

from training.changes import FILE
from training.report.context import Context, Section

__all__ = ["section"]

SHOWN = 6
"""Pictures of either kind that are shown."""


def section(context: Context) -> Section:
    """The last night beside this one, and the last ``likewise diff`` that ended here."""
    night = context.moved
    data: dict[str, Any] = {"night": None, "diff": _last_diff(context)}
    if night is not None:
        data["night"] = night.to_dict()
        pictures = (("Entered", night.entered), ("Left", night.left))
        # Which pictures these are says more than their names.
        data["top"] = [
            {"title": title, "n": len(ids), "thumbs": _thumbs(context, ids)}
            for title, ids in pictures
            if ids
        ]
    return Section("changes", "What moved since the last night", "changes.html", data)


def _thumbs(context: Context, ids: Any) -> list[str]:
    shown = ids[: min(SHOWN, context.sharing.top or SHOWN)]
    return [context.thumbs.square(one) for one in shown]


def _last_diff(context: Context) -> Any:
    try:
        text = (context.study.root / "reports" / FILE).read_text(encoding="utf-8")
        return json.loads(text)
    except (FileNotFoundError, json.JSONDecodeError):
        return None
