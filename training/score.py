"""``score``: how well a picture that was never posted would be liked, as far as the study can tell.

Neither torch nor Spark is loaded: ONNX Runtime runs the exported network, and the study's pictures
are compared with from one file (``training.scoring.reference``).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from likewise.errors import DataError, UsageError
from likewise.progress import progress
from likewise.study import Study
from training.data.question import asks_classes
from training.data.unit import unit_of
from training.scoring.answers import AuthorBaseline, Opinion, Scored, Similar
from training.scoring.page import Scores
from training.scoring.session import NEIGHBOURS, RULES, Session

__all__ = ["AuthorBaseline", "Opinion", "Scored", "Scores", "Similar", "score"]

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
    if asks_classes(opened):
        raise UsageError(
            f"{opened.root} asks which class a picture is of, not what is liked",
            hint=f"run: likewise classify predict {opened.root} FILES",
        )
    named = list(_named(pictures))
    if not named:
        raise UsageError("there is no picture to score", hint="give files or a folder")
    session = Session(opened, models)
    session.baseline(author)  # an unknown name is told before the work
    checked = asyncio.run(_checked(named))
    good = [(name, data) for name, data, error in checked if error is None]
    if not good:
        why = "; ".join(f"{name}: {error}" for name, _, error in checked[:5])
        raise DataError(f"none of {len(checked)} files is a picture that can be scored: {why}")
    with progress("score", total=len(good)) as bar:
        rows = iter(session.score(good, author=author, neighbours=neighbours, bar=bar))
    found = tuple(
        next(rows) if error is None else Scored(name, error) for name, _, error in checked
    )
    return Scores(found, session.base_rate, opened, session.doubts, unit_of(opened))


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

    workers = min(len(named), os.cpu_count() or 1, 4)
    async with open_inspectors(RULES, workers) as pool:
        answers = await asyncio.gather(*(pool.inspect(data) for _, data in named))
    return [
        (name, data, answer.found.error_class)
        for (name, data), answer in zip(named, answers, strict=True)
    ]
