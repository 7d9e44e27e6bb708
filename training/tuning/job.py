"""One fine-tuning job: what every process that takes part needs to know, and what it does."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from backbones import registry
from likewise import errors
from likewise.config import FinetuneSection
from likewise.errors import DataError, LikewiseError
from likewise.study import Study, fingerprint, write_json
from spark_jobs.session import spark_session
from training.tuning import checkpoint
from training.tuning.batches import Augmentation, Batches
from training.tuning.canvases import Canvases, decode_all, decoded
from training.tuning.loop import Loop, Run, State
from training.tuning.measure import logits_of, measure
from training.tuning.network import Tunable, build
from training.tuning.samples import Order, Samples, read_samples
from training.tuning.team import Team, Workers

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

__all__ = ["Job", "launch"]

FAILURE = "failure.json"


@dataclass(frozen=True)
class Job:
    """Small enough to be sent to workers: they read everything else from the study's folder."""

    root: Path
    backbone: str
    recipe: FinetuneSection
    seed: int
    fingerprint: str

    @property
    def study(self) -> Study:
        """The study, opened anew."""
        return Study.open(self.root)

    @property
    def work(self) -> Path:
        """Folder of the checkpoint."""
        return self.root / "cache" / "finetune" / self.fingerprint

    @property
    def spec(self) -> registry.Preprocess:
        """The backbone's preprocessing."""
        return registry.get(self.backbone).preprocess

    @property
    def canvases(self) -> Path:
        """Folder of the decoded pictures; networks of the same input side share it."""
        made_from = {
            "pictures": self.study.require("pictures").fingerprint,
            "labels": self.study.require("labels").fingerprint,
            "fit": [self.spec.resize, self.spec.fit, self.spec.interpolation],
        }
        return self.root / "cache" / "canvases" / fingerprint(made_from)

    def decode(self, across: Mapping[str, str]) -> dict[str, str]:
        """Decode what is labelled; picture_id -> reason for each that cannot be used.

        ``across`` names pictures that are not to be used, with their reasons.
        """
        study = self.study
        parts = study.parts("pictures")
        # The training without reviews wants pictures that reviews have rejected, too.
        reviews = self.recipe.reviews and not self.recipe.beside_reviews
        wanted = set(read_samples(study, reviews=reviews).picture_ids)
        failed = {**across, **decode_all(parts, wanted - set(across), self.spec, self.canvases)}
        if len(failed) == len(wanted):
            reasons = ", ".join(sorted(set(failed.values())))
            raise DataError(
                f"fine-tuning: not one of {len(wanted)} labelled pictures can be used ({reasons})",
                hint=f"run: likewise download {study.root}",
            )
        return failed

    def samples(self) -> Samples:
        """The labelled pictures that have been decoded."""
        everything = read_samples(self.study, reviews=self.recipe.reviews)
        here = decoded(self.canvases)
        return everything.only(np.array([i in here for i in everything.picture_ids], np.bool_))

    def network(self, classes: int) -> Tunable:
        """The network before its first step."""
        return build(
            self.backbone, classes, seed=self.seed, random_weights=self.recipe.random_weights
        )

    def train(self, team: Team) -> None:
        """Train from the start or from the checkpoint; the result is the last checkpoint."""
        samples = self.samples()
        parts = samples.parts(self.recipe.validation_fold)
        pictures = Canvases(self.canvases, samples.picture_ids)
        recipe = self.recipe
        batches = Batches(
            pictures=pictures,
            samples=samples,
            order=Order(parts["train"], self.seed),
            size=self.spec.size,
            augmentation=Augmentation(recipe.flip, recipe.crop, recipe.colour),
            batch_size=recipe.batch_size,
            seed=self.seed,
        )
        validate = partial(_validate, samples, pictures, parts["validation"], self.spec)
        run = Run(
            backbone=self.backbone,
            fingerprint=self.fingerprint,
            recipe=recipe,
            spec=self.spec,
            batches=batches,
            validate=validate if len(parts["validation"]) else None,
            checkpoint=self.work / "checkpoint.pt",
            events=self.root / "logs" / f"finetune-{self.fingerprint}",
        )
        Loop(self.network(samples.classes), run, team).train()

    def trained(self, classes: int) -> tuple[Tunable, State]:
        """The network and the course of a training that has come to its end."""
        saved = checkpoint.read(
            self.work / "checkpoint.pt", backbone=self.backbone, fingerprint=self.fingerprint
        )
        assert saved is not None, "train() ends with a checkpoint"
        state = State(**saved["state"])
        tunable = self.network(classes)
        tunable.network.load_state_dict(state.best_weights or saved["network"])
        return tunable, state


def _validate(
    samples: Samples,
    pictures: Canvases,
    indices: NDArray[np.int64],
    spec: registry.Preprocess,
    network: nn.Module,
) -> dict[str, float]:
    logits = logits_of(network, (pictures[i] for i in indices), spec, both_views=False)
    return measure(logits, samples.labels[indices])


def launch(job: Job, *, master: str | None = None) -> None:
    """Train in this process, or in ``[finetune] workers`` processes through TorchDistributor.

    With a local Spark master the processes run on this machine; on a cluster, on its executors,
    which must reach the study's folder under the same path.

    Raises:
        LikewiseError: a worker has failed; of the worker's own kind where it is one of likewise's.
    """
    if job.recipe.workers == 1:
        job.train(Team())
        return
    from pyspark.ml.torch.distributor import TorchDistributor

    session = spark_session(job.study.config, master=master)
    local = str(session.sparkContext.master).startswith("local")
    # TorchDistributor repeats the workers' words on standard output, which is for results only.
    with redirect_stdout(sys.stderr), _loopback(job.recipe.workers) if local else nullcontext():
        distributor = TorchDistributor(job.recipe.workers, local_mode=local, use_gpu=_gpus(local))
        try:
            distributor.run(_work, job)
        except RuntimeError as error:
            raise _told(job, error) from error


def _work(job: Job) -> None:
    """What each worker does; the leader leaves its error in a file, where ``launch`` finds it."""
    team = Workers()
    try:
        job.train(team)
    except LikewiseError as error:
        if team.leads:
            told = {"kind": type(error).__name__, "message": str(error), "hint": error.hint}
            write_json(job.work / FAILURE, told)
        raise
    finally:
        team.close()


def _told(job: Job, error: RuntimeError) -> LikewiseError:
    """The error that the leading worker has left, else what TorchDistributor says."""
    path = job.work / FAILURE
    if path.is_file():
        told = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
        kind: type[LikewiseError] = getattr(errors, told["kind"], LikewiseError)
        return kind(told["message"], hint=told["hint"])
    return LikewiseError(
        f"fine-tuning: a worker has failed: {error}",
        hint="its error stands in the lines above; the last checkpoint is kept",
    )


def _gpus(local: bool) -> bool:
    return local and torch.cuda.is_available()


@contextmanager
def _loopback(workers: int) -> Iterator[None]:
    """Workers on one machine talk over loopback and share its cores."""
    wanted = {
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // workers)),
    }
    before = {key: os.environ.get(key) for key in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
