"""The comparison as rows of its table and as text: the paper's two tables, with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["comparison_rows", "text"]


def comparison_rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table ``comparison`` from the content of ``comparison.json``."""
    rows: list[dict[str, Any]] = []
    for result in content["results"]:
        rows += _curve_rows(result)
        rows += _test_rows(result, result["classifier"], result["made_by"]["model"])
    for baseline in content["baselines"]:
        rows += _test_rows(baseline, f"baseline:{baseline['name']}", "scikit-learn and NumPy")
    return rows


def _curve_rows(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for point in result["curve"]:
        name = ", ".join(f"{key}={value:g}" for key, value in point["parameters"].items())
        folds = [(int(fold), value) for fold, value in point["folds"].items()]
        values: list[tuple[int | None, float | None]] = [(None, point["mean"]), *folds]
        for fold, value in values:
            yield {
                **_place(result),
                "classifier": result["classifier"],
                "parameters": name,
                "part": "cv",
                "fold": fold,
                "metric": "average_precision",
                "value": value,
                "made_by": result["made_by"]["curve"],
            }


def _test_rows(found: Mapping[str, Any], classifier: str, by: str) -> Iterator[dict[str, Any]]:
    for metric, score in found["metrics"].items():
        yield {
            **_place(found),
            "classifier": classifier,
            "parameters": "",
            "part": "test",
            "metric": metric,
            **score,
            "made_by": by,
        }


def _place(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: found.get(key) for key in ("layer", "set", "model")}


def text(content: Mapping[str, Any]) -> str:
    """What ``likewise compare`` prints: a table for each layer, the baselines, and the answer."""
    results = content["results"]
    parts = [_layer_table(layer, results) for layer in _unique(results, "layer")]
    parts.append(_baseline_table(content["baselines"]))
    parts.append("\n".join(content["sentences"]))
    parts += [f"Note: {words}" for words in content["notes"]]
    parts.append(f"Best in cross-validation: {content['best']}")
    return "\n\n".join(parts)


def _unique(results: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    return list(dict.fromkeys(str(result[key]) for result in results))


def _layer_table(layer: str, results: Sequence[Mapping[str, Any]]) -> str:
    own = [result for result in results if result["layer"] == layer]
    sets = sorted(_unique(own, "set"))
    cells = {(r["classifier"], r["set"]): _cell(r["metrics"]["average_precision"]) for r in own}
    head = [f"{layer}: average precision", *(_SETS[name] for name in sets)]
    body = [
        [name, *(cells.get((name, column), "-") for column in sets)]
        for name in _unique(own, "classifier")
    ]
    return _grid([head, *body])


_SETS = {"flipped": "flipped + normal", "normal": "normal"}


def _baseline_table(baselines: Sequence[Mapping[str, Any]]) -> str:
    body = [[b["name"], _cell(b["metrics"]["average_precision"])] for b in baselines]
    return _grid([["baselines: average precision", "held-out authors"], *body])


def _cell(score: Mapping[str, float]) -> str:
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def _grid(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
