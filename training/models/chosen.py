"""Which saved model is asked, by its name; no model is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from likewise.errors import MissingTableError
from training.models import saved

if TYPE_CHECKING:
    from likewise.study import Study

__all__ = ["chosen_model", "is_network"]


def chosen_model(study: Study, model: str | None = None) -> str:
    """Name of the model that ranks: ``model``, else ``[rank] model``, ``auto`` being the best.

    Raises:
        MissingTableError: there is none.
    """
    name = model or study.config.rank.model
    if name != "auto" or is_network(study, name):
        return name
    if study.config.question.kind == "likes":
        return saved.best(study)
    known = saved.class_names(study)
    if not known:
        raise MissingTableError(
            f"{study.root}: there is no saved model yet", hint=f"run: likewise compare {study.root}"
        )
    return known[0]


def is_network(study: Study, name: str) -> bool:
    """Whether a model is a network of its own, which reads the pictures themselves."""
    return (study.root / "models" / name / "network.safetensors").is_file()
