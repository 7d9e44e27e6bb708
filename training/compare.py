"""``likewise compare``: which classifier tells good pictures from bad, and how sure that is.

features, labels -> comparison, ``models/``, ``reports/comparison.json`` and figures. Folds and
held-out authors come from the labels table; every classifier sees the same ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from likewise.errors import DataError
from likewise.funnel import Funnel
from likewise.progress import progress
from likewise.study import Manifest, Stage, Study, write_json
from training.classifiers import forest, linear, sgd
from training.comparison import verdict
from training.comparison.baselines import Baseline, baselines
from training.comparison.learning import learning_curve
from training.comparison.tabulate import comparison_rows, text
from training.comparison.verdict import Judge, Judged
from training.data.matrix import Labels, Matrix, feature_layers, load_labels, load_matrix
from training.fitting.fitted import Fitted, Problem
from training.fitting.grid import GridStore
from training.fitting.workers import Workers
from training.models import saved as models
from training.pictures.looks import picture_looks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["compare", "comparison_text"]

CODE = 2

# Percentile intervals of a bootstrap over fewer units than about this cover too little.
FEW_AUTHORS = 20


def compare(
    study: Study | str | os.PathLike[str], *, redo: bool = False, master: str | None = None
) -> Manifest:
    """Compare the classifiers and publish the table ``comparison``.

    Args:
        study: the study or its folder.
        redo: compare anew although the table stands there.
        master: Spark master for SVMWithSGD; default is ``[spark] master``.

    Raises:
        MissingTableError: features or labels have not been published.
        DataError: the data cannot carry a comparison (one class, too few authors, NaN, ...).
    """
    opened = Study.open(study)
    settings = opened.config.compare
    stage = opened.begin(
        "comparison",
        inputs=["labels", "features"],
        params={
            **settings.model_dump(exclude={"jobs", "backend"}),
            "seed": opened.config.study.seed,
        },
        code=CODE,
        redo=redo,
    )
    if stage.done:
        return stage.manifest
    labels = load_labels(opened)
    return _Comparison(opened, stage, labels, master).run()


def comparison_text(study: Study | str | os.PathLike[str]) -> str:
    """The printed tables of the published comparison."""
    path = Study.open(study).root / "reports" / "comparison.json"
    Study.open(study).require("comparison")
    return text(json.loads(path.read_text(encoding="utf-8")))


class _Comparison:
    """One run: fits what is not finished yet, judges, saves, publishes."""

    def __init__(self, study: Study, stage: Stage, labels: Labels, master: str | None) -> None:
        self.study, self.stage, self.labels, self.master = study, stage, labels, master
        self.settings = study.config.compare
        self.jobs = self.settings.jobs if self.settings.jobs > 0 else os.cpu_count() or 1
        self.seed = study.config.study.seed
        on_spark = self.settings.backend == "spark"
        self.workers = Workers(self.jobs, self._spark if on_spark else None)
        self.workers.check()
        forest.check_engine(self.settings.forest_engine)
        self.store = GridStore(study.root / ".unfinished" / f"compare-{stage.fingerprint}")
        self.judge = Judge(labels, self.settings.bootstrap, self.settings.permutations, self.seed)
        self.notes: list[str] = []
        self.learning: dict[str, list[dict[str, float]]] = {}

    def run(self) -> Manifest:
        layers = self._layers()
        plain = self._baselines()
        rows = self._fit(layers)
        results = [verdict.result(self.judge, row, plain) for row in rows]
        self._save_models(rows, results)
        content = self._content(rows, results, plain)
        content["figures"] = self._figures(content)
        write_json(self.study.folder("reports") / "comparison.json", content)
        manifest = self._publish(content)
        for folder in self.store.folder.parent.glob("compare-*"):
            GridStore(folder).discard()
        return manifest

    def _layers(self) -> list[str]:
        found = feature_layers(self.study)
        wanted = self.settings.layers or [x for x in found if x != "logits"] or found
        missing = [layer for layer in wanted if layer not in found]
        if missing:
            raise DataError(
                f"[compare] layers names {', '.join(missing)}, features holds {', '.join(found)}",
                hint="extract those layers, or leave [compare] layers empty",
            )
        return wanted

    def _baselines(self) -> list[Baseline]:
        def compute() -> dict[str, Any]:
            looks = picture_looks(self.study, self.labels, self.jobs)
            return {} if looks is None else {"looks": looks}

        looks = self.store.point("looks", compute).get("looks")
        if looks is None:
            self.notes.append("no pictures table: no baseline of plain picture properties")
        return baselines(self.labels, looks)

    def _fit(self, layers: Sequence[str]) -> list[Judged]:
        rows: list[Judged] = []
        with progress("compare", self._points(len(layers))) as bar:
            self.store.bar = bar
            for layer in layers:
                path = self.store.path(f"{layer}.npy")
                matrix = load_matrix(self.study, layer, self.labels, path)
                for problem in self._problems(matrix):
                    rows += [self._judged(problem, name) for name in self.settings.classifiers]
                path.unlink()
            self.store.bar = None
        return rows

    def _judged(self, problem: Problem, name: str) -> Judged:
        judged = Judged.of(problem, self._classify(problem, name))
        if name == linear.NAME and problem.matrix.layer not in self.learning:
            store = self.store.below(f"{problem.matrix.layer}-{problem.set_name}-learning")
            c = float(judged.fitted.parameters["C"])
            self.learning[problem.matrix.layer] = learning_curve(problem, store, c)
        return judged

    def _points(self, layers: int) -> int:
        folds = len(self.labels.folds)
        per_set = {
            linear.NAME: linear.grid_points(self.settings.c_values, folds, self.settings.reference),
            forest.NAME: forest.grid_points(folds, self.settings.trees),
            sgd.NAME: sgd.grid_points(self.settings.step_sizes),
        }
        each = sum(per_set[name] for name in self.settings.classifiers)
        learning = linear.NAME in self.settings.classifiers
        return layers * (len(self.settings.sets) * each + learning)

    def _problems(self, matrix: Matrix) -> list[Problem]:
        views = {"normal": 1, "flipped": 2}
        wanted = [name for name in self.settings.sets if views[name] <= matrix.views]
        if len(wanted) < len(self.settings.sets):
            self._note("features holds no mirror images: the set `flipped` is left out")
        if not wanted:
            raise DataError(
                "[compare] sets asks for `flipped` only, and features holds no mirror images",
                hint="set [extract] flip = true and run: likewise extract STUDY --redo",
            )
        return [Problem(matrix, self.labels, views[name], self.seed, self.jobs) for name in wanted]

    def _note(self, words: str) -> None:
        if words not in self.notes:
            self.notes.append(words)

    def _classify(self, problem: Problem, name: str) -> Fitted:
        own = self.store.below(f"{problem.matrix.layer}-{problem.set_name}-{name}")
        settings = self.settings
        if name == linear.NAME:
            return linear.fit(problem, own, settings.c_values, settings.reference, self.workers)
        if name == forest.NAME:
            return forest.fit(problem, own, settings.trees, self.workers, settings.forest_engine)
        return sgd.fit(
            problem,
            own,
            settings.reg_params,
            settings.step_sizes,
            settings.sgd_iterations,
            self._spark,
        )

    def _spark(self) -> SparkSession:
        """A session; if none is there yet, with a heap no larger than a layer's features."""
        from spark_jobs.session import spark_session

        sizes = [path.stat().st_size for path in self.store.folder.glob("*.npy")]
        heap = None if self.settings.backend == "spark" else max(sizes)
        return spark_session(self.study.config, master=self.master, heap=heap)

    def _save_models(self, rows: Sequence[Judged], results: Sequence[Mapping[str, Any]]) -> None:
        about = {"data": self._data(), "weights": self._weights()}
        for row, found in zip(rows, results, strict=True):
            card = verdict.card(row, found, about, self.labels.folds)
            models.save(self.study, row.fitted.build(card))
        # Models of an older comparison would be ranked beside these, on scores of other data.
        for name in set(models.names(self.study)) - {row.model for row in rows}:
            models.remove(self.study, name)

    def _data(self) -> dict[str, Any]:
        labels, n_train = self.labels, self.labels.n_train
        return {
            "pictures": len(labels.label),
            "training_pictures": n_train,
            "training_authors": int(np.unique(labels.author[:n_train]).size),
            "held_out_pictures": len(labels.label) - n_train,
            "held_out_authors": int(np.unique(labels.author[n_train:]).size),
            "good_share": float(labels.label.mean()),
            "folds": len(labels.folds),
            "labels_fingerprint": self.study.require("labels").fingerprint,
            "features_fingerprint": self.study.require("features").fingerprint,
        }

    def _weights(self) -> dict[str, Any]:
        """What the features table says about the network's weights (name, licence, sha256)."""
        weights = self.study.require("features").extra.get("weights", {})
        return dict(weights) if isinstance(weights, Mapping) else {"weights": weights}

    def _content(
        self,
        rows: Sequence[Judged],
        results: Sequence[Mapping[str, Any]],
        plain: Sequence[Baseline],
    ) -> dict[str, Any]:
        best = models.best(self.study)
        if self.judge.permuted is None:
            self._note("no p-values: no permutations asked, or no two authors of equal size")
        held_out = self._data()["held_out_authors"]
        if held_out < FEW_AUTHORS:
            self._note(
                f"only {held_out} held-out authors: the intervals are narrower than the truth"
            )
        if len(self.labels.folds) < self.study.config.label.folds:
            self._note(f"only {len(self.labels.folds)} folds hold training authors")
        return {
            "study": self.study.config.study.name,
            "fingerprint": self.stage.fingerprint,
            "backbone": rows[0].backbone,
            "data": self._data(),
            "best": best,
            "results": list(results),
            "baselines": [
                {
                    "name": b.name,
                    "description": b.description,
                    "metrics": self.judge.scores(b.evaluation),
                    "p_value": None if b.name == "chance" else self.judge.p_value(b.evaluation),
                }
                for b in plain
            ],
            "differences": verdict.differences(self.judge, rows),
            "learning_curves": self.learning,
            "sentences": verdict.sentences(results, best),
            "notes": self.notes,
            "bootstrap": self.settings.bootstrap,
            "permutations": self.settings.permutations,
        }

    def _figures(self, content: Mapping[str, Any]) -> list[dict[str, str]]:
        from training.comparison import curves

        return curves.save(content, self.study.folder("reports", "figures"))

    def _publish(self, content: Mapping[str, Any]) -> Manifest:
        from likewise.tables import COMPARISON

        self.stage.write(pa.Table.from_pylist(comparison_rows(content), COMPARISON.schema))
        used, dropped = len(self.labels.label), dict(self.labels.dropped)
        return self.stage.publish(
            funnel=Funnel("compare", "pictures", used + sum(dropped.values()), used, dropped),
            best=content["best"],
            sentences=content["sentences"],
            notes=content["notes"],
        )
