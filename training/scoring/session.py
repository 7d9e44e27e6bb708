"""A study's models and network, loaded once: the one code path of ``score`` and of the server.

Neither torch nor Spark is loaded: ONNX Runtime runs the exported network, and the study's pictures
are compared with from one file (``training.scoring.reference``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from backbones.planning import make_plan
from filters.pictures.decode import Hygiene
from likewise.errors import UsageError
from likewise.study import Study
from training.data.unit import UNIT_KEY, unit_codes, unit_of
from training.models import saved
from training.models.scoring import reads_pictures, saved_model
from training.scoring.answers import AuthorBaseline, Opinion, Scored, Similar
from training.scoring.intervals import drawn_sigmoids, probability_interval, wilson
from training.scoring.reference import Reference, reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backbones.engines import Engine
    from backbones.plan import Plan
    from likewise.progress import Bar
    from training.models.saved import Scorer
    from training.tuning.saved import FinetunedScorer

__all__ = ["NEIGHBOURS", "RULES", "Session"]

NEIGHBOURS = 3
UNUSUAL = 0.05
"""A property stands out below this share of the study's pictures, or above one minus it."""

BATCH = 16
"""Most pictures that the network sees at once."""

RULES = Hygiene(min_side=1, max_aspect=1e9, min_contrast=0.0)
"""Hygiene of a picture that is scored: whatever can be decoded within the bounds."""


class Session:
    """Answers about pictures by some models of one study.

    Args:
        study: the study, or a snapshot of it; it must have been compared.
        models: names of saved models; none takes ``[rank] model``.
        threads: of the network; 0 takes every processor.

    Raises:
        MissingTableError: there is no model, label or feature yet.
    """

    def __init__(self, study: Study, models: Sequence[str] = (), *, threads: int = 0) -> None:
        self.study = study
        self.models = [saved_model(study, name) for name in (models or (None,))]
        # What is near, far and usual is told by a layer's features, whoever gives the scores.
        on_features = [one for one in self.models if not reads_pictures(one)]
        self.scorers = on_features or [saved.load(study, saved.best(study))]
        self.references = [reference(study, scorer) for scorer in self.scorers]
        self._threads = threads or os.cpu_count() or 1
        self._opened: dict[str, tuple[Plan, Engine]] = {}

    @property
    def base_rate(self) -> float:
        """Share of the study's labelled pictures that are liked."""
        return self.references[0].base_rate

    @property
    def doubts(self) -> tuple[str, ...]:
        """Sentences about models that are not shown to know anything of pictures."""
        return tuple(words for one in self.models if (words := _doubt(one, self.base_rate)))

    def open(self) -> None:
        """Load every network now, not with the first picture."""
        for backbone in {scorer.backbone for scorer in self.scorers}:
            self._network(backbone)

    def baseline(self, author: str | None) -> AuthorBaseline | None:
        """How an author's pictures did. Raises UsageError where nobody goes by that name."""
        return None if author is None else _baseline(self.references[0], author)

    def score(
        self,
        pictures: Sequence[tuple[str, bytes]],
        *,
        author: str | None = None,
        neighbours: int = NEIGHBOURS,
        bar: Bar | None = None,
    ) -> list[Scored]:
        """Answers about whole pictures, (name, content of the file) each, in their order.

        A picture that cannot be decoded has an ``error``. Raises UsageError for an unknown author.
        """
        baseline = self.baseline(author)
        features, errors = self.features([data for _, data in pictures], bar)
        good = [one for one, error in zip(pictures, errors, strict=True) if error is None]
        rows = self._scored(features, good, baseline, neighbours)
        return [
            next(rows) if error is None else Scored(name, error)
            for (name, _), error in zip(pictures, errors, strict=True)
        ]

    def features(
        self, pictures: Sequence[bytes], bar: Bar | None = None
    ) -> tuple[dict[tuple[str, str], NDArray[np.float32]], list[str | None]]:
        """(backbone, layer) -> (n good, views, d), as the study's own were made; errors of all n.

        ``bar`` is told of each picture once.
        """
        from backbones.inference import embed

        found: dict[tuple[str, str], NDArray[np.float32]] = {}
        errors: list[str | None] = [None] * len(pictures)
        for place, backbone in enumerate(dict.fromkeys(s.backbone for s in self.scorers)):
            plan, engine = self._network(backbone)
            plan = replace(plan, batch_size=max(1, min(len(pictures), BATCH)))
            batches = []
            errors = []
            for batch in embed(((str(n), data) for n, data in enumerate(pictures)), plan, engine):
                batches.append(batch.features)
                errors += batch.errors
                if bar is not None and place == 0:
                    bar.advance(len(batch.ids))
            good = errors.count(None)
            for layer in plan.layers:
                values = np.concatenate([batch[layer] for batch in batches])
                found[backbone, layer] = values.reshape(good, plan.views, -1)
        return found, errors

    def _network(self, backbone: str) -> tuple[Plan, Engine]:
        if backbone not in self._opened:
            from backbones.engines import open_engine

            settings = self.study.config.extract
            layers = tuple(dict.fromkeys(s.layer for s in self.scorers if s.backbone == backbone))
            made = self.study.require("features").extra
            same = made.get("backbone") == backbone
            known = tuple(made.get("layers", layers)) if same else layers
            plan = make_plan(
                backbone,
                # The export with the study's own layers is there already; another needs torch.
                known if set(layers) <= set(known) else layers,
                random_weights=settings.random_weights,
                folder=self.study.folder("cache", "onnx"),
                flip=settings.flip,
                pre_relu=settings.pre_relu,
                half=settings.storage == "float16",
                threads=self._threads,
            )
            self._opened[backbone] = plan, open_engine(plan)
        return self._opened[backbone]

    def _scored(
        self,
        features: dict[tuple[str, str], NDArray[np.float32]],
        pictures: Sequence[tuple[str, bytes]],
        baseline: AuthorBaseline | None,
        neighbours: int,
    ) -> Iterator[Scored]:
        if not pictures:
            return
        opinions = self._opinions(features, pictures)
        first, scorer = self.references[0], self.scorers[0]
        distances = first.distances(features[scorer.backbone, scorer.layer][:, 0])
        for row, (name, data) in enumerate(pictures):
            own = hashlib.sha256(data).hexdigest()
            order = np.argsort(distances[row], kind="stable")
            # A picture of the study says nothing by being near to itself.
            order = order[first.picture_id[order] != own]
            distance = distances[row, order]
            label = first.label[order]
            yield Scored(
                name,
                None,
                tuple(opinions[row]),
                baseline,
                float(distance[0]),
                first.limit,
                _similar(first, order, distance, label == 1, neighbours),
                _similar(first, order, distance, label == 0, neighbours),
                tuple(_stands_out(first, data)),
                first.place(own),
                data,
            )

    def _opinions(
        self,
        features: dict[tuple[str, str], NDArray[np.float32]],
        pictures: Sequence[tuple[str, bytes]],
    ) -> list[list[Opinion]]:
        """Every model's answer to each picture."""
        found: list[list[Opinion]] = [[] for _ in pictures]
        references = dict(zip((one.name for one in self.scorers), self.references, strict=True))
        few = f"too few held-out {unit_of(self.study).many} for an interval"
        for model in self.models:
            if reads_pictures(model):
                scores = model.score_pictures(data for _, data in pictures)
                ranked = _ranked_draws(self.study, model.name)
                draws = np.empty((0, 2)) if ranked is None else ranked
                why = few if ranked is not None else f"for an interval: rank --model {model.name}"
            else:
                views = features[model.backbone, model.layer]
                # Rank averages the views' scores, too. One picture at a time: a product's last
                # digits hang on its shape, and no score must hang on what came with its picture.
                scores = np.array([model.score(one).mean() for one in views])
                draws, why = references[model.name].draws, few
            chances = model.probability(scores).tolist()
            for row, (value, chance) in enumerate(zip(scores.tolist(), chances, strict=True)):
                ends = probability_interval(value, chance, draws)
                low, high = ends or (None, None)
                known = chance if np.isfinite(chance) else None
                reason = "" if ends else why
                found[row].append(Opinion(model.name, value, known, low, high, reason))
        return found


def _ranked_draws(study: Study, model: str) -> NDArray[np.float64] | None:
    """Sigmoids of a model's own scores on held-out pictures; None where it is not the ranking."""
    ranked = study.manifest("scores")
    if ranked is None or ranked.extra.get("model") != model:
        return None
    labels = study.read("labels", ["picture_id", *UNIT_KEY, "label", "split"])
    labels = labels.filter(pc.equal(labels["split"], "test"))
    rows = labels.join(study.read("scores", ["picture_id", "score"]), "picture_id", None, "inner")
    rows = rows.combine_chunks()
    return drawn_sigmoids(
        rows["score"].to_numpy(),
        rows["label"].to_numpy().astype(np.int64),
        unit_codes(rows),
        study.config.study.seed,
    )


def _doubt(model: Scorer | FinetunedScorer, base_rate: float) -> str:
    """A sentence where the model is not shown to know anything of pictures; else nothing."""
    if reads_pictures(model):
        low = model.card["scores"].get("test_average_precision", {}).get("low")
        shown = {"chance": "above" if low is not None and low > base_rate else "open"}
    else:
        shown = model.card.get("shown", {})
    if shown.get("chance", "above") != "above":
        return (
            f"{model.name} is not shown to do better than chance on pictures that it has not seen: "
            "its probabilities may mean nothing."
        )
    if shown.get("adds") not in (None, "above"):
        return (
            f"{model.name} does better than chance, but that it adds anything to what is known "
            "without the picture is not shown."
        )
    return ""


def _baseline(known: Reference, author: str) -> AuthorBaseline:
    name = author.strip().removeprefix("@")
    if name not in known.authors:
        raise UsageError(
            f"there is no author {author!r} with labelled pictures in this study",
            hint="give the id or the handle, or leave --author away",
        )
    n, good = known.authors[name]
    low, high = wilson(good, n)
    return AuthorBaseline(name, n, good, good / n, low, high)


def _similar(
    known: Reference,
    order: NDArray[np.intp],
    distance: NDArray[np.float64],
    wanted: NDArray[np.bool_],
    most: int,
) -> tuple[Similar, ...]:
    places = np.flatnonzero(wanted)[:most]
    return tuple(Similar(str(known.picture_id[order[k]]), float(distance[k])) for k in places)


def _stands_out(known: Reference, data: bytes) -> Iterator[str]:
    """Properties that few of the study's pictures have as strongly."""
    if not known.usual:
        return
    from filters.pictures.decode import decode_rgb
    from training.pictures.properties import SIDE, properties

    found = properties(decode_rgb(data, min_side=SIDE))
    for name, values in known.usual.items():
        below = float(np.searchsorted(values, found[name]) / len(values))
        if below >= 1 - UNUSUAL:
            yield f"{name} higher than in {below:.0%} of the study's pictures"
        elif below <= UNUSUAL:
            yield f"{name} lower than in {1 - below:.0%} of the study's pictures"
