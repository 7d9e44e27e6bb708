"""The study's pictures as a new one is compared with them: kept in one file, read at once.

It is made from features and labels when a study is first scored with, or by ``rank``, and lies
below ``reports/``, where ``forget`` deletes what shows a person.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from likewise.errors import DataError
from likewise.progress import progress
from likewise.study import Study, fingerprint
from likewise.whole import whole_file
from training.data.unit import UNIT_KEY, unit_codes
from training.scoring.intervals import drawn_sigmoids

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.models.saved import Scorer

__all__ = ["FAR", "Reference", "reference"]

CODE = 2

KEPT = 3
"""References of a model that stay in the study."""
MOST = 10_000
"""Pictures that a new one is compared with; of larger studies a fixed sample."""
LOOKED_AT = 400
"""Pictures whose plain properties say what is usual."""
FAR = 0.99
"""Share of the study's pictures that lie nearer to another author's picture than the limit."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a picture is compared with.

    ``unit`` (n, d) are features of length 1, ``picture_id``, ``label`` and ``author`` belong to
    them; ``limit`` is the distance (1 - cosine) to the nearest picture beyond which nothing is
    said; ``draws`` (b, 2) are the model's sigmoids on held-out authors; ``authors`` maps a handle
    or id to (pictures, liked ones); ``known`` are the first 64 bits of every labelled picture's id,
    sorted, ``held_out`` belongs to them; ``usual`` maps a property to its sorted values.
    """

    unit: NDArray[np.float32]
    picture_id: NDArray[np.str_]
    label: NDArray[np.int8]
    limit: float
    draws: NDArray[np.float64]
    base_rate: float
    pictures: int
    authors: Mapping[str, tuple[int, int]]
    known: NDArray[np.uint64]
    held_out: NDArray[np.bool_]
    usual: Mapping[str, NDArray[np.float64]]

    def place(self, picture_id: str) -> str | None:
        """Where a picture stands in the study: "held out", "fitted on", or None: nowhere."""
        wanted = _bits(picture_id)
        at = int(np.searchsorted(self.known, wanted))
        if at == len(self.known) or self.known[at] != wanted:
            return None
        return "held out" if self.held_out[at] else "fitted on"

    def distances(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(b, n) distances (1 - cosine) of (b, d) features to every picture."""
        length = np.linalg.norm(features, axis=1, keepdims=True)
        unit = (features / np.where(length > 0, length, 1)).astype(np.float32)
        # In this order the tall matrix is read once, whatever the number of pictures.
        cosine = (self.unit @ unit.T).T.astype(np.float64)
        return np.maximum(1.0 - cosine, 0.0)


def reference(study: Study, scorer: Scorer) -> Reference:
    """The reference of one model, made where there is none of these tables yet.

    Raises:
        MissingTableError: there are no labels or features.
        DataError: the features are of another network than the model's.
    """
    made_from = {
        "code": CODE,
        "features": study.require("features").fingerprint,
        "labels": study.require("labels").fingerprint,
        "model": scorer.name,
        "sha256": scorer.card.get("sha256"),
    }
    folder = study.folder("reports", "score")
    stem = re.sub(r"[^A-Za-z0-9_=+-]", "_", scorer.name)
    path = folder / f"{stem}.{fingerprint(made_from)}.npz"
    if not path.is_file():
        # A server may still look at last night's: some stay.
        made = sorted(folder.glob(f"{stem}.*.npz"), key=lambda file: file.stat().st_mtime)
        for old in made[: 1 - KEPT]:
            old.unlink(missing_ok=True)
        _write(path, _made(study, scorer))
    return _read(path)


def _made(study: Study, scorer: Scorer) -> dict[str, Any]:
    with progress("score: looking at the study", 3) as bar:
        labels = _labels(study)
        feature = _features(study, scorer, labels)
        bar.advance()
        rows = np.array([labels["picture_id"][i] in feature for i in range(len(labels["label"]))])
        if not rows.any():
            raise DataError(
                f"no labelled picture has the features that model {scorer.name} reads",
                hint="run: likewise extract",
            )
        chosen = {name: values[rows] for name, values in labels.items()}
        x = np.stack([feature[one] for one in chosen["picture_id"]])
        unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        author = chosen["group"]
        test = chosen["split"] == "test"
        draws = np.empty((0, 2))
        if test.any():
            draws = drawn_sigmoids(
                scorer.score(x[test]),
                chosen["label"][test].astype(np.int64),
                author[test],
                study.config.study.seed,
            )
        bar.advance()
        usual = _usual(study, chosen["picture_id"][:LOOKED_AT].tolist())
        bar.advance()
    known = np.array([_bits(one) for one in labels["picture_id"].tolist()], np.uint64)
    everybody = {
        "authors": _authors(study, labels),
        "base_rate": float(labels["label"].mean()),
        "pictures": len(labels["label"]),
        "limit": _limit(unit, author),
    }
    return {
        "unit": unit.astype(np.float16),
        "picture_id": chosen["picture_id"],
        "label": chosen["label"],
        "known": known,
        "held_out": labels["split"] == "test",
        "draws": draws,
        "said": np.array(json.dumps(everybody)),
        **{f"usual {name}": values for name, values in usual.items()},
    }


def _labels(study: Study) -> dict[str, NDArray[Any]]:
    names = ["picture_id", *UNIT_KEY, "label", "split"]
    table = study.read("labels", names)
    columns = {name: np.array(table[name].to_pylist()) for name in ("picture_id", "label", "split")}
    columns["group"] = unit_codes(table)
    columns["author_id"] = np.array(table["author_id"].to_pylist())
    order = np.argsort(columns["picture_id"])  # ids are digests: their order is a fair sample
    return {name: values[order] for name, values in columns.items()}


def _features(
    study: Study, scorer: Scorer, labels: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[np.float32]]:
    """The upright view's features of the first ``MOST`` labelled pictures."""
    dataset = study.dataset("features")
    if scorer.layer not in dataset.schema.names:
        raise DataError(
            f"model {scorer.name} reads layer {scorer.layer!r}, which the features have not",
            hint="run: likewise extract with that layer",
        )
    wanted = pa.array(labels["picture_id"][:MOST].tolist(), pa.string())
    condition = (
        pc.field("picture_id").isin(wanted)
        & (pc.field("backbone") == scorer.backbone)
        & (pc.field("status") == "ok")
        & ~pc.field("flipped")
    )
    found: dict[str, NDArray[np.float32]] = {}
    columns = ["picture_id", scorer.layer]
    for batch in dataset.scanner(columns=columns, filter=condition).to_batches():
        if batch.num_rows:
            values = batch[scorer.layer].flatten().to_numpy(zero_copy_only=False)
            rows = values.reshape(batch.num_rows, -1)
            found |= dict(zip(batch["picture_id"].to_pylist(), rows, strict=True))
    return found


def _bits(picture_id: str) -> np.uint64:
    return np.uint64(int(picture_id[:16], 16))


def _limit(unit: NDArray[np.float32], author: NDArray[np.int64]) -> float:
    """Distance to the nearest picture of another author within which ``FAR`` of all lie."""
    nearest = np.empty(len(unit))
    for start in range(0, len(unit), 512):
        distance = 1.0 - unit[start : start + 512] @ unit.T
        same = author[start : start + 512, None] == author[None, :]
        if author.max() > 0:
            distance[same] = np.inf
        else:
            distance[np.arange(len(distance)), np.arange(start, start + len(distance))] = np.inf
        nearest[start : start + 512] = distance.min(axis=1)
    known = nearest[np.isfinite(nearest)]
    return float(np.quantile(known, FAR)) if known.size else float("inf")


def _authors(study: Study, labels: Mapping[str, NDArray[Any]]) -> dict[str, tuple[int, int]]:
    """(pictures, liked) of each author by id, and by handle where there is one."""
    found: dict[str, tuple[int, int]] = {}
    for one, label in zip(labels["author_id"].tolist(), labels["label"].tolist(), strict=True):
        n, good = found.get(one, (0, 0))
        found[one] = (n + 1, good + int(label))
    if study.manifest("authors") is not None:
        rows = study.read("authors", ["author_id", "handle"]).to_pylist()
        found |= {
            row["handle"]: found[row["author_id"]]
            for row in rows
            if row["handle"] and row["author_id"] in found
        }
    return found


def _usual(study: Study, picture_ids: list[str]) -> dict[str, NDArray[np.float64]]:
    """Sorted values of each plain property."""
    from training.pictures.properties import SIDE, properties
    from training.pictures.thumbnails import decoded

    rows = [properties(rgb) for _, rgb in decoded(study, dict.fromkeys(picture_ids, SIDE))]
    names = [n for n in (rows[0] if rows else {}) if n not in {"megapixels", "aspect"}]
    return {name: np.sort([row[name] for row in rows]) for name in names}


def _write(path: Path, arrays: Mapping[str, Any]) -> None:
    with whole_file(path) as staged, staged.open("wb") as file:
        np.savez(file, **arrays)


def _read(path: Path) -> Reference:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    said = json.loads(str(arrays["said"]))
    return Reference(
        unit=arrays["unit"].astype(np.float32),
        picture_id=arrays["picture_id"],
        label=arrays["label"],
        known=arrays["known"],
        held_out=arrays["held_out"],
        limit=float(said["limit"]),
        draws=arrays["draws"],
        base_rate=float(said["base_rate"]),
        pictures=int(said["pictures"]),
        authors={name: (n, good) for name, (n, good) in said["authors"].items()},
        usual={
            name.removeprefix("usual "): values
            for name, values in arrays.items()
            if name.startswith("usual ")
        },
    )
