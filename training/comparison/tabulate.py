"""The comparison as rows of its table and as text: the paper's two tables, with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from training.comparison.results import BaselineResult, Comparison, Result, Score

__all__ = ["comparison_rows", "grid", "text"]


def comparison_rows(found: Comparison) -> list[dict[str, Any]]:
    """Rows of the table ``comparison``."""
    rows: list[dict[str, Any]] = []
    for result in found.results:
        place = {"layer": result.layer, "set": result.set, "model": result.model}
        rows += _curve_rows(place, result)
        rows += _test_rows(place, result.metrics, result.classifier, result.made_by["model"])
    for baseline in found.baselines:
        name = f"baseline:{baseline.name}"
        rows += _test_rows({}, baseline.metrics, name, "scikit-learn and NumPy")
    return rows


def _curve_rows(place: Mapping[str, str], result: Result) -> Iterator[dict[str, Any]]:
    for point in result.curve:
        name = ", ".join(f"{key}={_plain(value)}" for key, value in point.parameters.items())
        values: list[tuple[int | None, float | None]] = [(None, point.mean), *point.folds.items()]
        for fold, value in values:
            yield {
                **place,
                "classifier": result.classifier,
                "parameters": name,
                "part": "cv",
                "fold": fold,
                "metric": "average_precision",
                "value": value,
                "made_by": result.made_by["curve"],
            }


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _test_rows(
    place: Mapping[str, str], metrics: Mapping[str, Score], classifier: str, by: str
) -> Iterator[dict[str, Any]]:
    for metric, score in metrics.items():
        yield {
            **place,
            "classifier": classifier,
            "parameters": "",
            "part": "test",
            "metric": metric,
            **asdict(score),
            "made_by": by,
        }


def text(found: Comparison) -> str:
    """What ``likewise compare`` prints: the answer, a table for each layer, the baselines."""
    parts = ["\n".join(found.answer)]
    parts += [_layer_table(layer, found.results) for layer in _layers(found.results)]
    parts.append(_baseline_table(found.baselines, found.unit.many))
    parts.append("\n".join(found.sentences))
    parts += [f"Note: {words}" for words in found.notes]
    parts.append(f"Best in cross-validation: {found.best}")
    return "\n\n".join(parts)


def _layers(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(result.layer for result in results))


def _layer_table(layer: str, results: Sequence[Result]) -> str:
    own = [result for result in results if result.layer == layer]
    sets = sorted({result.set for result in own})
    cells = {(r.classifier, r.set): _cell(r.average_precision) for r in own}
    head = [f"{layer}: average precision", *(_SETS[name] for name in sets)]
    body = [
        [name, *(cells.get((name, column), "-") for column in sets)]
        for name in dict.fromkeys(result.classifier for result in own)
    ]
    return grid([head, *body])


_SETS = {"flipped": "flipped + normal", "normal": "normal"}


def _baseline_table(baselines: Sequence[BaselineResult], many: str) -> str:
    body = [[b.name, _cell(b.metrics["average_precision"])] for b in baselines]
    return grid([["baselines: average precision", f"held-out {many}"], *body])


def _cell(score: Score) -> str:
    if score.value is None or score.low is None or score.high is None:
        return "-"
    return f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"


def grid(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells in columns, a line below the first."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
