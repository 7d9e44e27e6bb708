"""The comparison: which classifier tells good from bad, with curves; a cell opens its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from likewise.errors import LikewiseError
from training.comparison import results
from training.comparison.results import Result
from web.snapshots import SnapshotDep
from web.templating import page

__all__ = ["router"]

router = APIRouter()

NAMES = {
    "linear-svc": "LinearSVC",
    "random-forest": "Random forest",
    "svm-with-sgd": "SVMWithSGD (MLlib)",
}


@dataclass(frozen=True, slots=True)
class Curve:
    """A precision-recall curve as points of an SVG of 100 x 100."""

    name: str
    points: str
    best: bool


@router.get("/compare")
def compare(request: Request, snapshot: SnapshotDep) -> Response:
    """Tables, curves, model against model, and who was taken for what."""
    problem = None
    found = None
    try:
        found = results.load(snapshot.study)
    except LikewiseError as error:
        problem = f"{error}. {error.hint or ''}"
    models = snapshot.index.models if snapshot.index is not None else []
    shown: dict[str, Any] = {"content": found, "problem": problem, "names": NAMES, "models": models}
    if found is not None:
        shown["curves"] = [_curve(row, best=row.model == found.best) for row in found.results]
        shown["chance"] = found.chance
    return page(request, "compare.html", **shown)


def _curve(row: Result, *, best: bool) -> Curve:
    name = f"{NAMES.get(row.classifier, row.classifier)}, {row.layer}, {row.set}"
    return Curve(name, _points(row.pr_curve.recall, row.pr_curve.precision), best)


def _points(across: Sequence[float], up: Sequence[float]) -> str:
    pairs = list(zip(across, up, strict=True))
    step = max(1, len(pairs) // 200)
    kept = [*pairs[::step], *pairs[-1:]]
    return " ".join(f"{100 * x:.2f},{100 - 100 * y:.2f}" for x, y in kept)
