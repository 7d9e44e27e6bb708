"""What a model says of a folder: predictions, both of paper 5's rates, Grad-CAM, a table."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backbones import registry
from backbones.folder import RESULTS, find_pictures
from filters.classes import ClassNames, folder_name
from filters.pictures.decode import Hygiene, inspect
from likewise.progress import progress
from likewise.study import Study
from likewise.whole import write_bytes, write_json
from training.classification.reading import features_of
from training.models.saved import own_network
from training.search.learning import load_problem
from training.statistics.abstention import coverage_curve
from training.statistics.classes import Rate, rate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.models.classes import ClassScorer

__all__ = [
    "PAPER5",
    "Rates",
    "Said",
    "copies_of_training",
    "draw",
    "predictions",
    "rates_of",
    "study_rates",
    "truth_of",
    "write_table",
]

PAPER5 = {"total": 2025, "above": 1843, "right": 1838}
"""Wicker (2020), table 1: cats and dogs of Kaggle, a threshold of 0.99 (the text says so)."""

HOT = 0.5
"""Share of the largest heat from which a pixel belongs to the segment."""
BATCH = 8
LONGEST = 900
"""Long side of the pictures that are written, pixels."""


@dataclass(frozen=True, slots=True)
class Said:
    """One file: the most probable class with its probability, or why there is none."""

    path: Path
    name: str
    said: str | None
    probability: float
    answered: bool
    error: str | None
    truth: str | None


@dataclass(frozen=True, slots=True)
class Rates:
    """Paper 5's two rates, and accuracy against coverage over all thresholds."""

    of: str
    """What was judged: the folder, or the study's test part."""
    threshold: float
    total: Rate
    """Right and answered, of all pictures: silence counts as an error."""
    answered: Rate
    """Right, of those answered."""
    coverage: float
    curve: tuple[tuple[float, float, float], ...]
    """(threshold, coverage, accuracy), thresholds falling."""

    def rows(self) -> list[tuple[str, str, str]]:
        """The paper's table 1 beside ours."""
        total, above, right = PAPER5["total"], PAPER5["above"], PAPER5["right"]
        theirs = (rate(_first(right, total)), rate(_first(right, above)))
        return [
            ("pictures", f"{total:,}", f"{self.total.of:,}"),
            (
                "above the threshold",
                f"{above:,} ({above / total:.1%})",
                f"{self.answered.of:,} ({self.coverage:.1%})",
            ),
            ("right, of all (silence is an error)", _percent(theirs[0]), _percent(self.total)),
            ("right, of those above", _percent(theirs[1]), _percent(self.answered)),
        ]

    def text(self) -> str:
        """For people."""
        lines = [f"{self.of}, threshold {self.threshold:.15g}:", ""]
        lines.append(f"{'':<38}{'paper 5':<32}here")
        lines += [f"{name:<38}{theirs:<32}{ours}" for name, theirs, ours in self.rows()]
        return "\n".join(lines)


def _first(right: int, of: int) -> NDArray[np.bool_]:
    return np.arange(of) < right


def _percent(found: Rate) -> str:
    if not found.of:
        return "no pictures"
    return f"{found.value:.2%} ({found.low:.1%} to {found.high:.1%})"


def truth_of(path: Path, root: Path, classes: Sequence[str]) -> str | None:
    """The class that a file's folder names, where one does."""
    keys = {ClassNames.key(name): name for name in classes}
    keys |= {f"{key}s": name for key, name in keys.items()}  # Kaggle's folders are cats and dogs
    for parent in path.relative_to(root).parts[-2::-1] if path != root else ():
        found = keys.get(ClassNames.key(parent.replace("_", " ")))
        if found is not None:
            return found
    return None


def predictions(study: Study, model: ClassScorer, folder: Path, threshold: float) -> list[Said]:
    """Every picture of a folder and below, in the order of their paths.

    Raises:
        UsageError: the folder holds no picture.
    """
    paths = find_pictures(folder)
    root = folder if folder.is_dir() else folder.parent
    pictures = ((str(path), path.read_bytes()) for path in paths)
    _, errors, features = features_of(pictures, study, model, len(paths))
    share = model.probabilities(model.scores(features))
    rows, good = [], iter(share)
    for path, error in zip(paths, errors, strict=True):
        name = str(path.relative_to(root))
        truth = truth_of(path, root, model.classes)
        if error is not None:
            rows.append(Said(path, name, None, 0.0, False, error, truth))
            continue
        one = next(good)
        best = int(one.argmax())
        sure = float(one[best])
        rows.append(Said(path, name, model.classes[best], sure, sure > threshold, None, truth))
    return rows


def copies_of_training(study: Study, rows: Sequence[Said]) -> set[str]:
    """Names of files that a training or validation picture is a copy of, exactly or nearly.

    Only files of known class are looked at: the others are in no rate.
    """
    labels = study.read("labels", ["picture_id", "split"])
    ids = labels.filter(pc.not_equal(labels["split"], "test"))["picture_id"].to_pylist()
    wanted = pc.field("picture_id").isin(pa.array(ids, pa.string()))
    seen = study.read("pictures", ["picture_id", "phash"], filter=wanted)
    codes = seen["phash"].to_numpy().astype(np.int64)
    radius = study.config.label.near_duplicate_radius
    # What hygiene would say of the file does not matter here: only its hash is asked for.
    rules = Hygiene(min_side=1, max_aspect=1e9, min_contrast=0.0)
    found = set()
    judged = [one for one in rows if one.truth is not None and one.error is None]
    with progress("looking for copies", len(judged)) as bar:
        for one in judged:
            code = inspect(one.path.read_bytes(), rules).phash
            if code is not None and len(codes):
                distance = np.bitwise_count(codes ^ np.int64(code))
                if int(distance.min()) <= radius:
                    found.add(one.name)
            bar.advance()
    return found


def rates_of(
    certainty: NDArray[np.float64],
    right: NDArray[np.bool_],
    threshold: float,
    of: str,
    group: NDArray[np.int64] | None = None,
) -> Rates:
    """Both rates of (n,) answers; ``group`` is what pictures belong to that are not independent."""
    above = certainty > threshold
    thresholds, coverage, accuracy = coverage_curve(certainty, right)
    return Rates(
        of=of,
        threshold=threshold,
        total=rate(right & above, group),
        answered=rate(right[above], None if group is None else group[above]),
        coverage=float(above.mean()) if len(above) else 0.0,
        curve=tuple(zip(thresholds.tolist(), coverage.tolist(), accuracy.tolist(), strict=True)),
    )


def study_rates(study: Study, model: ClassScorer, threshold: float) -> Rates | None:
    """Rates on the study's test part; None where it has none, or its features are others."""
    from likewise.pictures import picture_bytes

    problem = load_problem(study)
    labels = problem.labels
    test = problem.rows(labels.test)
    if not len(test) or set(labels.known) != set(model.classes):
        return None
    if own_network(study, model) is None:
        if (model.card["maker"], model.layer) != (problem.maker, problem.layer):
            return None
        features = problem.features[test]
    else:
        ids = [str(one) for one in labels.picture_id[test]]
        names, errors, features = features_of(picture_bytes(study, ids), study, model, len(ids))
        place = {name: at for at, name in enumerate(ids)}
        test = test[[place[n] for n, e in zip(names, errors, strict=True) if e is None]]
    share = model.probabilities(model.scores(features))
    column = np.array([model.classes.index(name) for name in labels.known])
    right = share.argmax(axis=1) == column[labels.label[test]]
    outside = model.card.get("test_from") or []
    where = (
        f"the test part, published by {', '.join(outside)}, which trained nothing"
        if outside
        else "the test part; it is from the same sources as the training pictures (no --test-from)"
    )
    return rates_of(share.max(axis=1), right, threshold, where, labels.group[test])


def write_table(path: Path, rows: Sequence[Said]) -> None:
    """Every file with its answer, as CSV."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["file", "class", "probability", "answered", "truth", "error"])
    for one in rows:
        sure = "" if one.error else f"{one.probability:.9g}"
        writer.writerow([one.name, one.said, sure, one.answered, one.truth, one.error])
    write_bytes(path, text.getvalue().encode())


def draw(
    study: Study, model: ClassScorer, rows: Sequence[Said], output: Path
) -> dict[str, tuple[str, str, str]]:
    """Original, overlay and segment of everything above the threshold, by Grad-CAM.

    Returns:
        file -> addresses of the three, relative to ``output``. Those that the same model drew
        already are not made again; of earlier lines nothing else is left.
    """
    chosen = [one for one in rows if one.answered]
    places = {one.name: _places(one) for one in chosen}
    _only(output, model, {place for three in places.values() for place in three})
    # A class that was said otherwise before is drawn anew: its name is part of the file's.
    left = [o for o in chosen if not all((output / p).is_file() for p in places[o.name])]
    if not left:
        return places
    explain = _explainer(study, model)
    with progress("Grad-CAM", len(left)) as bar:
        pending = iter(left)
        while group := list(islice(pending, BATCH)):
            for one, heat, rgb in explain(group):
                _write_three(output, places[one.name], one, heat, rgb)
            bar.advance(len(group))
    return places


def _only(output: Path, model: ClassScorer, wanted: set[str]) -> None:
    """Remove what an earlier line drew and this one would not; nobody else's files are touched."""
    path = output / RESULTS
    drawn: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"files": []}
    by = f"{model.card['maker']} {model.card['trained_at']}"
    for place in drawn["files"]:
        if place not in wanted or drawn["by"] != by:
            (output / place).unlink(missing_ok=True)
            for folder in (output / place).parents[: place.count("/") - 1]:
                with contextlib.suppress(OSError):  # it still holds something
                    folder.rmdir()
    write_json(path, {"by": by, "files": sorted(wanted)})  # before drawing: it may be killed


def _places(one: Said) -> tuple[str, str, str]:
    """The folders below are those of the pictures, so that no two share a name."""
    head = f"{one.name}.{folder_name(one.said or '')}"
    return f"originals/{one.name}", f"overlays/{head}.jpg", f"segments/{head}.png"


def _write_three(
    output: Path, places: tuple[str, str, str], one: Said, heat: NDArray[np.float32],
    rgb: NDArray[np.uint8],
) -> None:  # fmt: skip
    import cv2

    from training.explanation.gradcam import overlay

    for place in places:
        (output / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(one.path, output / places[0])
    painted = overlay(rgb, heat)
    segment = np.where(heat[:, :, None] >= HOT, rgb, 0).astype(np.uint8)
    for place, pixels in ((places[1], painted), (places[2], segment)):
        suffix = Path(place).suffix
        encoded = cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1]
        write_bytes(output / place, bytes(encoded))


def _explainer(study: Study, model: ClassScorer) -> Any:
    import torch

    import backbones
    from backbones.preprocess import to_input
    from filters.pictures.decode import decode_rgb
    from training.explanation.gradcam import explain_scorer
    from training.explanation.heatmaps import on_picture
    from training.pictures.thumbnails import shrink

    network = backbones.load(model.backbone, weights=own_network(study, model))
    spec = registry.get(model.backbone).preprocess

    def explain(group: Sequence[Said]) -> Iterator[tuple[Said, NDArray[np.float32], Any]]:
        pictures = [shrink(decode_rgb(one.path.read_bytes()), LONGEST) for one in group]
        for column, name in enumerate(model.classes):
            at = [i for i, one in enumerate(group) if one.said == name]
            if not at:
                continue
            inputs = torch.from_numpy(np.stack([to_input(pictures[i], spec) for i in at]))
            heats = explain_scorer(network, inputs, model, towards=column)
            for i, heat in zip(at, heats, strict=True):
                yield group[i], on_picture(heat, pictures[i].shape[:2], spec), pictures[i]

    return explain
