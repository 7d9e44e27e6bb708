"""The study's answer in words, no stronger than its intervals allow."""

from __future__ import annotations
from training.report.context import Context
from training.report.figures import Figure


def sentences(context: Context) -> list[str]:
    return ["Nothing has been compared yet."]


def figure(context: Context) -> Figure | None:
    return None
