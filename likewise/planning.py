"""``likewise plan``: what a run would do, why, and what it will about cost; nothing is done."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from likewise.growth import Growth
from likewise.intent import intent, why
from likewise.rates import Rate, rates
from likewise.stage import Stage
from likewise.study import MADE_BY, Study
from likewise.tables import POST_KEY

__all__ = ["Step", "plan"]

ITEMS = {"faces": "pictures", "extract": "labels"}
"""Itemwise stages, and the table that names their items."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a run would do with one stage.

    ``missing`` are the items that would be computed (None: it hangs on the stages before), ``why``
    what changed, ``seconds`` and ``bytes`` an estimate by the last run's rates.
    """

    stage: str
    there: int
    missing: int | None
    why: tuple[str, ...] = ()
    seconds: float | None = None
    bytes: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def plan(study: Study | str | os.PathLike[str]) -> list[Step]:
    """What ``likewise run`` would do now, stage by stage, in their order.

    Raises:
        ConfigError, WeightsError: a stage could not be started as it is configured.
    """
    opened = Study.open(study)
    known = rates(opened)
    steps = [_collect(opened)]
    upset = bool(steps[0].why)
    for stage in ("clean", "download", "faces", "label", "extract", "compare", "rank"):
        step = _download(opened, known) if stage == "download" else _step(opened, stage, known)
        if upset and not step.why:
            step = Step(stage, step.there, None, (f"{_first(steps)} brings other rows",))
        upset |= bool(step.why)
        steps.append(step)
    return steps


def _first(steps: Sequence[Step]) -> str:
    return next(step.stage for step in steps if step.missing or step.why)


def _step(study: Study, stage: str, known: Mapping[str, Rate]) -> Step:
    table = next(name for name, verb in MADE_BY.items() if verb == stage)
    before = study.manifest(table)
    there = 0 if before is None else before.rows
    asked = intent(study, stage)
    if asked.error is not None:
        return Step(stage, there, None, (str(asked.error),))
    made = asked.made
    if made is None or made.done:
        return Step(stage, there, 0)
    reasons = why(before, asked.made_from)
    if isinstance(made, Growth):
        return _itemwise(study, stage, made, reasons, known)
    rows = max(_rows_in(study, made), 1)
    return Step(stage, there, rows, reasons, *known.get(stage, Rate()).of(rows))


def _itemwise(
    study: Study, stage: str, made: Growth, reasons: tuple[str, ...], known: Mapping[str, Rate]
) -> Step:
    from spark_jobs.chunks import distinct_pictures, missing_from

    wanted = (
        distinct_pictures(study)
        if stage == "faces"
        else study.read("labels", ["picture_id"])["picture_id"].unique()
    )
    seen = made.known()
    missing = len(missing_from(wanted, seen))
    return Step(stage, len(seen), missing, reasons, *known.get(stage, Rate()).of(missing))


def _rows_in(study: Study, made: Stage) -> int:
    inputs = [study.manifest(name) for name in made.made_from["inputs"]]
    return max((manifest.rows for manifest in inputs if manifest is not None), default=0)


# -- what asks the outside ------------------------------------------------------------------


def _collect(study: Study) -> Step:
    from collectors.collect import hours_open, open_platforms
    from collectors.crawling.journal import Journal
    from collectors.refresh import DAY, waits_for_reading

    manifest = study.manifest("posts")
    there = 0 if manifest is None else manifest.rows
    if manifest is None or not study.journal_path.is_file():
        return Step("collect", there, None, ("it was never made",))
    age = int(study.config.clean.min_age_days * DAY)
    with Journal(study.journal_path) as journal:
        adapters = open_platforms(study)
        hours = max((hours_open(journal, one) for one in adapters), default=0.0)
        due = sum(waits_for_reading(journal, one, age) for one in adapters)
    reasons = []
    if hours >= 1:
        reasons.append(f"{hours:.0f} hours have not been covered")
    if due:
        reasons.append(f"{due:,} posts have come of age and are read again")
    return Step("collect", there, due if not hours >= 1 else None, tuple(reasons))


def _download(study: Study, known: Mapping[str, Rate]) -> Step:
    from collectors.downloading.store import Store

    manifest, kept = study.manifest("fetches"), study.manifest("kept_posts")
    there = 0 if manifest is None else manifest.rows
    if kept is None:
        return Step("download", there, None, ("there is no table 'kept_posts' yet",))
    if Store(study).is_current():
        return Step("download", there, 0)
    reasons = why(manifest, intent(study, "download").made_from) or ("a run was not finished",)
    seen = set()
    if manifest is not None:
        columns = [*POST_KEY]
        seen = {tuple(row.values()) for row in study.read("fetches", columns).to_pylist()}
    rows = study.read("kept_posts", POST_KEY).to_pylist()
    missing = sum(tuple(row.values()) not in seen for row in rows)
    return Step("download", there, missing, reasons, *known.get("download", Rate()).of(missing))
