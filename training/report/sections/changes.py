"""What differs from another study or an earlier night, as ``likewise diff`` found it."""

from __future__ import annotations

import json

from training.report.context import Context, Section

__all__ = ["section"]

FILE = "diff.json"
"""What ``training.diff`` writes; the report imports no verb."""


def section(context: Context) -> Section:
    """The last ``likewise diff`` whose second side was this study; empty without one."""
    try:
        text = (context.study.root / "reports" / FILE).read_text(encoding="utf-8")
        found = json.loads(text)
    except (FileNotFoundError, json.JSONDecodeError):
        return Section("changes", "What changed", "missing.html")
    return Section("changes", "What changed", "changes.html", found)
