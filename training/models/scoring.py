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

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from training.models.saved import Scorer
    from training.tuning.saved import FinetunedScorer

__all__ = ["PART_SCHEMA", "reads_pictures", "saved_model", "score_part"]

BATCH = 1024

PART_SCHEMA = pa.schema(
    [
        pa.field("picture_id", pa.string()),
        pa.field("status", pa.string()),
        pa.field("score", pa.float64()),
    ]
)
"""What ``score_part`` answers: one row a view; ``score`` is null where ``status`` is not ok."""


def saved_model(study: Study, model: str | None = None) -> Scorer | FinetunedScorer:
    """The model of that name; None takes ``[rank] model``, and ``auto`` the best compared one."""
    name = model or study.config.rank.model
    if (study.root / "models" / name / "network.safetensors").is_file():
        from training.tuning.saved import load

        return load(study, name)
    return models.load(study, models.best(study) if name == "auto" else name)


def reads_pictures(model: Scorer | FinetunedScorer) -> TypeIs[FinetunedScorer]:
    """Whether a model looks at the pictures themselves, not at a layer of their features."""
    return hasattr(model, "score_pictures")


def score_part(path: Path | str, scorer: Scorer) -> Iterator[pa.RecordBatch]:
    """Scores of one Parquet part of ``features``; batches of ``PART_SCHEMA``, one row a view.

    Views of other backbones are passed over; a score that is not finite is left for the caller.
    """
    columns = ["picture_id", "backbone", "status", scorer.layer]
    for batch in pq.ParquetFile(open_part(path)).iter_batches(batch_size=BATCH, columns=columns):
        mine = batch.filter(pc.equal(batch["backbone"], scorer.backbone))
        ok = pc.equal(mine["status"], "ok")
        scores = np.zeros(len(mine))
        chosen = ok.to_numpy(zero_copy_only=False)
        if chosen.any():
            scores[chosen] = scorer.score(matrix(mine.filter(ok), scorer.layer))
        values = pa.array(scores, mask=~chosen)
        yield pa.record_batch([mine["picture_id"], mine["status"], values], schema=PART_SCHEMA)
