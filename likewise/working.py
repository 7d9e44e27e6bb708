"""What every function that writes into a study does: take its lock, log, and say what it cost.

The command line and Python come through the same door. Inside of a run that holds the lock already
(``likewise run`` calls the stages) nothing is taken twice.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psutil

from likewise.errors import PartialError
from likewise.logs import exit_code_of, tell
from likewise.store import PartFacts, filesystem_of
from likewise.study import MADE_BY, Study
from likewise.tables import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["StageFacts", "Tally", "changes_study", "count_changes", "cpu_seconds"]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows of a table that a run made new and took over from before, and bytes written."""

    new: int = 0
    reused: int = 0
    bytes: int = 0


@dataclass(slots=True)
class StageFacts:
    """What one call of a stage did: versions of its tables before and after, rows, and cost.

    ``new`` counts keys that the table did not hold before, ``reused`` those that it held already;
    both are of the stage's first table. ``failed`` are items that failed in this call. ``seconds``
    is wall time, ``cpu`` that of this process and all below it, the JVM included.
    """

    stage: str
    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    new: int = 0
    reused: int = 0
    failed: int = 0
    bytes: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    exit_code: int = 0


def changes_study(verb: str) -> Callable[[F], F]:
    """Let a function on a study hold its lock while it works, and log what it did.

    Raises (the function):
        StudyBusyError: another run holds the study.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def work(study: Study | str | os.PathLike[str], *arguments: Any, **options: Any) -> Any:
            opened = Study.open(study)
            if opened.versions is not None:  # a snapshot is read; nothing can be made in it
                return function(opened, *arguments, **options)
            with opened.lock(), _told(opened, verb):
                return function(opened, *arguments, **options)

        return cast(F, work)

    return decorate


@contextlib.contextmanager
def _told(study: Study, verb: str) -> Iterator[None]:
    maker = "collect" if verb == "refresh" else verb
    tables = [table for table, verb in MADE_BY.items() if verb == maker]
    run = study.run
    if run is None or not tables or run.stage == verb:  # no stage, or the inner one of two doors
        yield
        return
    run.stage = verb
    facts = StageFacts(verb, before=_versions(study, tables))
    parts = study.store.facts(tables[0])
    began, cpu = time.monotonic(), cpu_seconds()
    tell("stage begins", stage=verb, before=facts.before)
    failed: BaseException | None = None
    try:
        yield
    except BaseException as error:
        failed = error
        raise
    finally:
        facts.seconds = round(time.monotonic() - began, 3)
        facts.cpu = round(cpu_seconds() - cpu, 3)
        facts.exit_code = exit_code_of(failed)
        if failed is None or isinstance(failed, PartialError):
            facts.failed = len(failed.failures) if failed is not None else 0
            facts.after = _versions(study, tables)
            tally = count_changes(study, tables[0], facts.before.get(tables[0]), parts)
            facts.new, facts.reused, facts.bytes = tally.new, tally.reused, tally.bytes
        said = asdict(facts)
        tell("stage ends", **said)
        run.stages.append(said)
        run.stage = None


def _versions(study: Study, tables: Sequence[str]) -> dict[str, int]:
    found = {name: study.store.version(name) for name in tables}
    return {name: number for name, number in found.items() if number >= 0}


def count_changes(
    study: Study, table: str, before: int | None, parts: dict[str, PartFacts]
) -> Tally:
    """What the table's newest version holds beyond version ``before``, whose parts are given."""
    now = study.store.facts(table)
    rows = sum(one.rows for one in now.values())
    added = {name: one for name, one in now.items() if name not in parts}
    written = sum(one.size for one in added.values())
    if not added and parts.keys() == now.keys():
        return Tally(0, rows, 0)
    if parts.keys() <= now.keys() or before is None:  # nothing was rewritten: the parts tell
        new = sum(one.rows for one in added.values())
        return Tally(new, rows - new, written)
    gone = [name for name in parts if name not in now]
    new = _fresh(study, table, sorted(added), gone)
    return Tally(new, rows - new, written)


def _fresh(study: Study, table: str, added: Sequence[str], gone: Sequence[str]) -> int:
    """Keys in the parts ``added`` that none of the parts ``gone`` held: only those are read."""
    import duckdb

    keys = list(TABLES[table].key)
    db = duckdb.connect(config={"threads": 1})
    for view, names in (("after", added), ("before", gone)):
        db.register(view, _keys_of(study.store.place(table), names, TABLES[table].schema, keys))
    same = " AND ".join(f"a.{key} IS NOT DISTINCT FROM b.{key}" for key in keys)
    found = db.execute(f"SELECT count(*) FROM after a ANTI JOIN before b ON {same}").fetchone()  # noqa: S608 - names of our own
    db.close()
    return int(found[0]) if found else 0


def _keys_of(
    place: str, names: Sequence[str], schema: pa.Schema, keys: Sequence[str]
) -> pa.RecordBatchReader:
    """The key columns of these parts; a part that was lost holds none, the stage made it again."""
    import pyarrow as pa
    import pyarrow.dataset as ds
    from pyarrow.fs import FileType

    there: list[str] = []
    if names:
        filesystem, paths = filesystem_of([f"{place}/{name}" for name in names])
        facts = filesystem.get_file_info(paths)
        there = [one.path for one in facts if one.type != FileType.NotFound]
    if not there:
        empty = pa.schema([schema.field(key) for key in keys]).empty_table()
        return empty.to_reader()
    found = ds.dataset(there, filesystem=filesystem, partitioning=None)
    return found.scanner(columns=list(keys)).to_reader()


def cpu_seconds() -> float:
    """CPU time of this process, of the children that have ended, and of those below that live."""
    own = os.times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            times = child.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
