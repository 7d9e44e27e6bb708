"""Every picture's score by a saved model, its calibrated probability and its ranks.

Both views of a picture are scored and averaged. Each Parquet part of ``features`` is scored by
itself, so that one machine and a Spark cluster do the same arithmetic and give the same rows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from likewise.errors import DataError
from likewise.funnel import Funnel
from likewise.pictures import picture_bytes
from likewise.progress import progress
from likewise.study import Study
from likewise.tables import AUTHOR_KEY, SCORES
from likewise.working import changes_study
from spark_jobs.session import survives_java
from training import begin
from training.data.question import asks_classes
from training.galleries import class_gallery, gallery
from training.models.scoring import (
    CLASS_SCHEMA,
    PART_SCHEMA,
    class_model,
    reads_pictures,
    saved_model,
    score_part,
)
from training.scoring.reference import reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likewise.study import Manifest
    from training.models.classes import ClassScorer
    from training.models.saved import Scorer
    from training.tuning.saved import FinetunedScorer

    AnyScorer: TypeAlias = Scorer | ClassScorer | FinetunedScorer

__all__ = ["rank", "ranked", "ranked_classes"]

MOST_THREADS = 4
PICTURES_AT_ONCE = 64


@changes_study("rank")
@survives_java
def rank(
    study: Study | str | os.PathLike[str],
    *,
    model: str | None = None,
    n: int | None = None,
    redo: bool = False,
    master: str | None = None,
) -> Manifest:
    """Score every labelled picture, publish ``scores`` and make the galleries.

    Args:
        study: the study or its folder.
        model: name of a saved model; ``auto`` or None takes ``[rank] model``.
        n: pictures in each gallery; None takes ``[rank] n``.
        redo: replace scores that another model or other features made.
        master: Spark master; without one, and with a local one in the configuration, the parts
            are scored in this process unless a Spark session is active.

    Raises:
        MissingTableError: there are no features, labels or models yet.
        DataError: the model reads another backbone or layer, or a score is not finite.
    """
    opened = Study.open(study)
    if asks_classes(opened):
        classes = class_model(opened, model)
        ranker = partial(ranked_classes, scorer=classes)
        manifest = _published(opened, classes, ranker, redo=redo, master=master)
        class_gallery.make(opened)
        return manifest
    scorer = saved_model(opened, model)
    manifest = _published(opened, scorer, partial(ranked, scorer=scorer), redo=redo, master=master)
    if not reads_pictures(scorer):
        reference(opened, scorer)  # so that the first `score` is as fast as others
    gallery.make(opened, n=n)
    from training.report.gallery_page import gallery_page  # Matplotlib comes with it

    gallery_page(opened)
    return manifest


def _published(
    study: Study,
    scorer: AnyScorer,
    ranker: Callable[[pa.Table, pa.Table], tuple[pa.Table, Funnel]],
    *,
    redo: bool,
    master: str | None,
) -> Manifest:
    stage = begin.rank(study, scorer.name, redo=redo)
    if not stage.done:
        labels = _labels(study)
        table, funnel = ranker(_score(study, scorer, labels, master), labels)
        stage.write(table)
        stage.publish(funnel=funnel, **_about(scorer))
    return stage.manifest


def _about(scorer: AnyScorer) -> dict[str, Any]:
    return {
        "model": scorer.name,
        "classifier": scorer.card.get("classifier", scorer.card.get("kind")),
        "backbone": scorer.backbone,
        "layer": scorer.layer,
        "question": "classes" if getattr(scorer, "classes", ()) else "likes",
    }


def _labels(study: Study) -> pa.Table:
    own = ["class"] if asks_classes(study) else []
    return study.read("labels", ["picture_id", *AUTHOR_KEY, *own])


def _score(study: Study, scorer: AnyScorer, labels: pa.Table, master: str | None) -> pa.Table:
    if reads_pictures(scorer):
        return _score_pictures(study, scorer, labels)
    _check_features(study, scorer)
    parts = study.parts("features")
    if _wants_spark(study, master):
        from spark_jobs.rank import score_parts

        score = partial(score_part, scorer=scorer)
        views = score_parts(study.config, parts, score, _schema(scorer), master=master)
    else:
        views = _score_here(parts, scorer)
    _check_finite(views, scorer)
    return views


def _score_here(parts: Sequence[str], scorer: Scorer | ClassScorer) -> pa.Table:
    answers: list[pa.RecordBatch] = []

    def whole(part: str) -> list[pa.RecordBatch]:
        return list(score_part(part, scorer))

    workers = min(os.cpu_count() or 1, MOST_THREADS)
    with progress("rank", total=len(parts)) as bar, ThreadPoolExecutor(workers) as pool:
        for answer in pool.map(whole, parts):
            answers += answer
            bar.advance()
    return pa.Table.from_batches(answers, _schema(scorer))


def _schema(scorer: AnyScorer) -> pa.Schema:
    return CLASS_SCHEMA if getattr(scorer, "classes", ()) else PART_SCHEMA


def _score_pictures(study: Study, scorer: FinetunedScorer, labels: pa.Table) -> pa.Table:
    """Scores by a network of its own, which reads the pictures and averages both views itself."""
    answers: list[dict[str, Any]] = []
    files = picture_bytes(study, labels["picture_id"].to_pylist())
    with progress("rank", total=labels.num_rows) as bar:
        while group := list(islice(files, PICTURES_AT_ONCE)):
            data = (data for _, data in group)
            scores = scorer.class_scores(data) if scorer.classes else scorer.score_pictures(data)
            for (picture_id, _), score in zip(group, scores.tolist(), strict=True):
                good = bool(np.isfinite(score).all())
                answers.append(
                    {
                        "picture_id": picture_id,
                        "status": "ok" if good else "failed",
                        _schema(scorer).names[2]: score if good else None,
                    }
                )
            bar.advance(len(group))
    return pa.Table.from_pylist(answers, _schema(scorer))


def _check_features(study: Study, scorer: AnyScorer) -> None:
    features = study.dataset("features")
    layers = [field.name for field in features.schema if pa.types.is_list(field.type)]
    backbones = pc.unique(features.to_table(columns=["backbone"])["backbone"]).to_pylist()
    if scorer.backbone in backbones and scorer.layer in layers:
        return
    raise DataError(
        f"model {scorer.name} reads layer {scorer.layer!r} of {scorer.backbone}; the features "
        f"table holds {', '.join(layers)} of {', '.join(backbones) or 'no backbone'}",
        hint="fit a model on these features (likewise compare), or extract with that backbone",
    )


def _check_finite(views: pa.Table, scorer: AnyScorer) -> None:
    column = views.column(2)
    if pa.types.is_list(column.type):
        held = column.filter(column.is_valid())
        finite = np.isfinite(pc.list_flatten(held).to_numpy()).reshape(len(held), -1).all(axis=1)
        bad = views.filter(column.is_valid()).filter(pa.array(~finite))
    else:
        bad = views.filter(pc.invert(pc.is_finite(column)))
    if bad.num_rows:
        raise DataError(
            f"model {scorer.name}: the score of picture {bad['picture_id'][0]} is "
            f"{bad.column(2)[0]} ({bad.num_rows} such views)",
            hint="its features hold NaN or infinity: make them anew with extract --redo",
        )


def _wants_spark(study: Study, master: str | None) -> bool:
    """Starting Spark costs more than scoring 100,000 pictures: only where it is up or asked for."""
    if master is not None or not study.config.spark.master.startswith("local"):
        return True
    if "pyspark" not in sys.modules:
        return False
    from pyspark.sql import SparkSession

    return SparkSession.getActiveSession() is not None


def ranked(
    views: pa.Table, labels: pa.Table, scorer: Scorer | FinetunedScorer
) -> tuple[pa.Table, Funnel]:
    """Views' scores to the rows of ``scores``, best first, and what became of every label.

    Ties go by picture_id, so the ranks do not depend on the order of the rows.
    """
    means = (
        views.filter(pc.equal(views["status"], "ok"))
        .group_by("picture_id")
        .aggregate([("score", "mean")])
    )
    joined = labels.join(means, "picture_id", join_type="inner").combine_chunks()
    joined = joined.sort_by([("score_mean", "descending"), ("picture_id", "ascending")])
    funnel = _funnel(labels, views, joined)
    if not joined.num_rows:
        raise _nothing()
    scores = joined["score_mean"].to_numpy()
    return _rows(joined, scorer, scores, scorer.probability(scores)), funnel


def ranked_classes(
    views: pa.Table, labels: pa.Table, scorer: ClassScorer | FinetunedScorer
) -> tuple[pa.Table, Funnel]:
    """The rows of ``scores`` for k classes: the surer of its own class a picture is, the higher.

    The score is the log-odds of the label's class against the likeliest other one; a picture of a
    class that the model does not know scores as its likeliest class against all it might have said.
    """
    good = views.filter(pc.equal(views["status"], "ok")).combine_chunks()
    if not good.num_rows:
        raise _nothing()
    ids, place = np.unique(good["picture_id"].to_numpy(zero_copy_only=False), return_inverse=True)
    each = pc.list_flatten(good["scores"]).to_numpy().reshape(good.num_rows, -1)
    total = np.zeros((len(ids), each.shape[1]))
    np.add.at(total, place, each)
    share = scorer.probabilities(total / np.bincount(place)[:, None])
    at = {picture: row for row, picture in enumerate(ids.tolist())}
    kept = labels.filter(pc.is_in(labels["picture_id"], pa.array(ids, pa.string())))
    share = share[[at[picture] for picture in kept["picture_id"].to_pylist()]]
    number = {name: column for column, name in enumerate(scorer.classes)}
    own = np.array([number.get(name, -1) for name in kept["class"].to_pylist()])
    rows = np.arange(len(own))
    likely = share.argmax(axis=1)
    others = share.copy()
    known = own >= 0
    others[rows[known], own[known]] = 0
    probability = np.where(known, share[rows, own], np.nan)
    log = np.log(np.maximum(share, np.finfo(float).tiny))
    rival = np.log(np.maximum(others.max(axis=1), np.finfo(float).tiny))
    score = np.where(known, log[rows, own] - rival, -log[rows, likely] + log.min(axis=1))
    order = np.lexsort([kept["picture_id"].to_numpy(zero_copy_only=False), -score])
    kept = kept.take(order).combine_chunks()
    said = np.array(scorer.classes, dtype=object)[likely[order]]
    certainty = share.max(axis=1)[order]
    table = _rows(kept, scorer, score[order], probability[order], said, certainty)
    return table, _funnel(labels, views, kept)


def _nothing() -> DataError:
    return DataError(
        "not one labelled picture has features to score",
        hint="run: likewise extract, after label",
    )


def _funnel(labels: pa.Table, views: pa.Table, kept: pa.Table) -> Funnel:
    met = pc.is_in(labels["picture_id"], value_set=pc.unique(views["picture_id"]))
    n, seen = labels.num_rows, int(pc.sum(met).as_py() or 0)
    dropped = {"features_failed": seen - kept.num_rows, "no_features": n - seen}
    return Funnel("rank", "pictures", n, kept.num_rows, dropped)


def _rows(
    kept: pa.Table,
    scorer: AnyScorer,
    score: NDArray[np.float64],
    probability: NDArray[np.float64],
    said: NDArray[np.object_] | None = None,
    certainty: NDArray[np.float64] | None = None,
) -> pa.Table:
    """The rows of ``scores`` from labels that come best first; all arrays are (n,)."""
    n = kept.num_rows
    columns = {
        "picture_id": kept["picture_id"],
        "model": pa.array([scorer.name] * n, pa.string()),
        "platform": kept["platform"],
        "host": kept["host"],
        "author_id": kept["author_id"],
        "score": score,
        "probability": pa.array(probability, from_pandas=True),
        "said": pa.nulls(n, pa.string()) if said is None else pa.array(said, pa.string()),
        "certainty": pa.nulls(n, pa.float64()) if certainty is None else certainty,
        "rank": np.arange(1, n + 1),
        "rank_in_author": _rank_within(kept),
    }
    return pa.table(columns, schema=SCORES.schema)


def _rank_within(joined: pa.Table) -> NDArray[np.int64]:
    """Place of each row among its author's rows, from 1; the rows come best first."""
    frame = joined.select([*AUTHOR_KEY]).to_pandas()
    places: NDArray[np.int64] = frame.groupby(list(frame.columns)).cumcount().to_numpy() + 1
    return places
