"""Which question a study asks, for the verbs that answer one of them only."""

from __future__ import annotations

from likewise.errors import DataError
from likewise.study import Study

__all__ = ["must_ask_likes"]


def must_ask_likes(study: Study, verb: str) -> None:
    """Refuse a study about classes, naming the verb that answers it.

    Raises:
        DataError: the study asks which class a picture is of.
    """
    if study.config.question.kind != "likes":
        raise DataError(
            f"{study.root} asks which class a picture is of: {verb} answers what is liked",
            hint=f"run: likewise classify train {study.root}, then classify evaluate",
        )
