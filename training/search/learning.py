"""Learn classes as paper 5 did: a new last layer, then careful epochs of the whole network.

The network's features are computed once for each picture and for each of its augmented views; the
last layer is trained on them, at most 100 epochs, stopped early and kept at its best. Fine-tuning
then moves every weight at a rate of 1e-5, and stays only if the validation loss fell.
"""

from __future__ import annotations

import datetime as dt
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from backbones import registry
from backbones.planning import make_plan
from collectors.attribution import licence_counts
from likewise.pictures import picture_bytes
from likewise.progress import progress
from likewise.study import Study, fingerprint
from likewise.whole import whole_file, write_json
from training.data.matrix import borrowed_matrix, load_labels
from training.fitting.classes import mean_square
from training.models import saved as models
from training.models.classes import LinearClasses
from training.search.augmentation import views_of
from training.statistics.temperature import temperature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backbones.plan import Plan
    from training.data.labels import Labels

__all__ = ["MODEL", "Learnt", "last_layer", "learn"]

MODEL = "search"
EPOCHS = 100
PATIENCE = 10
"""Epochs without a smaller validation loss after which the last layer is done."""
LEAST = 1e-3
"""Nats by which the loss must fall to count as smaller; it creeps on for ever otherwise."""
BATCH = 32
CHUNK = 16
"""Pictures whose views the network reads at once."""
VIEWS = 2
"""Augmented views of a training picture, beside the picture itself."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Labels in the order of their parts, and (n, d) features of the pictures as they are."""

    labels: Labels
    features: NDArray[np.float32]
    layer: str
    backbone: str
    maker: str

    def rows(self, *parts: slice) -> NDArray[np.int64]:
        """Numbers of the pictures of these parts."""
        every = np.arange(len(self.labels.label))
        return np.concatenate([every[part] for part in parts])

    @property
    def train(self) -> slice:
        """Where the training pictures stand."""
        return slice(0, self.labels.n_train)


def load_problem(study: Study) -> Problem:
    """The classes of a study and the features of its last layer.

    Raises:
        MissingTableError, DataError: labels or features are missing or unfit.
    """
    labels = load_labels(study)
    with borrowed_matrix(study, labels) as matrix:
        features = np.array(matrix.upright)
    return Problem(labels, features, matrix.layer, matrix.backbone, matrix.maker)


@dataclass(frozen=True, slots=True)
class Learnt:
    """The saved model, how long its last layer was trained, and whether fine-tuning stayed."""

    model: LinearClasses
    epochs: int
    best_epoch: int
    tuned: bool
    sentence: str


def learn(study: Study, *, tune_epochs: int = 1, name: str = MODEL) -> Learnt:
    """Train on the study's training part, choose on validation, save ``models/NAME``.

    Args:
        study: its features are extracted; its lock is held.
        tune_epochs: epochs of fine-tuning; 0 leaves the network as it is.
        name: of the model.

    Raises:
        MissingTableError, DataError: labels or features are missing or unfit.
        WeightsError: the network's weights are not at hand.
    """
    problem = load_problem(study)
    labels, seed = problem.labels, study.config.study.seed
    rows, held = problem.rows(problem.train), problem.rows(labels.validation)
    if not len(held):
        held = rows
    more = _augmented(study, problem, rows, seed)
    features = np.concatenate([problem.features[rows], more])
    columns = np.tile(labels.label[rows], 1 + len(more) // len(rows))
    fit = last_layer(
        features, columns, problem.features[held], labels.label[held],
        n_classes=len(labels.known), seed=seed,
    )  # fmt: skip
    card = _card(study, problem, fit, name)
    card["temperature"] = _temperature(problem, fit.best, seed)
    model = LinearClasses(card, fit.weight, fit.bias)
    tuned, said = False, "the network was not fine-tuned"
    if tune_epochs:
        from training.search.tuning import tune  # brings torch

        better, said = tune(study, problem, model, rows, held, epochs=tune_epochs, seed=seed)
        if better is not None:
            model, tuned = better, True
    models.save(study, model)
    models.forget_networks(study, model)
    write_json(study.folder("reports") / f"classify-{name}-epochs.json", fit.curve)
    return Learnt(model, len(fit.curve), fit.best, tuned, said)


@dataclass(frozen=True, slots=True)
class LastLayer:
    """A softmax layer on unscaled features: (d, k) weights, (k,) biases, one loss an epoch."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    best: int
    curve: Sequence[dict[str, float]]


def last_layer(
    features: NDArray[np.float32],
    columns: NDArray[np.int64],
    held: NDArray[np.float32],
    held_columns: NDArray[np.int64],
    *,
    n_classes: int,
    seed: int,
) -> LastLayer:
    """Train one softmax layer epoch by epoch; the one of least validation loss is the answer.

    Args:
        features, columns: (n, d) and (n,) classes 0 ... k-1 of the training part.
        held, held_columns: (m, d) and (m,) of the validation part; they stop and choose.
        n_classes: k.
        seed: of the order of batches and the first weights.
    """
    scale = np.float32(_scale(features))
    # A network without hidden layers is the softmax layer; scikit-learn's Adam trains it.
    layer = _softmax_layer(len(features), seed)
    scaled, best, curve, since = features * scale, (np.inf, 0), [], 0
    kept: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    with progress("last layer", EPOCHS) as bar:
        for epoch in range(1, EPOCHS + 1):
            layer.partial_fit(scaled, columns, classes=np.arange(n_classes))
            weight, bias = _two_columns(layer.coefs_[0], layer.intercepts_[0], n_classes)
            weight = (weight * scale).astype(np.float32)
            loss = cross_entropy(held @ weight + bias, held_columns)
            curve.append({"epoch": epoch, "train": float(layer.loss_), "validation": loss})
            since = 0 if loss < best[0] - LEAST else since + 1
            if loss < best[0]:
                best, kept = (loss, epoch), (weight, bias.astype(np.float32))
            bar.advance()
            if since >= PATIENCE:
                break
    assert kept is not None, "the first epoch's loss is finite"
    return LastLayer(*kept, best[1], curve)


def _scale(features: NDArray[np.float32]) -> float:
    """What makes the mean squared length of rows 1, so that rates mean one thing."""
    return float(1 / np.sqrt(mean_square(features)))


def _softmax_layer(n: int, seed: int, epochs: int = 1) -> MLPClassifier:
    return MLPClassifier(
        hidden_layer_sizes=(), solver="adam", batch_size=min(BATCH, n), learning_rate_init=0.01,
        alpha=1e-4, random_state=seed, max_iter=epochs, tol=0.0, n_iter_no_change=epochs,
    )  # fmt: skip


def _temperature(problem: Problem, epochs: int, seed: int) -> float:
    """The temperature by which layers trained as long give honest probabilities out of fold.

    The validation part alone is too small: of 120 pictures without an error no probability above
    0.99 follows. All but the test part's are judged, by a layer that has not seen their group.
    """
    labels = problem.labels
    rows = problem.rows(problem.train, labels.validation)
    features, columns, fold = problem.features[rows], labels.label[rows], labels.fold[rows]
    scale, k = np.float32(_scale(features)), len(labels.known)
    logits = np.full((len(rows), k), np.nan)
    for one in np.unique(fold):
        held = fold == one
        if len(np.unique(columns[~held])) < k:
            continue
        layer = _softmax_layer(int((~held).sum()), seed, epochs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the epochs are meant
            layer.fit(features[~held] * scale, columns[~held])
        weight, bias = _two_columns(layer.coefs_[0], layer.intercepts_[0], k)
        logits[held] = (features[held] * scale) @ weight + bias
    judged = np.isfinite(logits).all(axis=1)
    return temperature(logits[judged], columns[judged])


def _two_columns(
    weight: NDArray[Any], bias: NDArray[Any], n_classes: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """(d, k) and (k,); of two classes scikit-learn keeps one column, for the second."""
    if weight.shape[1] == n_classes:
        return weight, bias
    return np.concatenate([-weight, weight], axis=1) / 2, np.concatenate([-bias, bias]) / 2


def cross_entropy(scores: NDArray[Any], columns: NDArray[np.int64]) -> float:
    """Mean cross-entropy of (n, k) scores, nats."""
    share = log_softmax(np.asarray(scores, np.float64), axis=1)
    return -float(share[np.arange(len(columns)), columns].mean())


def _augmented(
    study: Study, problem: Problem, rows: NDArray[np.int64], seed: int
) -> NDArray[np.float32]:
    """(VIEWS n, d) features of augmented training pictures, view after view; kept on disk."""
    labels = study.require("labels").fingerprint
    made_from = fingerprint([labels, problem.maker, problem.layer, seed, VIEWS, 1])
    path = study.root / "cache" / "augmented" / f"{made_from}.npy"
    if path.is_file():
        kept: NDArray[np.float32] = np.load(path)
        return kept
    ids = [str(one) for one in problem.labels.picture_id[rows]]
    at = {picture: row for row, picture in enumerate(ids)}
    found = np.zeros((VIEWS, len(ids), problem.features.shape[1]), np.float32)
    found[:] = problem.features[rows]  # a picture that cannot be decoded again stays as it is
    threads = len(os.sched_getaffinity(0))
    plan = make_plan(problem.backbone, [problem.layer], flip=False, threads=threads)
    spec = registry.get(problem.backbone).preprocess
    views = views_of(picture_bytes(study, ids), spec, VIEWS, seed)
    # The next pictures are decoded while the network reads these.
    with progress("augmenting", len(ids)) as bar, ThreadPoolExecutor(1) as decoder:
        coming = decoder.submit(lambda: [*islice(views, CHUNK)])
        while chunk := coming.result():
            coming = decoder.submit(lambda: [*islice(views, CHUNK)])
            places = [at[picture] for picture, _ in chunk]
            seen = _run(plan, np.concatenate([stack for _, stack in chunk]))
            found[:, places] = seen.reshape(len(places), VIEWS, -1).swapaxes(0, 1)
            bar.advance(len(places))
    with whole_file(path) as staged, staged.open("wb") as file:
        np.save(file, found.reshape(-1, found.shape[2]))
    return found.reshape(-1, found.shape[2])


def _run(plan: Plan, views: NDArray[np.float32]) -> NDArray[np.float32]:
    from backbones.engines import open_engine

    return open_engine(plan).run(views)[plan.layers[0]]


def _card(study: Study, problem: Problem, fit: LastLayer, name: str) -> dict[str, Any]:
    labels, manifest = problem.labels, study.require("labels")
    return {
        "name": name,
        "kind": "linear-classes",
        "verb": "run",
        "summary": f"Tells {len(labels.known)} classes apart, learnt from search results.",
        "classifier": "softmax by Adam",
        "parameters": {"epoch": fit.best, "epochs": len(fit.curve), "views": 1 + VIEWS},
        "backbone": problem.backbone,
        "layer": problem.layer,
        "maker": problem.maker,
        "dim": problem.features.shape[1],
        "classes": list(labels.known),
        "unseen": list(labels.unseen),
        "temperature": 1.0,
        "scores": {"held_cross_entropy": fit.curve[fit.best - 1]["validation"]},
        "data": {
            "labels": manifest.fingerprint,
            "features": study.require("features").fingerprint,
            "training pictures": labels.n_train,
            "validation pictures": labels.n_validation,
        },
        "trained_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "test_from": list(study.config.question.test_from),
        "sources": manifest.extra.get("sources", {}),
        "licences": licence_counts(study),
        "augmentation": "zoom, rotation, shift, shear and flip of training pictures",
        "limits": [
            "It knows these classes only: of anything else it names the likest one, often surely.",
            "It has learnt from search results: some of them show something else.",
        ],
    }
