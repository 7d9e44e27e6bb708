"""Features and labels as arrays: one row per view, training authors first, never copied again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from likewise.errors import DataError
from likewise.tables import AUTHOR_KEY
from training.data.by_time import split_by_time
from training.data.labels import Labels
from training.data.mapped import create
from training.data.sample import sample_of
from training.data.unit import unit_codes, unit_of

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from likewise.study import Manifest, Study

__all__ = [
    "SAMPLED",
    "Labels",
    "Matrix",
    "borrowed_matrix",
    "feature_layers",
    "load_labels",
    "load_matrix",
]

LABEL_COLUMNS = (
    "picture_id platform host author_id group_key audience created_at label weight fold split"
)

SAMPLED = "outside the sample"
"""Start of the reason why pictures of a very large study are not compared."""


@dataclass(frozen=True)
class Matrix:
    """Features of one layer: float32 rows [train | train mirrored | test | test mirrored].

    "Test" are all pictures that train nothing, those of a validation part among them. ``maker``
    names the network with its weights and preprocessing. ``views`` is 2 when mirror images were
    extracted, else 1. ``rows`` is the one copy that all
    classifiers share; every part below is a view of it. It is mapped from the file ``path``, which
    processes on other machines open by themselves.
    """

    layer: str
    backbone: str
    maker: str
    rows: NDArray[np.float32]
    n_train: int
    n_test: int
    views: int
    path: Path

    @property
    def dim(self) -> int:
        """Values in one row."""
        return int(self.rows.shape[1])

    def train(self, views: int) -> NDArray[np.float32]:
        """(views * n_train, d): originals, and the mirror images after them when ``views`` is 2."""
        return self.rows[: views * self.n_train]

    @property
    def all_train(self) -> NDArray[np.float32]:
        """Every view of the training authors' pictures."""
        return self.rows[: self.views * self.n_train]

    @property
    def test(self) -> NDArray[np.float32]:
        """Every view of the held-out authors' pictures."""
        return self.rows[self.views * self.n_train :]

    @property
    def upright(self) -> NDArray[np.float32]:
        """(n, d) features of the originals, in the order of the labels; a copy."""
        return np.concatenate([self.train(1), self.test[: self.n_test]])

    def mean_views(self, scores: NDArray[Any]) -> NDArray[np.float64]:
        """(views * n, ...) scores of ``all_train`` or ``test`` to (n, ...) means over the views."""
        shape = (self.views, len(scores) // self.views, *scores.shape[1:])
        mean: NDArray[np.float64] = scores.reshape(shape).mean(axis=0, dtype=np.float64)
        return mean


def feature_layers(study: Study) -> list[str]:
    """Feature columns of the ``features`` table, in its order."""
    import pyarrow as pa

    schema = study.dataset("features").schema
    return [f.name for f in schema if pa.types.is_list(f.type) or pa.types.is_large_list(f.type)]


def load_labels(
    study: Study, split: Literal["author", "time"] = "author", *, whole: bool = False
) -> Labels:
    """Labels of the pictures that have usable features; of very many, those of a stated sample.

    Args:
        study: the study.
        split: ``time`` keeps training authors' earlier and held-out authors' later posts.
        whole: every picture of a study about classes, however many: no model learns all of them.

    Where the labels are classes, groups are held out; ``split`` does not matter there.

    Raises:
        DataError: no rows, one class only, an author in both splits, or fewer than two folds or
            held-out authors; a class without a training picture.
    """
    import pyarrow.compute as pc

    manifest = study.require("labels")
    if manifest.extra.get("question", "likes") != "likes":
        return _class_labels(study, manifest, whole=whole)
    table = study.read("labels", LABEL_COLUMNS.split())
    if table.num_rows == 0:
        raise DataError("the labels table is empty", hint="see why with: likewise status")
    good, dropped = _usable(study, table)
    table = _sample(study, table.filter(good), dropped)
    train = pc.equal(table["split"], "train")
    order = np.lexsort([_objects(table["picture_id"]), ~train.to_numpy()])
    method = str(manifest.extra.get("method", "pooled"))
    labels = _labels(table.take(order), int(pc.sum(train).as_py() or 0), dropped)
    labels = replace(labels, method=method, unit=unit_of(study))
    if split == "time":
        labels = split_by_time(labels, study.config.label.test_fraction)
    _check(labels)
    return labels


def _sample(
    study: Study, table: pa.Table, dropped: dict[str, int], *, classes: bool = False
) -> pa.Table:
    most = study.config.compare.most_pictures
    label = table["label"].to_numpy().astype(np.int64) if classes else None
    chosen = sample_of(table, most, study.config.study.seed, label=label)
    if chosen.all():
        return table
    dropped[f"{SAMPLED} of {most:,} pictures"] = int((~chosen).sum())
    return table.filter(chosen)


def _class_labels(study: Study, manifest: Manifest, *, whole: bool) -> Labels:
    table = study.read("labels", LABEL_COLUMNS.split())
    if table.num_rows == 0:
        raise DataError("the labels table is empty", hint="see why with: likewise status")
    good, dropped = _usable(study, table)
    table = table.filter(good)
    if not whole:
        table = _sample(study, table, dropped, classes=True)
    names = list(manifest.extra["classes"])
    unseen = [name for name in names if name in manifest.extra.get("unseen", ())]
    ordered = [*(name for name in names if name not in unseen), *unseen]
    number = np.array([ordered.index(name) for name in names], np.int64)
    label = number[table["label"].to_numpy()]
    known = len(ordered) - len(unseen)
    split = _objects(table["split"])
    part = np.select([label >= known, split == "train", split == "validation"], [3, 0, 1], 2)
    order = np.lexsort([_objects(table["picture_id"]), part])
    labels = _labels(table.take(order), int((part == 0).sum()), dropped)
    labels = replace(
        labels,
        label=label[order],
        method="classes",
        unit=unit_of(study),
        classes=tuple(ordered),
        n_unseen=len(unseen),
        n_validation=int((part == 1).sum()),
    )
    _check_known(labels)
    return labels


def _check_known(labels: Labels) -> None:
    if len(labels.label) == 0:
        raise DataError("no labelled picture has features", hint="run: likewise extract STUDY")
    if len(labels.known) < 2:
        raise DataError(
            f"models would learn {len(labels.known)} class, expected at least 2",
            hint="take a class out of [question] unseen, or gather another",
        )
    counts = np.bincount(labels.label[: labels.n_train], minlength=len(labels.classes))
    missing = [name for name, n in zip(labels.known, counts, strict=False) if n == 0]
    if missing:
        raise DataError(
            f"no training picture with features is of class {', '.join(missing)}",
            hint="extract anew, or gather more pictures of it",
        )
    n_train = labels.n_train
    both = np.intersect1d(labels.group[:n_train], labels.group[n_train : labels.hidden.start])
    if both.size:
        raise DataError(
            f"{both.size} groups stand in the training and in another part",
            hint="make the labels anew with: likewise label STUDY --redo",
        )


def _usable(study: Study, table: pa.Table) -> tuple[NDArray[np.bool_], dict[str, int]]:
    import pyarrow.compute as pc

    views = study.read("features", ["picture_id", "flipped", "status"])
    mirrored = bool(pc.any(views["flipped"]).as_py())
    fine = views.filter(pc.equal(views["status"], "ok"))["picture_id"].value_counts()
    whole = fine.filter(pc.equal(fine.field("counts"), 2 if mirrored else 1)).field("values")
    has = pc.is_in(table["picture_id"], whole).to_numpy()
    known = pc.is_in(table["picture_id"], views["picture_id"].combine_chunks()).to_numpy()
    return has, {
        "feature extraction failed": int((known & ~has).sum()),
        "no features": int((~known).sum()),
    }


def _objects(column: pa.ChunkedArray) -> NDArray[np.object_]:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=object)


def _labels(table: pa.Table, n_train: int, dropped: Mapping[str, int]) -> Labels:
    keys = (table[c].to_pylist() for c in AUTHOR_KEY)
    names = np.array(["\x1f".join(parts) for parts in zip(*keys, strict=True)], dtype=object)
    fold = table["fold"].to_numpy().astype(np.int64)
    fold[n_train:] = -1
    return Labels(
        picture_id=_objects(table["picture_id"]),
        author=np.unique(names, return_inverse=True)[1].astype(np.int64),
        group=unit_codes(table),
        label=table["label"].to_numpy().astype(np.int64),
        weight=table["weight"].to_numpy().astype(np.float64),
        fold=fold,
        followers=table["audience"].to_numpy().astype(np.float64),
        created=_days(table["created_at"]),
        n_train=n_train,
        dropped=dropped,
    )


def _days(created: pa.ChunkedArray) -> NDArray[np.float64]:
    import pyarrow as pa

    micros = created.cast(pa.int64()).to_numpy(zero_copy_only=False).astype(np.float64)
    days: NDArray[np.float64] = micros / 86_400e6
    return days


def _check(labels: Labels) -> None:
    n, n_train = len(labels.label), labels.n_train
    if n == 0:
        raise DataError("no labelled picture has features", hint="run: likewise extract STUDY")
    for name, part in (("training", slice(0, n_train)), ("held-out", slice(n_train, n))):
        _check_classes(name, labels.label[part])
    unit = labels.unit
    held_out = np.unique(labels.group[n_train:]).size
    if held_out < 2:
        raise DataError(
            f"the held-out pictures are all of one {unit.one}: no interval can be told from them",
            hint=f"more {unit.many} are needed, or a larger [label] test_fraction",
        )
    both = np.intersect1d(labels.group[:n_train], labels.group[n_train:])
    if both.size:
        raise DataError(
            f"{both.size} {unit.many} stand in the training and in the test split",
            hint="make the labels anew with: likewise label STUDY --redo",
        )
    if len(labels.folds) < 2:
        raise DataError(
            f"the training {unit.many} fill {len(labels.folds)} fold, expected at least 2",
            hint=f"lower [label] folds, or more {unit.many} are needed",
        )
    for fold in labels.folds:
        rest = labels.label[:n_train][labels.fold[:n_train] != fold]
        _check_classes(f"training (without fold {fold})", rest)


def _check_classes(name: str, label: NDArray[np.int64]) -> None:
    counts = np.bincount(label, minlength=2)
    if counts.min() == 0:
        raise DataError(
            f"the {name} pictures are all of one class ({counts[1]} good, {counts[0]} bad): "
            "there is nothing to tell apart",
            hint="collect more authors; equal ratios everywhere give one class only",
        )


def load_matrix(study: Study, layer: str, labels: Labels, path: Path) -> Matrix:
    """Read one layer batch by batch into a float32 array that is mapped from a new file ``path``.

    Raises:
        DataError: two backbones, rows of unequal width, or values that are not finite.
        OSError: no room for the file.
    """
    import pyarrow.compute as pc

    dataset = study.dataset("features")
    maker = ["maker"] if "maker" in dataset.schema.names else []  # older tables have none
    columns = ["picture_id", "backbone", *maker, "flipped", layer]
    scanner = dataset.scanner(columns=columns, filter=pc.field("status") == "ok", batch_size=1024)
    fill = _Filling(study, layer, labels, path)
    for batch in scanner.to_batches():
        fill.add(batch)
    return fill.finish()


@contextmanager
def borrowed_matrix(study: Study, labels: Labels, layer: str | None = None) -> Iterator[Matrix]:
    """``load_matrix`` for a while: its file is gone afterwards.

    The default layer is the table's last but the logits.
    """
    layers = [name for name in feature_layers(study) if name != "logits"]
    chosen = layer or (layers[-1] if layers else "logits")
    with TemporaryDirectory(dir=study.folder("cache"), prefix="matrix-") as folder:
        yield load_matrix(study, chosen, labels, Path(folder) / "rows.npy")


class _Filling:
    """The array of a layer while its batches arrive in any order."""

    def __init__(self, study: Study, layer: str, labels: Labels, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        self.layer, self.labels, self.path = layer, labels, path
        mirrored = study.dataset("features").count_rows(
            filter=pc.field("flipped") & (pc.field("status") == "ok")
        )
        self.views = 2 if mirrored else 1
        self.ids = pa.array(labels.picture_id, pa.string())
        self.rows: NDArray[np.float32] | None = None
        self.seen = np.zeros(self.views * len(labels.label), dtype=bool)
        self.backbones: set[str] = set()
        self.makers: set[str] = set()

    def add(self, batch: pa.RecordBatch) -> None:
        import pyarrow.compute as pc

        place = pc.index_in(batch["picture_id"], self.ids)
        batch = batch.filter(pc.is_valid(place))
        if batch.num_rows == 0:
            return
        self.backbones.update(pc.unique(batch["backbone"]).to_pylist())
        if "maker" in batch.schema.names:
            self.makers.update(str(maker) for maker in pc.unique(batch["maker"]).to_pylist())
        values = self._values(batch[self.layer])
        index = place.drop_null().to_numpy(zero_copy_only=False).astype(np.int64)
        target = self._target(index, batch["flipped"].to_numpy(zero_copy_only=False).astype(bool))
        if self.rows is None:
            self.rows = create(self.path, (len(self.seen), values.shape[1]))
        if values.shape[1] != self.rows.shape[1]:
            raise DataError(
                f"features.{self.layer} holds rows of {self.rows.shape[1]} and of "
                f"{values.shape[1]} values: {self._backbones()}"
            )
        self.rows[target] = values
        self.seen[target] = True

    def _values(self, column: pa.Array) -> NDArray[np.float32]:
        flat: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False)
        flat = flat.astype(np.float32, copy=False)
        if column.null_count or flat.size == 0 or flat.size % len(column):
            raise DataError(f"features.{self.layer} holds empty rows or rows of unequal width")
        if not np.isfinite(flat).all():
            bad = int((~np.isfinite(flat.reshape(len(column), -1)).all(axis=1)).sum())
            raise DataError(
                f"features.{self.layer}: {bad} rows hold NaN or infinite values",
                hint="make the features anew with: likewise extract STUDY --redo",
            )
        return flat.reshape(len(column), -1)

    def _target(self, index: NDArray[np.int64], flipped: NDArray[np.bool_]) -> NDArray[np.int64]:
        n, n_train = len(self.labels.label), self.labels.n_train
        test = index >= n_train
        start = np.where(test, (self.views - 1) * n_train, 0)
        step = np.where(test, n - n_train, n_train)
        return np.asarray(index + start + flipped * step)

    def _backbones(self) -> str:
        return f"backbones {', '.join(sorted(self.backbones))}"

    def finish(self) -> Matrix:
        if len(self.backbones) > 1:
            raise DataError(
                f"features mixes rows of {self._backbones()}",
                hint="make the features anew with one backbone: likewise extract STUDY --redo",
            )
        if len(self.makers) > 1:
            raise DataError(
                f"features were made by {len(self.makers)} networks or weights",
                hint="keep one: likewise prune, or set [extract] to the one that is meant",
            )
        if self.rows is None or not self.seen.all():
            raise DataError(
                f"{int((~self.seen).sum())} views of labelled pictures have no features",
                hint="run: likewise extract STUDY --redo",
            )
        if not np.ptp(self.rows, axis=0).any():
            raise DataError(f"features.{self.layer}: all pictures have the same values")
        n, n_train = len(self.labels.label), self.labels.n_train
        backbone = self.backbones.pop()
        return Matrix(
            self.layer,
            backbone,
            next(iter(self.makers), ""),
            self.rows,
            n_train,
            n - n_train,
            self.views,
            self.path,
        )
