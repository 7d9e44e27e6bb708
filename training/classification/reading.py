"""Features of pictures by the network that a model of classes reads, fine-tuned or not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from backbones.inference import embed
from backbones.planning import make_plan
from likewise.errors import DataError
from likewise.pictures import picture_bytes
from likewise.progress import progress
from likewise.study import Study, fingerprint
from likewise.whole import whole_file
from training.data.mapped import open_rows
from training.data.matrix import Matrix
from training.models.saved import own_network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backbones.plan import Plan
    from training.data.labels import Labels
    from training.models.classes import ClassScorer

__all__ = ["features_of", "plan_of", "tuned_matrix"]


def plan_of(study: Study, model: ClassScorer) -> Plan:
    """How a model's features are computed from pictures: as the study computed what it learned.

    Raises:
        DataError: they were computed with other weights than those that are here.
        MissingTableError, WeightsError: the network's weights are missing or damaged.
    """
    threads = len(os.sched_getaffinity(0))
    own = own_network(study, model)
    if own is not None:
        return make_plan(model.backbone, [model.layer], flip=False, weights=own, threads=threads)
    features, settings = study.manifest("features"), study.config.extract
    made: Mapping[str, Any] = {} if features is None else features.extra
    layers = made.get("layers", ())
    plan = make_plan(
        model.backbone,
        # The export with the study's own layers is there already; another needs torch.
        layers if model.layer in layers else [model.layer],
        random_weights=made.get("random_weights", settings.random_weights),
        folder=study.folder("cache", "onnx"),
        flip=False,
        pre_relu=made.get("pre_relu", settings.pre_relu),
        half=settings.storage == "float16",
        threads=threads,
    )
    maker, weights = made.get("maker"), made.get("weights")
    if maker not in (None, model.card["maker"]) or weights not in (None, plan.weights_id):
        raise DataError(
            f"model {model.name} reads features of other weights or of another preprocessing than "
            f"{study.root} has now",
            hint=f"run: likewise extract {study.root} && likewise classify train {study.root}",
        )
    return plan


def features_of(
    pictures: Iterable[tuple[str, bytes]], study: Study, model: ClassScorer, n: int
) -> tuple[list[str], list[str | None], NDArray[np.float32]]:
    """Names, error classes, and (good pictures, d) features of n pictures, by the model's network.

    Raises as ``plan_of`` does.
    """
    layer, plan = model.layer, plan_of(study, model)
    names: list[str] = []
    errors: list[str | None] = []
    found = [np.empty((0, int(model.card["dim"])), np.float32)]
    with progress("predict", n) as bar:
        for batch in embed(pictures, plan):
            names += batch.ids
            errors += batch.errors
            found.append(batch.features[layer])
            bar.advance(len(batch.ids))
    return names, errors, np.concatenate(found)


def tuned_matrix(study: Study, model: ClassScorer, labels: Labels) -> Matrix:
    """Features of all labelled pictures by the network tuned with a model; kept on disk.

    Raises:
        DataError: a picture cannot be decoded any more.
        WeightsError: the network's weights are damaged.
    """
    ids = [str(one) for one in labels.picture_id]
    made_from = fingerprint([ids, model.card["maker"], model.layer])
    path = study.root / "cache" / "tuned" / f"{made_from}.npy"
    if not path.is_file():
        names, errors, found = features_of(picture_bytes(study, ids), study, model, len(ids))
        good = [name for name, error in zip(names, errors, strict=True) if error is None]
        if len(good) < len(ids):
            lost = sorted(set(ids) - set(good))
            raise DataError(
                f"{len(lost)} labelled pictures cannot be read for the fine-tuned network of model "
                f"{model.name}, the first is {lost[0]}",
                hint=f"run: likewise download {study.root} && likewise label {study.root}",
            )
        place = {name: at for at, name in enumerate(good)}
        with whole_file(path) as staged, staged.open("wb") as file:
            np.save(file, found[[place[name] for name in ids]])
    return Matrix(
        layer=model.layer,
        backbone=model.backbone,
        maker=str(model.card["maker"]),
        rows=open_rows(path),
        n_train=labels.n_train,
        n_test=len(ids) - labels.n_train,
        views=1,
        path=path,
    )
