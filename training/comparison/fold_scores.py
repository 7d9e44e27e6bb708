"""What every compared model says of training pictures whose authors it had not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from likewise.tables import AUTHOR_KEY, FOLD_SCORES
from training.statistics.sigmoid import probability

if TYPE_CHECKING:
    from likewise.study import Manifest, Study
    from training.comparison.verdict import Judged
    from training.data.matrix import Labels

__all__ = ["publish_fold_scores"]

CODE = 1


def publish_fold_scores(
    study: Study, labels: Labels, rows: Sequence[Judged], comparison: str
) -> Manifest:
    """Publish the table ``fold_scores``: one row a training picture and model.

    The published ranking scores a training picture with a model that was fitted on its author; a
    reader who wants to believe a score takes this one.

    Args:
        study: the study.
        labels: of the comparison; the training pictures stand first.
        rows: its judged classifiers; ``fitted.out_of_fold`` are (n_train,) scores.
        comparison: fingerprint of the comparison, which names these scores.
    """
    ids = pa.array(labels.picture_id[: labels.n_train], pa.string())
    known = study.read("labels", ["picture_id", *AUTHOR_KEY])
    at = pc.index_in(ids, value_set=known["picture_id"].combine_chunks())
    authors = known.select(AUTHOR_KEY).take(at)
    fold = pa.array(labels.fold[: labels.n_train], pa.int32())
    stage = study.begin("fold_scores", params={"comparison": comparison}, code=CODE, redo=True)
    with (
        stage.staging() as folder,
        pq.ParquetWriter(
            folder / "part-0000.parquet",
            FOLD_SCORES.schema,
            compression="zstd",
            write_page_checksum=True,
        ) as writer,
    ):
        for row in rows:
            score = row.fitted.out_of_fold
            calibration = None if row.calibration is None else row.calibration.to_dict()
            chance = probability(calibration, score)
            columns = {
                "picture_id": ids,
                "model": pa.array([row.model] * len(ids), pa.string()),
                **{name: authors[name] for name in AUTHOR_KEY},
                "fold": fold,
                "score": pa.array(score, pa.float64()),
                "probability": pa.array(chance, pa.float64(), from_pandas=True),
            }
            told = pa.table(columns).select(FOLD_SCORES.schema.names).cast(FOLD_SCORES.schema)
            writer.write_table(told.filter(pa.array(np.isfinite(score))))
    return stage.publish()
