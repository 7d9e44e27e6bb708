"""A saved model's scores of Parquet parts of ``features``: the same here and on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from likewise.study import Study, open_part
from training.data.layers import matrix
from training.models import saved as models
from training.models.chosen import chosen_model, is_network

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import TypeIs

    from training.models.classes import ClassScorer
    from training.models.saved import Scorer
    from training.tuning.saved import FinetunedScorer

__all__ = [
    "CLASS_SCHEMA",
    "PART_SCHEMA",
    "class_model",
    "reads_pictures",
    "saved_model",
    "score_part",
]

BATCH = 1024

PART_SCHEMA = pa.schema(
    [
        pa.field("picture_id", pa.string()),
        pa.field("status", pa.string()),
        pa.field("score", pa.float64()),
    ]
)
"""What ``score_part`` answers: one row a view; ``score`` is null where ``status`` is not ok."""

CLASS_SCHEMA = pa.schema([*list(PART_SCHEMA)[:2], pa.field("scores", pa.list_(pa.float64()))])
"""The same by a model of k classes: k scores a view."""


def saved_model(study: Study, model: str | None = None) -> Scorer | FinetunedScorer:
    """The model of that name; None takes ``[rank] model``, and ``auto`` the best compared one."""
    name = chosen_model(study, model)
    if is_network(study, name):
        from training.tuning.saved import load

        return load(study, name)
    return models.load(study, name)


def reads_pictures(model: Scorer | ClassScorer | FinetunedScorer) -> TypeIs[FinetunedScorer]:
    """Whether a model looks at the pictures themselves, not at a layer of their features."""
    return hasattr(model, "score_pictures")


def class_model(study: Study, model: str | None = None) -> ClassScorer | FinetunedScorer:
    """The same for a study about classes."""
    name = chosen_model(study, model)
    if is_network(study, name):
        from training.tuning.saved import load

        return load(study, name)
    return models.load_classes(study, name)


def score_part(path: Path | str, scorer: Scorer | ClassScorer) -> Iterator[pa.RecordBatch]:
    """Scores of one Parquet part of ``features``; one row a view.

    Batches are of ``PART_SCHEMA``, or of ``CLASS_SCHEMA`` by a model of k classes. Views of other
    backbones are passed over; a score that is not finite is left for the caller.
    """
    columns = ["picture_id", "backbone", "status", scorer.layer]
    for batch in pq.ParquetFile(open_part(path)).iter_batches(batch_size=BATCH, columns=columns):
        mine = batch.filter(pc.equal(batch["backbone"], scorer.backbone))
        ok = pc.equal(mine["status"], "ok")
        chosen = ok.to_numpy(zero_copy_only=False)
        features = matrix(mine.filter(ok), scorer.layer) if chosen.any() else None
        if _tells_classes(scorer):
            yield _of_classes(mine, chosen, scorer, features)
            continue
        scores = np.zeros(len(mine))
        if features is not None:
            scores[chosen] = scorer.score(features)
        values = pa.array(scores, mask=~chosen)
        yield pa.record_batch([mine["picture_id"], mine["status"], values], schema=PART_SCHEMA)


def _tells_classes(scorer: Scorer | ClassScorer) -> TypeIs[ClassScorer]:
    return hasattr(scorer, "scores")


def _of_classes(
    views: pa.RecordBatch,
    chosen: NDArray[np.bool_],
    scorer: ClassScorer,
    features: NDArray[np.float32] | None,
) -> pa.RecordBatch:
    rows: list[list[float] | None] = [None] * len(chosen)
    if features is not None:
        for row, scores in zip(np.flatnonzero(chosen), scorer.scores(features), strict=True):
            rows[row] = scores.tolist()
    values = pa.array(rows, pa.list_(pa.float64()))
    return pa.record_batch([views["picture_id"], views["status"], values], schema=CLASS_SCHEMA)
