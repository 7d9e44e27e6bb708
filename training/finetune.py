"""Fine-tuning: go on training a pretrained network on the study's own labels.

The default recipe is the paper's: a new layer with one output a class that learns ten times as
fast as the rest, SGD with momentum at a rate of 0.001, a tenth of it after every 5,000 of 35,000
iterations, three quarters of the authors for training. What the paper leaves open follows the
example it started from (Caffe's "flickr style": batches of 50, weight decay 0.0005, random crops
and mirror images).
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from backbones import registry
from likewise import weights as weight_files
from likewise.errors import UsageError
from likewise.funnel import Funnel
from likewise.progress import progress
from likewise.study import Study, write_json
from likewise.working import changes_study
from training.comparison import judge
from training.comparison.class_reviews import review_gain
from training.comparison.crossing import REASON, crossing
from training.comparison.looks import look
from training.comparison.sentences import of_reviews
from training.comparison.splits import review_change
from training.data.question import asks_classes
from training.models import saved as models
from training.statistics.calibration import platt, probability
from training.statistics.classes import in_top, mcnemar, per_class, rate
from training.statistics.intervals import leave_out
from training.statistics.metrics import Evaluation
from training.statistics.temperature import temperature
from training.tuning.canvases import Canvases
from training.tuning.curves import as_table
from training.tuning.job import Job, launch
from training.tuning.measure import logits_of, measure, score_of
from training.tuning.samples import Samples, read_samples, said_of
from training.tuning.saved import KIND, FinetunedScorer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likewise.config import FinetuneSection
    from likewise.study import Manifest, Stage
    from training.tuning.loop import State
    from training.tuning.network import Tunable

__all__ = ["finetune"]

CODE = 1
TABLE = "finetune"

# Parameters that change when and where a run works, but not what it computes.
_ASIDE = {"checkpoint_minutes", "backbone", "reviews"}

_LATER = {"frozen", "beside_scratch", "beside_reviews"}


@changes_study("finetune")
def finetune(
    study: Study | str | os.PathLike[str],
    *,
    workers: int | None = None,
    redo: bool = False,
    master: str | None = None,
) -> Manifest:
    """Tune a network on the labelled pictures and save it as ``models/finetuned-BACKBONE``.

    A killed run goes on from its last checkpoint; on a CPU it ends in the very weights of an
    undisturbed one. The curves become the table ``finetune``, ``reports/finetune.json`` and
    TensorBoard event files below ``logs/``.

    Args:
        study: the study or its folder.
        workers: processes; None takes ``[finetune] workers``.
        redo: start afresh although another recipe's network stands there.
        master: Spark master for several workers.

    Raises:
        MissingTableError: pictures or labels have not been published.
        DataError: too few authors, one class only, no picture that can be used, or a loss that
            is not finite.
        UsageError: the batch cannot be shared evenly among the workers, or early stopping is
            wanted without validation.
        WeightsError: the backbone's weights are missing or damaged.
        FingerprintError: the checkpoint of an unfinished run was made by another recipe.
    """
    opened = Study.open(study)
    recipe = _recipe(opened, workers)
    choice = registry.choose(recipe.backbone)
    stage = _begin(opened, recipe, choice.name, redo=redo)
    job = Job(opened.root, choice.name, recipe, opened.config.study.seed, stage.fingerprint)
    if stage.done:
        return stage.manifest
    if redo:
        shutil.rmtree(job.work.parent, ignore_errors=True)
    failed = job.decode(_across(opened))
    samples = job.samples()
    samples.parts(recipe.validation_fold)  # refuses what cannot be trained on, before it starts
    launch(job, master=master)
    final = _refitted(job, samples, master) if recipe.refit else job
    scratch = _scratch(job, master) if recipe.beside_scratch else None
    before = _before_reviews(job, master) if recipe.beside_reviews else None
    manifest = _publish(job, final, stage, samples, failed, choice.reason, scratch, before)
    shutil.rmtree(job.work.parent, ignore_errors=True)
    shutil.rmtree(job.canvases, ignore_errors=True)
    return manifest


def _across(study: Study) -> dict[str, str]:
    """Training pictures that are copies of test pictures, with the reason to leave them out."""
    samples = read_samples(study)
    copies = crossing(study, samples.picture_ids, samples.test)
    return {samples.picture_ids[i]: REASON for i in np.flatnonzero(copies)}


def _recipe(study: Study, workers: int | None) -> FinetuneSection:
    recipe = study.config.finetune
    if workers is not None:
        recipe = recipe.model_copy(update={"workers": workers})
    if recipe.batch_size % recipe.workers:
        raise UsageError(
            f"[finetune] batch_size = {recipe.batch_size} cannot be shared evenly among "
            f"{recipe.workers} workers",
            hint=f"take a multiple of {recipe.workers}",
        )
    plateau = 'schedule = "plateau"' if recipe.schedule == "plateau" else ""
    wants = "refit" if recipe.refit else "patience" if recipe.patience else plateau
    if recipe.beside_scratch and not asks_classes(study):
        raise UsageError(
            "[finetune] beside_scratch compares networks of k classes, and this study asks likes",
            hint="take it out of likewise.toml",
        )
    if wants and recipe.validation_fold < 0:
        raise UsageError(
            f"[finetune] {wants} needs a validation fold to go by",
            hint=f"set validation_fold = 0, or leave {wants} out",
        )
    return recipe


def _refitted(job: Job, samples: Samples, master: str | None) -> Job:
    """Train on all training authors, as long as did best where some of them were left out."""
    _, state = job.trained(samples.classes)
    iterations = state.best_at if state.best_weights else state.iteration
    more = {"validation_fold": -1, "patience": 0, "iterations": max(1, iterations)}
    final = replace(
        job, recipe=job.recipe.model_copy(update=more), fingerprint=f"{job.fingerprint}-all"
    )
    launch(final, master=master)
    return final


def _scratch(job: Job, master: str | None) -> Job:
    """The same training from random weights."""
    scratch = replace(
        job,
        recipe=job.recipe.model_copy(update={"random_weights": True, "frozen": []}),
        fingerprint=f"{job.fingerprint}-scratch",
    )
    launch(scratch, master=master)
    return scratch


def _before_reviews(job: Job, master: str | None) -> Job | None:
    """The same training on the labels as they were before the reviews; None without reviews."""
    if not job.recipe.reviews or job.study.manifest("reviews") is None:
        return None
    before = replace(
        job,
        recipe=job.recipe.model_copy(update={"reviews": False}),
        fingerprint=f"{job.fingerprint}-before-reviews",
    )
    launch(before, master=master)
    return _refitted(before, before.samples(), master) if job.recipe.refit else before


def _begin(study: Study, recipe: FinetuneSection, backbone: str, *, redo: bool) -> Stage:
    params = recipe.model_dump(exclude=_ASIDE)
    # Settings that came later are named only where they are set, so that older tables still stand.
    params = {k: v for k, v in params.items() if v or k not in _LATER}
    params |= {"backbone": backbone, "seed": study.config.study.seed}
    params["weights"] = _weights(backbone, recipe)
    reviewed = ["reviews"] if recipe.reviews and study.manifest("reviews") is not None else []
    inputs = ["pictures", "labels", *reviewed]
    return study.begin(TABLE, inputs=inputs, params=params, code=CODE, redo=redo)


def _weights(backbone: str, recipe: FinetuneSection) -> dict[str, str]:
    """The file that training starts from, fetched when need be."""
    if recipe.random_weights:
        return {"name": "random"}
    known = weight_files.entry(registry.get(backbone).weights)
    path = weight_files.find(known.name)
    return {
        "name": known.name,
        "sha256": weight_files.sha256_of(path),
        "license": known.license,
    }


def _publish(
    job: Job,
    final: Job,
    stage: Stage,
    samples: Samples,
    failed: dict[str, str],
    reason: str,
    scratch: Job | None,
    before: Job | None,
) -> Manifest:
    """``job`` was validated, ``final`` is kept; they are the same without ``[finetune] refit``."""
    validated, state = job.trained(samples.classes)
    tunable = final.trained(samples.classes)[0] if final is not job else validated
    measured = _Measured(job, final, samples, validated, tunable)
    card = _card(job, samples, tunable, state, measured)
    scorer = FinetunedScorer(card, tunable.network)
    models.save(job.study, scorer)
    fits = 1 + (scratch is not None) + (before is not None)
    looked = look(job.study, TABLE, job.fingerprint, fits)
    sentences = measured.sentences(scratch)
    if job.recipe.beside_reviews:
        sentences.append(measured.reviews(before))
    summary = {
        "model": card["name"],
        "backbone": job.backbone,
        "reason": reason,
        "iterations": state.iteration,
        "stopped_early": state.stopped,
        "pictures": measured.counts,
        "scores": card["scores"],
        "looks": asdict(looked),
        "sentences": sentences,
        "events": f"logs/finetune-{job.fingerprint}",
    }
    write_json(job.root / "reports" / "finetune.json", {**summary, "curves": state.curves})
    stage.write(as_table(state.curves))
    reasons = Counter(failed.values())
    funnel = Funnel(TABLE, "pictures", len(samples) + reasons.total(), len(samples), dict(reasons))
    return stage.publish(funnel=funnel, **summary)


class _Measured:
    """Scores of the validation and test pictures, both views averaged, and what they are worth."""

    def __init__(
        self, job: Job, final: Job, samples: Samples, validated: Tunable, tunable: Tunable
    ) -> None:
        self._job, self._samples = job, samples
        self._pictures = Canvases(job.canvases, samples.picture_ids)
        parts = samples.parts(job.recipe.validation_fold)
        # Refitted, the network has seen the validation authors: only the first one's scores of
        # them say anything.
        by = {"validation": validated, "test": tunable}
        kept = samples.parts(final.recipe.validation_fold)
        self.counts = {name: len(indices) for name, indices in parts.items()}
        self.counts["train"] = len(kept["train"])
        self.logits = {name: self._logits(by[name], parts[name]) for name in by if len(parts[name])}
        self._parts = parts
        self.temperature = self._warm(self.logits) if samples.names else 1.0
        self.calibration = None if samples.names else self._calibration(parts["validation"])
        self.scores = self._scores(parts)

    def _warm(self, logits: Mapping[str, NDArray[np.float64]]) -> float:
        """The temperature of k classes, on pictures that the network has not seen."""
        held = self._parts["validation"]
        if not len(held):
            return 1.0
        return temperature(logits["validation"], self._samples.labels[held])

    def sentences(self, scratch: Job | None) -> list[str]:
        """What may be said of k classes, and of the same network from random weights."""
        if not self._samples.names:
            return []
        test = self._parts["test"]
        label, group = self._samples.labels[test], self._samples.groups[test]
        right = in_top(self.logits["test"], label)
        counts = np.bincount(self._samples.labels[self._parts["train"]])
        largest = int(counts.argmax())
        usual = mcnemar(right, label == largest, group)
        words = [
            f"Of the test pictures {rate(right, group)} are right; always saying "
            f"{self._samples.names[largest]} gets {rate(label == largest, group)}: "
            + usual.sentence("the network", "always saying that")
            + "."
        ]
        if scratch is not None:
            other, _ = scratch.trained(self._samples.classes)
            theirs = in_top(self._logits(other, test), label)
            paired = mcnemar(right, theirs, group)
            words.append(
                f"From random weights the same training gets {rate(theirs, group)} right: "
                + paired.sentence("the pretrained network", "the one from random weights")
                + "."
            )
        return words

    def reviews(self, before: Job | None) -> str:
        """What the reviews changed: the same training without them, on the same test pictures."""
        if before is None:
            return "No reviews are published that this network could have learned from."
        study, plain = self._job.study, before.samples()
        said, old = said_of(study, plain), np.flatnonzero(plain.test)
        test = self._parts["test"]
        ids = [plain.picture_ids[at] for at in old]
        assert ids == [self._samples.picture_ids[at] for at in test], "reviews leave the test part"
        network, _ = before.trained(plain.classes)
        theirs, label = self._logits(network, test), self._samples.labels[test]
        group, touched = self._samples.groups[test], said.touched[old]
        seed, settings = study.config.study.seed, study.config.compare
        if touched.all():
            return "Every test picture has been reviewed: what the reviews gained is not known."
        if self._samples.names:
            mine, other = (in_top(one, label)[~touched] for one in (self.logits["test"], theirs))
            gain = review_gain(said, "test", mine, other, group[~touched], seed=seed)
            return f"{gain.sentence[0].upper()}{gain.sentence[1:]}."
        like = judge.Judge(
            self._binary(test),
            group,
            permutations=settings.permutations,
            margin=settings.margin,
            seed=seed,
        )
        with_, without = score_of(self.logits["test"]), score_of(theirs)
        change = review_change(self._binary(test), group, with_, without, touched, said, like)
        if change is None:
            return "Too few test pictures are unreviewed to tell what the reviews gained."
        return of_reviews(change, self._samples.unit.many, settings.margin, "the network")

    def _logits(self, tunable: Tunable, indices: NDArray[np.int64]) -> NDArray[np.float64]:
        chosen = (self._pictures[int(i)] for i in indices)
        with progress("measuring the network", total=len(indices)) as bar:
            return logits_of(
                tunable.network, chosen, self._job.spec, both_views=True, done=bar.advance
            )

    def _calibration(self, validation: NDArray[np.int64]) -> dict[str, Any] | None:
        """Platt's sigmoid on authors the network has not seen; else its own softmax as it is.

        None where it is refused: the network's order of these authors is no better than none.
        """
        if not len(validation):
            return {"slope": 1.0, "intercept": 0.0, "fitted_on": "nothing: the network's softmax"}
        fit = platt(score_of(self.logits["validation"]), self._binary(validation))
        return None if fit is None else fit.to_dict() | {"fitted_on": "validation fold"}

    def _binary(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        last: NDArray[np.bool_] = self._samples.labels[indices] == self._samples.classes - 1
        return last.astype(np.int64)

    def _scores(self, parts: dict[str, NDArray[np.int64]]) -> dict[str, Any]:
        named: dict[str, Any] = {}
        for part, logits in self.logits.items():
            values = measure(logits, self._samples.labels[parts[part]])
            named |= {f"{part}_{metric}": value for metric, value in values.items()}
        if self._samples.names:
            return named | self._rates(parts["test"])
        return named | self._intervals(parts["test"])

    def _rates(self, test: NDArray[np.int64]) -> dict[str, Any]:
        """Top-1 and top-3 on the test part, and how much of each class is found."""
        label, group = self._samples.labels[test], self._samples.groups[test]
        logits, names = self.logits["test"], self._samples.names
        k = min(3, len(names) - 1)
        rates = {
            "top 1": rate(in_top(logits, label), group),
            f"top {k}": rate(in_top(logits, label, k), group),
        }
        rows, _ = per_class(logits.argmax(axis=1), label, names, group)
        rates |= {f"recall of {row.name}": row.recall for row in rows if row.recall.of}
        return {
            f"test_{name}": {"value": one.value, "low": one.low, "high": one.high}
            for name, one in rates.items()
        }

    def _intervals(self, test: NDArray[np.int64]) -> dict[str, Any]:
        """Measures on the test authors, with intervals over them."""
        scores = score_of(self.logits["test"])
        chances = probability(self.calibration, scores)
        evaluation = Evaluation(self._binary(test), scores, chances)
        groups = leave_out(self._samples.groups[test], self._job.study.config.study.seed)
        without = groups.values(evaluation.metrics)
        return {
            f"test_{metric}": asdict(judge.score_of(float(value), without[metric]))
            for metric, value in evaluation.metrics().items()
        }


def _card(
    job: Job, samples: Samples, tunable: Tunable, state: State, measured: _Measured
) -> dict[str, Any]:
    backbone = registry.get(job.backbone)
    side = backbone.input_size
    return {
        "name": f"finetuned-{job.backbone}",
        "kind": KIND,
        "classifier": f"{backbone.title}, fine-tuned",
        "summary": "A pretrained network that went on learning on the pictures of this study.",
        "backbone": job.backbone,
        "layer": FinetunedScorer.layer,
        "dim": 3 * side * side,
        "head": tunable.head,
        "classes": samples.classes,
        **(
            {"class_names": list(samples.names), "temperature": measured.temperature}
            if samples.names
            else {}
        ),
        "scores": measured.scores,
        "calibration": measured.calibration,
        "parameters": job.recipe.model_dump(exclude=_ASIDE) | {"seed": job.seed},
        "data": {
            "fingerprint": job.fingerprint,
            samples.unit.many: len(np.unique(samples.groups)),
            "iterations done": state.iteration,
            **{f"{part} pictures": count for part, count in measured.counts.items()},
        },
        "weights": _weights(job.backbone, job.recipe),
        "limits": [
            "It knows these classes only: of anything else it names the likest one, often surely.",
        ]
        if samples.names
        else [
            "It has seen the audience of this study only; another platform may like other things.",
            "The score is a comparison of pictures, not a forecast of likes.",
        ],
    }
