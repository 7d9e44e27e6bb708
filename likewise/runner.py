"""``likewise run``: all stages in order, each skipped when its table is there already."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import likewise
from likewise.errors import PartialError, UsageError
from likewise.metrics import observe
from likewise.nights import end_night, last_night
from likewise.progress import note
from likewise.rates import Rate, note_rate
from likewise.study import MADE_BY, Study
from likewise.working import changes_study

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

LIKES_ONLY = {"faces"}
"""Stages that a study about classes has no use for."""

ON_SPARK = {"clean", "faces", "label", "extract", "compare", "rank"}


@changes_study("run")
def run(
    study: Study | str | os.PathLike[str],
    *,
    until: str = "report",
    master: str | None = None,
) -> Path | None:
    """Do the stages up to ``until``; return the report's path when it was made.

    Called again it is a night: it collects from the last covered moment to now, reads the counts of
    posts that have come of age again, and goes through the stages; within an hour it asks nothing.
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
    assert opened.run is not None  # the lock is held
    opened.run.night = last_night(opened) + 1
    with observe(opened) as survived:
        return _night(opened, until, master, survived)


def _night(
    opened: Study, until: str, master: str | None, survived: list[BaseException]
) -> Path | None:
    failures: list[tuple[str, str]] = []
    answer: Any = None
    stages = STAGES[: STAGES.index(until) + 1]
    if opened.config.question.kind != "likes":
        stages = tuple(stage for stage in stages if stage not in LIKES_ONLY)
    for stage in stages:
        started = time.monotonic()
        before = _parts(stage, opened)
        try:
            answer = _do(stage, opened, master)
        except PartialError as error:
            if opened.manifest(_TABLES.get(stage, stage)) is None:
                raise
            survived.append(error)
            failures += [(f"{stage}: {item}", reason) for item, reason in error.failures]
        _note_rate(stage, opened, before, time.monotonic() - started)
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


def _do(stage: str, study: Study, master: str | None) -> Any:
    """One stage; ``collect`` goes on to now, and reads what has come of age again."""
    if stage == "collect":
        likewise.collect(study, until_now=True)
        return likewise.refresh(study, of_age=True)
    if stage == "download" and master is not None and not master.startswith("local"):
        from spark_jobs.download import download as download_on_executors

        return download_on_executors(study, master=master)
    options: dict[str, Any] = {"master": master} if stage in ON_SPARK else {}
    return getattr(likewise, stage)(study, **options)


def _parts(stage: str, study: Study) -> dict[str, int]:
    tables = [table for table, verb in MADE_BY.items() if verb == stage]
    return {
        f"{table}/{part}": size
        for table in tables
        for part, size in study.store.sizes(table).items()
    }


def _note_rate(stage: str, study: Study, before: dict[str, int], seconds: float) -> None:
    """Remember what the stage cost for each item that it made."""
    after = _parts(stage, study)
    new = after.keys() - before.keys()
    manifest = study.manifest(_TABLES[stage]) if stage in _TABLES else None
    if not new or manifest is None:
        return
    written = sum(after[part] for part in new)
    share = written / max(1, sum(after.values()))
    items = round(manifest.rows / manifest.extra.get("views", 1) * share)
    note_rate(study, stage, Rate(seconds, written, items))


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
