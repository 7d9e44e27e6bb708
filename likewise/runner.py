"""``likewise run``: all stages in order, each skipped when its table is there already."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import likewise
from likewise.errors import PartialError, UsageError
from likewise.nights import end_night
from likewise.progress import note
from likewise.study import MADE_BY, Study

__all__ = ["STAGES", "run"]

STAGES = (
    "collect",
    "clean",
    "download",
    "faces",
    "label",
    "extract",
    "compare",
    "rank",
    "report",
)

ON_SPARK = {"clean", "faces", "label", "extract", "compare", "rank"}


def run(
    study: Study | str | os.PathLike[str],
    *,
    until: str = "report",
    master: str | None = None,
) -> Path | None:
    """Do the stages up to ``until``; return the report's path when it was made.

    A stage whose inputs and parameters have not changed is skipped; another makes the next version
    of its table, and the last one stays readable: ``Study.open(path, at=NIGHT)``.

    A stage whose items failed in part (pictures that are gone, say) does not stop the run: the
    failures are in the funnel, and PartialError is raised at the end so that the exit code tells.

    Raises:
        UsageError: ``until`` is not a stage.
        PartialError: some items failed in some stage.
    """
    if until not in STAGES:
        raise UsageError(f"there is no stage {until!r}; stages are {', '.join(STAGES)}")
    opened = Study.open(study)
    failures: list[tuple[str, str]] = []
    answer: Any = None
    for stage in STAGES[: STAGES.index(until) + 1]:
        started = time.monotonic()
        try:
            options: dict[str, Any] = {"master": master} if stage in ON_SPARK else {}
            answer = getattr(likewise, stage)(opened, **options)
        except PartialError as error:
            if opened.manifest(_TABLES.get(stage, stage)) is None:
                raise
            failures += [(f"{stage}: {item}", reason) for item, reason in error.failures]
        note(f"{stage:<9} {_summary(stage, opened)} ({time.monotonic() - started:.1f} s)")
    end_night(opened)
    if failures:
        raise PartialError(
            f"{opened.root}: {len(failures)} items failed, everything else is done",
            failures,
            hint="ask again with: likewise download --retry failed, then likewise run",
            folder=opened.root / "spool",
        )
    return answer if isinstance(answer, Path) else None


_TABLES = {verb: table for table, verb in reversed(MADE_BY.items())}
"""Stage -> its first table, which is there once the stage has published."""


def _summary(stage: str, study: Study) -> str:
    table = _TABLES.get(stage, stage)
    manifest = study.manifest(table)
    if manifest is None:
        return "done"
    funnel = manifest.funnel
    if not funnel:
        return f"{manifest.rows:,} rows"
    return f"{funnel['rows_in']:,} {funnel['unit']} in, {funnel['rows_out']:,} out"
