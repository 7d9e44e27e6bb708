"""Which question a study asks, for the verbs that answer one of them only."""

from __future__ import annotations

from likewise.errors import DataError
from likewise.study import Study

__all__ = ["asks_classes", "must_ask_classes", "must_ask_likes"]


def asks_classes(study: Study) -> bool:
    """Whether the study asks which class a picture is of."""
    return study.config.question.kind != "likes"


def must_ask_classes(study: Study) -> None:
    """Refuse a study whose labels say what is liked.

    Raises:
        MissingTableError: there are no labels yet.
        DataError: the labels are not classes.
    """
    if study.require("labels").extra.get("question", "likes") == "likes":
        raise DataError(
            f"{study.root} asks what is liked, not which class a picture is of",
            hint='set kind = "classes" under [question] of likewise.toml, then: likewise label',
        )


def must_ask_likes(study: Study, verb: str) -> None:
    """Refuse a study about classes, naming the verb that answers it.

    Raises:
        DataError: the study asks which class a picture is of.
    """
    if asks_classes(study):
        raise DataError(
            f"{study.root} asks which class a picture is of: {verb} answers what is liked",
            hint=f"run: likewise compare {study.root}",
        )
