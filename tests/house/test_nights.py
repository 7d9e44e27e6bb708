"""A study that grows: the same command every night, on the sandbox's clock."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moved_clock import EPOCH, Clock

import likewise
from collectors.crawling.client import Client
from infra.sandbox import World, WorldSpec, running
from infra.sandbox.server import Sandbox
from likewise.config import render
from likewise.errors import PartialError
from likewise.nights import nights
from likewise.planning import plan
from likewise.study import Study

DAYS_AGO = (90, 45, 28, 14, 0)
"""Five nights: between them posts appear, come of age, and nothing else changes."""

TIMES = {"collected_at", "fetched_at", "attempts", "followers_at", "age_days"}
"""Columns that say when something was read; all others must not hang on the nights."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "time_ns", made)
    return made


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    spec = WorldSpec(seed=3, authors=60, posts=240, epoch=EPOCH.date())
    with running(World(spec)) as sandbox:
        sandbox.limiter.enabled = False
        yield sandbox


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that were asked for."""
    asked: list[str] = []
    call = Client.call

    async def counted(self: Client, request: Any) -> Any:
        asked.append(request.path)
        return await call(self, request)

    monkeypatch.setattr(Client, "call", counted)
    return asked


def study(folder: Path, server: Sandbox, **sections: Any) -> Study:
    source = {"platform": "mastodon", "host": server.url, "permission": "a test", "tags": ["photo"]}
    folder.mkdir()
    text = render(
        {
            "collect": {"sources": [source]},
            "download": {"allow_hosts": ["127.0.0.1"], "buckets": 2},
            "extract": {"backbone": "efficientnet-lite0"},
            "label": {"folds": 2},
            **sections,
        }
    )
    (folder / "likewise.toml").write_text(text, encoding="utf-8")
    return Study.open(folder)


def rows(opened: Study, table: str) -> list[dict[str, Any]]:
    """The table without what says when, in the order of its rows' text."""
    found = opened.read(table).drop_columns(sorted(TIMES & set(opened.dataset(table).schema.names)))
    return sorted(found.to_pylist(), key=str)


def run(opened: Study) -> None:
    with contextlib.suppress(PartialError):  # some of the sandbox's pictures are gone
        likewise.run(opened, until="extract")


def night(opened: Study) -> None:
    likewise.collect(opened, until_now=True)
    likewise.refresh(opened, of_age=True)


def test_nights_give_the_rows_of_one_collection_at_the_end(
    server: Sandbox, clock: Clock, calls: list[str], tmp_path: Path
) -> None:
    grown = study(tmp_path / "grown", server)
    sizes = []
    for days in DAYS_AGO:
        clock.set(days)
        night(grown)
        sizes.append(grown.require("posts").rows)
        before, fingerprint = len(calls), grown.require("posts").fingerprint
        clock.now += dt.timedelta(minutes=59)
        night(grown)
        assert len(calls) == before, "a second call the same hour asks nothing"
        assert grown.require("posts").fingerprint == fingerprint
    assert sorted(sizes) == sizes and sizes[0] < sizes[-1]
    clock.set(0)
    once = study(tmp_path / "once", server)
    night(once)
    assert rows(grown, "posts") == rows(once, "posts")
    least = grown.config.clean.min_age_days
    for row in grown.read("posts").to_pylist():
        if EPOCH - row["created_at"] > dt.timedelta(days=least, hours=1):
            age = row["collected_at"] - row["created_at"]
            assert age >= dt.timedelta(days=least), "its counts were read again when it was of age"


def test_a_missed_night_is_made_up(server: Sandbox, clock: Clock, tmp_path: Path) -> None:
    grown = study(tmp_path / "grown", server)
    for days in (DAYS_AGO[0], DAYS_AGO[-1]):
        clock.set(days)
        night(grown)
    once = study(tmp_path / "once", server)
    night(once)
    assert rows(grown, "posts") == rows(once, "posts")


def test_a_plan_says_what_a_night_would_ask(
    server: Sandbox, clock: Clock, calls: list[str], tmp_path: Path
) -> None:
    grown = study(tmp_path / "grown", server)
    assert plan(grown)[0].why == ("it was never made",)
    clock.set(45)
    night(grown)
    assert plan(grown)[0].missing == 0
    assert [step.why for step in plan(grown)[1:3]] == [
        ("it was never made",), ("there is no table 'kept_posts' yet",),
    ]  # fmt: skip
    young = sum(
        clock.now - row["created_at"] < dt.timedelta(days=30)
        for row in grown.read("posts").to_pylist()
    )
    before = len(calls)
    clock.set(14)
    step = plan(grown)[0]
    assert step.why[0] == "744 hours have not been covered"
    assert step.why[1] == f"{young:,} posts have come of age and are read again"
    assert len(calls) == before


@pytest.mark.slow
def test_five_nights_of_all_stages(
    server: Sandbox, clock: Clock, calls: list[str], tmp_path: Path
) -> None:
    grown = study(tmp_path / "grown", server)
    known, computed = set[tuple[str, bool]](), 0
    for number, days in enumerate(DAYS_AGO, start=1):
        clock.set(days)
        run(grown)
        assert [one["night"] for one in nights(grown)] == list(range(1, number + 1))
        keys = grown.read("features", ["picture_id", "flipped"])
        there = set(zip(*(column.to_pylist() for column in keys.columns), strict=True))
        assert known <= there and len(there) == len(keys)
        computed += len(there - known)
        known = there
        before = len(calls)
        run(grown)
        assert len(calls) == before and len(nights(grown)) == number
        assert {stage.state for stage in likewise.status(grown).stages[:8]} == {"done"}
        assert all(step.missing == 0 and not step.why for step in plan(grown)[:6])
    lines = map(json.loads, (grown.root / "logs" / "likewise.jsonl").read_text().splitlines())
    ended = [x for x in lines if x["message"] == "stage ends" and x["stage"] == "extract"]
    assert sum(one["new"] for one in ended) == computed == len(known), "each is computed once"
    first = Study.open(grown.root, at=1)
    assert first.read("posts").num_rows < grown.read("posts").num_rows
    assert set(first.read("labels")["picture_id"].to_pylist())
    once = study(tmp_path / "once", server)
    run(once)
    for table in ("posts", "fetches", "pictures"):
        assert rows(grown, table) == rows(once, table)
    here, there = (
        {(r["picture_id"], r["flipped"]): r for r in one.read("features").to_pylist()}
        for one in (grown, once)
    )
    assert all(here[key] | {"bucket": 0} == there[key] | {"bucket": 0} for key in there)
    mine, yours = (
        {r["picture_id"]: r["label"] for r in one.read("labels").to_pylist()}
        for one in (grown, once)
    )
    assert mine == yours
