"""The comparison: which classifier tells good from bad, or classes; a cell opens its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from likewise.errors import LikewiseError
from training.comparison import results
from training.comparison.results import Result
from training.data.question import asks_classes
from web.snapshots import Snapshot, SnapshotDep
from web.templating import page

if TYPE_CHECKING:
    from training.comparison.class_results import ClassResult

__all__ = ["router"]

router = APIRouter()

NAMES = {
    "linear-svc": "LinearSVC",
    "random-forest": "Random forest",
    "svm-with-sgd": "SVMWithSGD (MLlib)",
    "softmax": "Softmax layer",
    "last-layer": "Softmax layer, by steps",
    "binary-tree": "Tree of binary classifiers",
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
    if asks_classes(snapshot.study):
        return _classes(request, snapshot)
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


def _classes(request: Request, snapshot: Snapshot) -> Response:
    """The same of a study that asks which class a picture is of."""
    from training.comparison import class_results  # SciPy and scikit-learn come with it

    problem = None
    try:
        found = class_results.load(snapshot.study)
    except LikewiseError as error:
        found, problem = None, f"{error}. {error.hint or ''}"
    if found is None:
        return page(request, "compare.html", content=None, problem=problem)
    best, index = found.best_result, snapshot.index
    return page(
        request,
        "compare_classes.html",
        content=found,
        best=best,
        names=NAMES,
        heat=_heat(best),
        # What a model said of each picture is known of the published one alone.
        opens=index is not None and index.facts["published"] == best.model,
    )


def _heat(row: ClassResult) -> list[list[int]]:
    """How dark each cell is, 0 ... 4: its share of the pictures of its class."""
    return [[-(-4 * n // max(sum(line), 1)) for n in line] for line in row.confusion]


def _curve(row: Result, *, best: bool) -> Curve:
    name = f"{NAMES.get(row.classifier, row.classifier)}, {row.layer}, {row.set}"
    return Curve(name, _points(row.pr_curve.recall, row.pr_curve.precision), best)


def _points(across: Sequence[float], up: Sequence[float]) -> str:
    pairs = list(zip(across, up, strict=True))
    step = max(1, len(pairs) // 200)
    kept = [*pairs[::step], *pairs[-1:]]
    return " ".join(f"{100 * x:.2f},{100 - 100 * y:.2f}" for x, y in kept)
