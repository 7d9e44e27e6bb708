"""What monitoring reads of a night: Prometheus' text in a file of node_exporter, or a Pushgateway.

Names and labels are those of ``infra/alarms/rules.yml``; docs/operations.md lists them. What has to
be remembered between nights (the last success, days without news) stands in ``observed.json``.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway, write_to_textfile

from collectors.collect import tokens_for
from collectors.platforms import get
from likewise.errors import CircuitOpenError, ExitCode
from likewise.logs import exit_code_of, tell
from likewise.progress import note
from likewise.study import Study
from likewise.whole import fingerprint, write_json
from likewise.working import count_changes

__all__ = ["Observed", "flipped_share", "observe", "registry_of"]

FILE = "observed.json"
PUSH_S = 3.0
"""Seconds that a Pushgateway may take: a night does not wait for who watches it."""
LONGEST = 60
"""Days without news that are remembered."""


@dataclass(slots=True)
class Observed:
    """What one study remembers between nights. Times are Unix seconds, 0 where there was none.

    ``quiet_days`` are the UTC days since the last news on which a run ended and brought no post:
    several runs of one day are one night.
    """

    last_run: float = 0.0
    last_success: float = 0.0
    exit_code: int = 0
    quiet_days: list[str] = field(default_factory=list)
    flipped: float = 0.0
    stages: list[Mapping[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, study: Study) -> Observed:
        """As the last run left it; empty where there was none, or where the file is damaged."""
        try:
            raw = json.loads((study.root / FILE).read_text(encoding="utf-8"))
            return cls(**{name: raw[name] for name in cls.__dataclass_fields__ if name in raw})
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError, TypeError):
            return cls()


@contextlib.contextmanager
def observe(study: Study) -> Iterator[list[BaseException]]:
    """Write the metrics of the night that the block is, however it ends.

    The block adds errors that it survived to the list: a night in which nearly everything failed
    for one reason (a circuit breaker opened) has not succeeded, although the others went on.
    """
    before = _last_night(study)
    survived: list[BaseException] = []
    try:
        yield survived
    except BaseException as error:
        _write(study, before, error, survived)
        raise
    else:
        _write(study, before, None, survived)


def _last_night(study: Study) -> Mapping[str, int]:
    known = study.nights()
    return known[-1]["versions"] if known else {}


def _write(
    study: Study,
    before: Mapping[str, int],
    error: BaseException | None,
    survived: Sequence[BaseException],
) -> None:
    """Metrics are told, never the reason why a night fails: an error here is a note."""
    now = time.time()
    seen = Observed.of(study)
    seen.last_run, seen.exit_code = now, exit_code_of(error)
    run = study.run
    seen.stages = [] if run is None else list(run.stages)
    done = seen.exit_code in (ExitCode.DONE, ExitCode.PARTIAL)
    broken = any(isinstance(one, CircuitOpenError) for one in (error, *survived))
    try:
        if done and not broken:
            seen.last_success = now
            seen.flipped = flipped_share(study, before.get("labels"))
            _count_news(study, seen, before.get("posts"), now)
        write_json(study.root / FILE, asdict(seen))
        _publish(study, registry_of(study, seen))
    except Exception as fault:  # noqa: BLE001 - whatever fails here must not fail the night
        tell("metrics were not written", error=type(fault).__name__)
        note(f"metrics were not written: {fault}")


def _count_news(study: Study, seen: Observed, before: int | None, now: float) -> None:
    parts = {}
    if before is not None:
        parts = study.store.facts("posts", version=before)
    changed = study.store.version("posts") != (-1 if before is None else before)
    if changed and count_changes(study, "posts", before, parts).new:
        seen.quiet_days = []
        return
    day = dt.datetime.fromtimestamp(now, dt.UTC).date().isoformat()
    seen.quiet_days = [*(one for one in seen.quiet_days if one != day), day][-LONGEST:]


def flipped_share(study: Study, before: int | None) -> float:
    """Share of the pictures labelled in both versions whose label changed; 0 without a pair."""
    if before is None or study.store.version("labels") in (-1, before):
        return 0.0
    import duckdb

    db = duckdb.connect(config={"threads": 1})
    for name, version in (("old", before), ("new", study.store.version("labels"))):
        seen = Study(study.root, study.config, {"labels": version})
        db.register(name, seen.dataset("labels").scanner(["picture_id", "label"]).to_reader())
    found = db.execute(
        "SELECT avg((old.label IS DISTINCT FROM new.label)::int) "
        "FROM old JOIN new USING (picture_id)"
    ).fetchone()
    db.close()
    return float(found[0]) if found and found[0] is not None else 0.0


def registry_of(study: Study, seen: Observed) -> CollectorRegistry:
    """Everything that is known of the study now, as gauges labelled with its folder."""
    registry = CollectorRegistry()
    name = str(study.root)

    def gauge(title: str, help_: str, *labels: str) -> Gauge:
        return Gauge(f"likewise_{title}", help_, ["study", *labels], registry=registry)

    gauge("last_run_timestamp_seconds", "When a run ended last.").labels(name).set(seen.last_run)
    gauge("last_success_timestamp_seconds", "When a run succeeded last.").labels(name).set(
        seen.last_success
    )
    gauge("last_exit_code", "Exit code of the last run.").labels(name).set(seen.exit_code)
    gauge("nights_without_news", "Days in a row whose runs brought no post.").labels(name).set(
        len(seen.quiet_days)
    )
    gauge("labels_flipped_ratio", "Share of labels that the last run changed.").labels(name).set(
        seen.flipped
    )
    gauge("store_bytes", "Bytes of all tables, every version.").labels(name).set(
        study.store.bytes()
    )
    for title, key, help_ in (
        ("items_new", "new", "Rows that the last run made new."),
        ("items_reused", "reused", "Rows that the last run took over."),
        ("items_failed", "failed", "Items that failed in the last run."),
        ("stage_seconds", "seconds", "Wall time of the last run."),
        ("stage_cpu_seconds", "cpu", "CPU time of the last run, all processes."),
        ("stage_bytes", "bytes", "Bytes that the last run wrote."),
    ):
        per_stage = gauge(title, help_, "stage")
        for facts in seen.stages:
            per_stage.labels(name, facts["stage"]).set(facts[key])
    rows = gauge("table_rows", "Rows of a table.", "table")
    for table in study.tables():
        manifest = study.manifest(table)
        if manifest is not None:
            rows.labels(name, table).set(manifest.rows)
    ends = gauge("token_expiry_timestamp_seconds", "When a token ends.", "host", "platform")
    for host, platform, moment in _token_ends(study):
        ends.labels(name, host, platform).set(moment)
    return registry


def _token_ends(study: Study) -> list[tuple[str, str, float]]:
    """The last end of each host's tokens: while one lives, the host can be read."""
    found = []
    for source in study.config.collect.sources:
        platform = get(source.platform)(source)
        moments = [one.expires_at for one in tokens_for(platform)]
        if moments and None not in moments:
            found.append((platform.host, platform.name, max(m for m in moments if m is not None)))
    return found


def _publish(study: Study, registry: CollectorRegistry) -> None:
    section = study.config.monitor
    if section.textfile:
        folder = Path(section.textfile)
        # One file a study: node_exporter reads all of them.
        name = f"likewise-{study.root.name}-{fingerprint([str(study.root)])[:6]}.prom"
        write_to_textfile(os.fspath(folder / name), registry)
    if section.pushgateway:
        push_to_gateway(
            section.pushgateway,
            job="likewise",
            registry=registry,
            grouping_key={"study": str(study.root)},
            timeout=PUSH_S,
        )
