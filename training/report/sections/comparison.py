"""comparison."""

from __future__ import annotations
from training.report.context import Context, Section

__all__ = ["section"]


def section(context: Context) -> Section:
    return Section("comparison", "comparison", "missing.html", {})
