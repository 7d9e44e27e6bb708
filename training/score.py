"""``score``: how well a picture that was never posted would be liked, as far as the study can tell.

Neither torch nor Spark is loaded: ONNX Runtime runs the exported network, and the study's pictures
are compared with from one file (``training.scoring.reference``).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backbones.planning import make_plan
from likewise.errors import DataError, UsageError
from likewise.progress import progress
from likewise.study import Study
from training.models import saved
from training.scoring.answers import AuthorBaseline, Opinion, Scored, Similar
from training.scoring.intervals import probability_interval, wilson
from training.scoring.page import Scores
from training.scoring.reference import Reference, reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.models.saved import Scorer

__all__ = ["AuthorBaseline", "Opinion", "Scored", "Scores", "Similar", "score"]

NEIGHBOURS = 3
UNUSUAL = 0.05
"""A property stands out below this share of the study's pictures, or above one minus it."""
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif")


def score(
    study: Study | str | os.PathLike[str],
    pictures: Iterable[bytes | str | os.PathLike[str]] | bytes | str | os.PathLike[str],
    *,
    models: Sequence[str] = (),
    author: str | None = None,
    neighbours: int = NEIGHBOURS,
) -> Scores:
    """Score pictures by the study's models.

    Args:
        study: The study or its folder; it must have been compared.
        pictures: Files, folders or contents of files, one or many.
        models: Names of saved models; none takes ``[rank] model``.
        author: Id or handle of who will post: adds how that author's pictures did.
        neighbours: Liked and unliked pictures to name for each.

    Raises:
        MissingTableError: there is no model, label or feature yet.
        UsageError: a file does not exist, or nobody in the study goes by the author's name.
        DataError: not one of the files is a picture.
    """
    opened = Study.open(study)
    named = list(_named(pictures))
    if not named:
        raise UsageError("there is no picture to score", hint="give files or a folder")
    scorers = [_scorer(opened, name) for name in (models or (None,))]
    first = reference(opened, scorers[0])
    baseline = _baseline(first, author)
    checked = asyncio.run(_checked(named))
    good = [(name, data) for name, data, error in checked if error is None]
    if not good:
        why = "; ".join(f"{name}: {error}" for name, _, error in checked[:5])
        raise DataError(f"none of {len(checked)} files is a picture that can be scored: {why}")
    features = _features(opened, scorers, [data for _, data in good])
    rows = iter(_scored(opened, scorers, first, features, good, baseline, neighbours))
    found = tuple(
        next(rows) if error is None else Scored(name, error) for name, _, error in checked
    )
    return Scores(found, first.base_rate, opened)


def _scorer(study: Study, name: str | None) -> Scorer:
    wanted = name or study.config.rank.model
    if (study.root / "models" / wanted / "network.safetensors").is_file():
        raise UsageError(
            f"model {wanted} is a network of its own; score takes models on features",
            hint=f"one of: {', '.join(saved.names(study))}",
        )
    return saved.load(study, saved.best(study) if wanted == "auto" else wanted)


def _named(pictures: Any) -> Iterator[tuple[str, bytes]]:
    single = isinstance(pictures, bytes | str | os.PathLike)
    for number, one in enumerate([pictures] if single else pictures):
        if isinstance(one, bytes):
            yield f"picture {number + 1}", one
            continue
        path = Path(one)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in ENDINGS)
            yield from ((str(p), p.read_bytes()) for p in inside if p.is_file())
        elif path.is_file():
            yield str(path), path.read_bytes()
        else:
            raise UsageError(f"{path} does not exist, expected a picture or a folder")


async def _checked(named: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes, str | None]]:
    """Each file with the reason why it is no picture: judged in processes that may be lost."""
    from collectors.downloading.inspectors import open_inspectors
    from filters.pictures.decode import Hygiene

    rules = Hygiene(min_side=1, max_aspect=1e9, min_contrast=0.0)
    workers = min(len(named), os.cpu_count() or 1, 4)
    async with open_inspectors(rules, workers) as pool:
        answers = await asyncio.gather(*(pool.inspect(data) for _, data in named))
    return [
        (name, data, answer.found.error_class)
        for (name, data), answer in zip(named, answers, strict=True)
    ]


def _features(
    study: Study, scorers: Sequence[Any], pictures: Sequence[bytes]
) -> dict[tuple[str, str], NDArray[np.float32]]:
    """(backbone, layer) -> (n, views, d), made as the study's own features were."""
    from backbones.inference import embed

    found: dict[tuple[str, str], NDArray[np.float32]] = {}
    settings = study.config.extract
    for backbone in dict.fromkeys(scorer.backbone for scorer in scorers):
        layers = tuple(dict.fromkeys(s.layer for s in scorers if s.backbone == backbone))
        made = study.require("features").extra
        known = tuple(made.get("layers", layers)) if made.get("backbone") == backbone else layers
        plan = make_plan(
            backbone,
            # The export with the study's own layers is there already; another would need torch.
            known if set(layers) <= set(known) else layers,
            random_weights=settings.random_weights,
            folder=study.folder("cache", "onnx"),
            flip=settings.flip,
            pre_relu=settings.pre_relu,
            batch_size=min(len(pictures), 16),
            half=settings.storage == "float16",
            threads=os.cpu_count() or 1,
        )
        with progress("score", total=len(pictures)) as bar:
            batches = []
            for batch in embed(((str(n), data) for n, data in enumerate(pictures)), plan):
                batches.append(batch.features)
                bar.advance(len(batch.ids))
        for layer in layers:
            values = np.concatenate([batch[layer] for batch in batches])
            found[backbone, layer] = values.reshape(len(pictures), plan.views, -1)
    return found


def _baseline(known: Reference, author: str | None) -> AuthorBaseline | None:
    if author is None:
        return None
    name = author.strip().removeprefix("@")
    if name not in known.authors:
        raise UsageError(
            f"there is no author {author!r} with labelled pictures in this study",
            hint="give the id or the handle, or leave --author away",
        )
    n, good = known.authors[name]
    low, high = wilson(good, n)
    return AuthorBaseline(name, n, good, good / n, low, high)


def _scored(
    study: Study,
    scorers: Sequence[Any],
    first: Reference,
    features: dict[tuple[str, str], NDArray[np.float32]],
    pictures: Sequence[tuple[str, bytes]],
    baseline: AuthorBaseline | None,
    neighbours: int,
) -> Iterator[Scored]:
    opinions: list[list[Opinion]] = [[] for _ in pictures]
    for place, scorer in enumerate(scorers):
        known = first if place == 0 else reference(study, scorer)
        views = features[scorer.backbone, scorer.layer]
        n, n_views, dim = views.shape
        # Rank averages the views' scores, too.
        scores = scorer.score(views.reshape(-1, dim)).reshape(n, n_views).mean(axis=1)
        probabilities = scorer.probability(scores)
        for row, (value, chance) in enumerate(zip(scores, probabilities, strict=True)):
            ends = probability_interval(float(value), float(chance), known.draws)
            known_chance = float(chance) if np.isfinite(chance) else None
            opinions[row].append(
                Opinion(scorer.name, float(value), known_chance, *(ends or (None, None)))
            )
    upright = features[scorers[0].backbone, scorers[0].layer][:, 0]
    for row, (name, data) in enumerate(pictures):
        order, distance = first.nearest(upright[row])
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
            data,
        )


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
