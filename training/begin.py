"""What the stages of this room would make from what; see ``spark_jobs.begin``."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from likewise.errors import MissingTableError
from training.data.sample import sampled
from training.models.chosen import chosen_model, is_network

if TYPE_CHECKING:
    from likewise.study import Stage, Study

__all__ = ["compare", "rank"]

# Raised whenever a stage's rows would change though nothing that goes into it has.
COMPARE, COMPARE_CLASSES, RANK = 3, 1, 1


def compare(study: Study, *, redo: bool = False) -> Stage:
    """The table ``comparison``, of classifiers of likes or of classes."""
    settings, question = study.config.compare, study.config.question.kind
    # Labels of kind "reviewed" hold the reviews already.
    reviews = settings.reviews and question != "reviewed" and study.manifest("reviews") is not None
    inputs = ["labels", "features", *(["reviews"] if reviews else [])]
    seed = study.config.study.seed
    aside = {"jobs", "backend", "bootstrap", "reviews", "most_pictures"}
    if question != "likes":
        params = {
            **settings.model_dump(exclude=aside | {"permutations"}),
            **sampled(study),
            "told": sorted(settings.model_fields_set & {"classifiers", "sets"}),
            "question": "classes",
            "seed": seed,
        }
        return study.begin(
            "comparison", inputs=inputs, params=params, code=COMPARE_CLASSES, redo=redo
        )
    params = {**settings.model_dump(exclude=aside), **sampled(study), "seed": seed}
    return study.begin("comparison", inputs=inputs, params=params, code=COMPARE, redo=redo)


def rank(study: Study, model: str | None = None, *, redo: bool = False) -> Stage:
    """The table ``scores``.

    Raises:
        MissingTableError: there is no such model.
    """
    name = chosen_model(study, model)
    return study.begin(
        "scores",
        inputs=["pictures" if is_network(study, name) else "features", "labels"],
        params={"model": name, "parameters": _model_print(study, name)},
        code=RANK,
        redo=redo,
    )


def _model_print(study: Study, name: str) -> str:
    """The model's parameters and card, so that a model fitted anew makes new scores."""
    folder = study.root / "models" / name
    if not folder.is_dir():
        raise MissingTableError(
            f"{study.root}: there is no saved model {name!r}",
            hint=f"run: likewise compare {study.root}",
        )
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix != ".md":
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
