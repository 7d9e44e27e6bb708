"""A model card in Markdown: what a saved classifier is, what made it, and what it cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.statistics.sigmoid import REFUSED

__all__ = ["markdown"]

_SECTIONS = {
    "data": "Data",
    "parameters": "Parameters",
    "calibration": "Calibration",
    "weights": "Weights of the network",
}


def markdown(card: Mapping[str, Any]) -> str:
    """``card.json`` as a page for people."""
    lines = [f"# {card['name']}", "", str(card.get("summary", "")), ""]
    lines += [f"- Classifier: {card.get('classifier', card['kind'])}"]
    lines += [f"- Reads: `{card['layer']}` of {card['backbone']}, {card['dim']} values a picture"]
    if scores := card.get("scores"):
        lines += ["", "## Scores", "", *_scores(scores)]
    for key, title in _SECTIONS.items():
        if section := card.get(key):
            lines += ["", f"## {title}", "", *(f"- {k}: {_plain(v)}" for k, v in section.items())]
    if card.get("calibration", {}) is None and not card.get("class_names"):
        lines += ["", "## Calibration", "", f"Refused: {REFUSED}."]
    if limits := card.get("limits"):
        lines += ["", "## Limits", "", *(f"- {limit}" for limit in limits)]
    return "\n".join(lines) + "\n"


def _scores(scores: Mapping[str, Any]) -> list[str]:
    rows = ["| Score | Value | 95 % interval |", "|---|---|---|"]
    for name, value in scores.items():
        if isinstance(value, Mapping):
            shown, low, high = (_score(value[end]) for end in ("value", "low", "high"))
            rows.append(f"| {_words(name)} | {shown} | {low} to {high} |")
        else:
            rows.append(f"| {_words(name)} | {_plain(value)} | |")
    return rows


def _score(value: float | None) -> str:
    """Three places; 'none' for a score or an end that does not exist."""
    return "none" if value is None else f"{value:.3f}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
