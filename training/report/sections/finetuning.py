"""The course of fine-tuning: loss, accuracy and average precision by iteration."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from training.drawing.figures import BAD, GOOD, THIRD, Figure, legend
from training.report.context import Context, Section

__all__ = ["section"]

METRICS = {"loss": "loss", "accuracy": "accuracy", "average_precision": "average precision"}
COLOURS = {"train": BAD, "validation": GOOD, "test": THIRD}


def section(context: Context) -> Section:
    """Curves of ``reports/finetune.json`` and the scores on held-out authors."""
    found = _read(context)
    data: dict[str, Any] = {"found": found, "figures": [], "scores": {}}
    if found is not None:
        data["figures"] = [
            figure
            for metric, words in METRICS.items()
            if (figure := _figure(context, metric, words, found["curves"])) is not None
        ]
        scores = found.get("scores") or {}
        data["scores"] = {
            name.removeprefix("test_"): value
            for name, value in scores.items()
            if name.startswith("test_") and isinstance(value, Mapping)
        }
    return Section("finetuning", "Fine-tuning the network", "finetuning.html", data)


def _read(context: Context) -> Mapping[str, Any] | None:
    path = context.study.root / "reports" / "finetune.json"
    try:
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return content


def _figure(
    context: Context, metric: str, words: str, points: Sequence[Mapping[str, Any]]
) -> Figure | None:
    lines: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for point in points:
        if point["metric"] == metric and point["value"] is not None:
            lines[point["part"]].append((point["iteration"], point["value"]))
    if not lines:
        return None

    def paint(axes: Axes, wide: bool) -> None:
        for part, line in lines.items():
            x, y = zip(*sorted(line), strict=True)
            marker = "o" if len(x) < 20 else ""
            axes.plot(x, y, color=COLOURS.get(part, THIRD), marker=marker, ms=3.5, label=part)
        axes.set_xlabel("iteration")
        axes.set_ylabel(words)
        legend(axes, wide)

    ends = "; ".join(f"{part} ends at {sorted(line)[-1][1]:.3f}" for part, line in lines.items())
    title = f"Fine-tuning: {words} by iteration"
    return context.figure(f"finetune-{metric}", title, f"{title}: {ends}.", paint, height=2.8)
