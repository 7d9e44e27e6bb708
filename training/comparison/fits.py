"""Every classifier on every layer and set: what comparisons of likes and of classes share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from likewise.errors import DataError
from likewise.progress import progress
from training.classifiers import binary_tree, forest, linear, sgd, softmax
from training.data.matrix import feature_layers, load_matrix
from training.fitting.classes import PENALTIES, ClassFitted, ClassProblem
from training.fitting.fitted import Fitted, Problem
from training.fitting.grid import GridStore
from training.fitting.workers import Workers

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

    from likewise.study import Study
    from training.data.matrix import Labels, Matrix

__all__ = ["Fits"]


class Fits:
    """Fits by ``[compare]``; what is finished stands in ``store`` and is not fitted again."""

    def __init__(self, study: Study, labels: Labels, store: Path, master: str | None) -> None:
        self.study, self.labels, self.master = study, labels, master
        self.settings = study.config.compare
        self.jobs = self.settings.jobs if self.settings.jobs > 0 else os.cpu_count() or 1
        self.seed = study.config.study.seed
        on_spark = self.settings.backend == "spark"
        self.workers = Workers(self.jobs, self.spark if on_spark else None)
        self.workers.check()
        forest.check_engine(self.settings.forest_engine)
        self.store = GridStore(store)
        self.notes: list[str] = []

    def note(self, words: str) -> None:
        """Say something once."""
        if words not in self.notes:
            self.notes.append(words)

    def layers(self) -> list[str]:
        """Layers to fit on: those of ``[compare]``, or all that are there but the logits."""
        found = feature_layers(self.study)
        wanted = self.settings.layers or [x for x in found if x != "logits"] or found
        missing = [layer for layer in wanted if layer not in found]
        if missing:
            raise DataError(
                f"[compare] layers names {', '.join(missing)}, features holds {', '.join(found)}",
                hint="extract those layers, or leave [compare] layers empty",
            )
        return wanted

    @contextmanager
    def bar(self, points: int) -> Iterator[None]:
        """A bar over so many grid points."""
        with progress("compare", points) as bar:
            self.store.bar = bar
            yield
            self.store.bar = None

    def matrices(self, layers: Sequence[str]) -> Iterator[Matrix]:
        """The features of each layer, mapped from a file that is gone afterwards."""
        for layer in layers:
            path = self.store.path(f"{layer}.npy")
            yield load_matrix(self.study, layer, self.labels, path)
            path.unlink()

    def problems(self, matrix: Matrix) -> list[Problem]:
        """The sets of ``[compare]`` that the features allow."""
        views = {"normal": 1, "flipped": 2}
        wanted = [name for name in self.settings.sets if views[name] <= matrix.views]
        if len(wanted) < len(self.settings.sets):
            self.note("features holds no mirror images: the set `flipped` is left out")
        if not wanted:
            raise DataError(
                "[compare] sets asks for `flipped` only, and features holds no mirror images",
                hint="set [extract] flip = true and run: likewise extract STUDY --redo",
            )
        kind = ClassProblem if self.labels.classes else Problem
        return [kind(matrix, self.labels, views[name], self.seed, self.jobs) for name in wanted]

    def points(self, name: str) -> int:
        """Grid points of one classifier on one set."""
        settings, folds = self.settings, len(self.labels.folds)
        if self.labels.classes:
            return self._class_points(name)
        return {
            linear.NAME: linear.grid_points(settings.c_values, folds, settings.reference),
            forest.NAME: forest.grid_points(folds, settings.trees),
            sgd.NAME: sgd.grid_points(settings.step_sizes, settings.sgd_scaling),
        }[name]

    def _class_points(self, name: str) -> int:
        settings, k = self.settings, len(self.labels.known)
        folds = 0 if self.labels.n_validation else len(self.labels.folds)
        penalised = len(PENALTIES) + (folds > 0)
        return {
            linear.NAME: k * linear.grid_points(settings.c_values, folds, "model"),
            forest.NAME: forest.grid_points(folds, settings.trees),
            sgd.NAME: k * sgd.grid_points(settings.step_sizes, settings.sgd_scaling),
            softmax.NAME: penalised,
            softmax.BY_STEPS: 1,
            binary_tree.NAME: penalised,
        }[name]

    def fit(self, problem: Problem, name: str) -> Fitted:
        """One classifier of likes."""
        own, settings = self._own(problem, name), self.settings
        if name == linear.NAME:
            return linear.fit(problem, own, settings.c_values, settings.reference, self.workers)
        if name == forest.NAME:
            return forest.fit(problem, own, settings.trees, self.workers, settings.forest_engine)
        return sgd.fit(
            problem,
            own,
            settings.reg_params,
            settings.step_sizes,
            settings.sgd_scaling,
            settings.sgd_iterations,
            self.spark,
        )

    def fit_classes(self, problem: ClassProblem, name: str) -> ClassFitted:
        """One classifier of k classes."""
        own, settings = self._own(problem, name), self.settings
        if name == softmax.NAME:
            return softmax.fit_classes(problem, own)
        if name == softmax.BY_STEPS:
            return softmax.fit_by_steps(problem, own, self.seed)
        if name == binary_tree.NAME:
            return binary_tree.fit_classes(problem, own)
        if name == linear.NAME:
            return linear.fit_classes(problem, own, settings.c_values)
        if name == forest.NAME:
            return forest.fit_classes(
                problem, own, settings.trees, self.workers, settings.forest_engine
            )
        return sgd.fit_classes(
            problem,
            own,
            settings.reg_params,
            settings.step_sizes,
            settings.sgd_scaling,
            settings.sgd_iterations,
            self.spark,
        )

    def _own(self, problem: Problem, name: str) -> GridStore:
        return self.store.below(f"{problem.matrix.layer}-{problem.set_name}-{name}")

    def spark(self) -> SparkSession:
        """A session; if none is there yet, with a heap no larger than a layer's features."""
        from spark_jobs.session import spark_session

        sizes = [path.stat().st_size for path in self.store.folder.glob("*.npy")]
        heap = None if self.settings.backend == "spark" else max(sizes)
        return spark_session(self.study.config, master=self.master, heap=heap)

    def weights(self) -> dict[str, Any]:
        """What the features table says about the network's weights (name, licence, sha256)."""
        weights = self.study.require("features").extra.get("weights", {})
        return dict(weights) if isinstance(weights, Mapping) else {"weights": weights}
