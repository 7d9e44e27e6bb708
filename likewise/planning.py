"""``likewise plan``: what a run would do, why, and what it will about cost; nothing is done."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import likewise
from likewise.errors import LikewiseError, MissingTableError
from likewise.growth import Growth
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


class _Asked(Exception):  # noqa: N818 - it carries an answer, it is no error
    """Ends a stage at the moment when it says what it would make."""

    def __init__(self, made: Stage | Growth) -> None:
        super().__init__()
        self.made = made


class _Dry(Study):
    """A study in which no stage goes beyond saying what it would make."""

    def begin(self, *arguments: Any, **how: Any) -> Stage:
        raise _Asked(super().begin(*arguments, **how))

    def grow(self, *arguments: Any, **how: Any) -> Growth:
        raise _Asked(super().grow(*arguments, **how))


def plan(study: Study | str | os.PathLike[str]) -> list[Step]:
    """What ``likewise run`` would do now, stage by stage, in their order.

    Raises:
        ConfigError, WeightsError: a stage could not be started as it is configured.
    """
    opened = Study.open(study)
    dry = _Dry(opened.root, opened.config)
    known = rates(opened)
    steps = [_collect(opened)]
    upset = bool(steps[0].why)
    for stage in ("clean", "download", "faces", "label", "extract", "compare", "rank"):
        step = _download(opened, known) if stage == "download" else _step(dry, stage, known)
        if upset and not step.why:
            why = f"{_first(steps)} brings other rows"
            step = Step(stage, step.there, None, (why,))
        upset |= bool(step.why)
        steps.append(step)
    return steps


def _first(steps: Sequence[Step]) -> str:
    return next(step.stage for step in steps if step.missing or step.why)


def _step(dry: _Dry, stage: str, known: Mapping[str, Rate]) -> Step:
    table = next(name for name, verb in MADE_BY.items() if verb == stage)
    before = dry.manifest(table)
    there = 0 if before is None else before.rows
    try:
        getattr(likewise, stage).__wrapped__(dry)  # a plan neither waits for the lock nor logs
    except _Asked as asked:
        made = asked.made
        if made.done:
            return Step(stage, there, 0)
        why = _why(before.made_from if before is not None else None, made.made_from)
        if isinstance(made, Growth):
            return _itemwise(dry, stage, made, why, known)
        rows = max(_rows_in(dry, made), 1)
        return Step(stage, there, rows, why, *known.get(stage, Rate()).of(rows))
    except (MissingTableError, LikewiseError) as error:
        return Step(stage, there, None, (str(error),))
    return Step(stage, there, 0)


def _itemwise(
    study: Study, stage: str, made: Growth, why: tuple[str, ...], known: Mapping[str, Rate]
) -> Step:
    from spark_jobs.chunks import distinct_pictures, missing_from

    wanted = (
        distinct_pictures(study)
        if stage == "faces"
        else study.read("labels", ["picture_id"])["picture_id"].unique()
    )
    seen = made.known()
    missing = len(missing_from(wanted, seen))
    return Step(stage, len(seen), missing, why, *known.get(stage, Rate()).of(missing))


def _rows_in(study: Study, made: Stage) -> int:
    inputs = [study.manifest(name) for name in made.made_from["inputs"]]
    return max((manifest.rows for manifest in inputs if manifest is not None), default=0)


def _why(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> tuple[str, ...]:
    if before is None:
        return ("it was never made",)
    old, new = _flat(before), _flat(now)
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return tuple(
        f"{key.removeprefix('inputs.')} holds other rows"
        if key.startswith("inputs.")
        else f"{key.removeprefix('params.')} was {old.get(key)!r}, is {new.get(key)!r}"
        for key in changed
    )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


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
    why = []
    if hours >= 1:
        why.append(f"{hours:.0f} hours have not been covered")
    if due:
        why.append(f"{due:,} posts have come of age and are read again")
    return Step("collect", there, due if not hours >= 1 else None, tuple(why))


def _download(study: Study, known: Mapping[str, Rate]) -> Step:
    from collectors.downloading.store import Store

    manifest, kept = study.manifest("pictures"), study.manifest("kept_posts")
    there = 0 if manifest is None else manifest.rows
    if kept is None:
        return Step("download", there, None, ("there is no table 'kept_posts' yet",))
    if Store(study).is_current(kept.fingerprint):
        return Step("download", there, 0)
    why = "it was never made" if manifest is None else "kept_posts holds other rows, or the rules"
    seen = set()
    if manifest is not None:
        columns = [*POST_KEY]
        seen = {tuple(row.values()) for row in study.read("pictures", columns).to_pylist()}
    rows = study.read("kept_posts", POST_KEY).to_pylist()
    missing = sum(tuple(row.values()) not in seen for row in rows)
    return Step("download", there, missing, (why,), *known.get("download", Rate()).of(missing))
