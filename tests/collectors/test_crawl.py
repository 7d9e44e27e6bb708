"""Whole crawls of the sandbox: the right rows, whatever goes wrong on the way."""

from __future__ import annotations

import datetime as dt
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from driver import WideMastodon
from moved_clock import EPOCH, Clock

from collectors.collect import collect, collect_from
from infra.sandbox.faults import Faults
from infra.sandbox.limits import Limiter
from infra.sandbox.server import Sandbox, running
from infra.sandbox.world import Visibility, World, WorldSpec
from likewise.config import render
from likewise.errors import ConfigError, PartialError
from likewise.study import Manifest, Study

HERE = Path(__file__).parent
TAG = "photo"


def write_study(folder: Path, url: str, **source: Any) -> Study:
    folder.mkdir(parents=True, exist_ok=True)
    one = {"platform": "mastodon", "host": url, "permission": "a test", "tags": [TAG], **source}
    section = {"sources": [one], "max_attempts": 12, "concurrency": 8}
    (folder / "likewise.toml").write_text(render({"collect": section}), encoding="utf-8")
    return Study.open(folder)


def gather(study: Study) -> Manifest:
    return collect_from(study, [WideMastodon(s) for s in study.config.collect.sources])


def rows(study: Study, table: str) -> list[dict[str, Any]]:
    """Rows without the times of reading and the server's port, in the order of their text."""
    hidden = {"collected_at", "fetched_at", "host", "read_at"}
    found = [
        {name: value for name, value in row.items() if name not in hidden}
        for row in study.read(table).to_pylist()
    ]
    return sorted(found, key=str)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running(
        World(WorldSpec(authors=150, posts=700)),
    ) as server:
        server.limiter.enabled = False
        yield server


def disturb(server: Sandbox, **switches: Any) -> None:
    """Set the server's faults; what is not named is switched off."""
    calm = {item.name: getattr(Faults(), item.name) for item in fields(Faults) if item.init}
    for name, value in {**calm, **switches}.items():
        setattr(server.faults, name, value)


@pytest.fixture(autouse=True)
def _calm(sandbox: Sandbox) -> None:
    disturb(sandbox)


@pytest.fixture(scope="module")
def undisturbed(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = write_study(tmp_path_factory.mktemp("undisturbed") / "study", sandbox.url)
    gather(study)
    return study


def expected_ids(world: World) -> set[str]:
    """Posts that a polite crawl may keep, told by the world itself."""
    author = world.author
    open_people = world.indexable & ~world.noindex & ~world.nobot & ~world.bot
    fine = open_people[author] & ~world.sensitive & (world.n_media > 0)
    fine &= world.visibility == Visibility.PUBLIC
    tagged = np.zeros(len(world.post_id), dtype=bool)
    tagged[world.by_tag[TAG]] = True
    return {str(i) for i in world.post_id[fine & tagged]}


def test_the_tables_hold_what_the_world_allows(sandbox: Sandbox, undisturbed: Study) -> None:
    world = sandbox.world
    found = rows(undisturbed, "posts")
    assert {row["post_id"] for row in found} == expected_ids(world)
    at = {str(number): index for index, number in enumerate(world.post_id)}
    for row in found:
        index = at[row["post_id"]]
        assert row["likes"] == (None if world.hidden[index] else world.likes[index])
        assert len(row["media"]) == world.n_media[index]
    funnel = undisturbed.manifest("posts").funnel
    assert {"bot", "sensitive"} <= set(funnel["dropped"])


def test_followers_of_all_authors_are_known(sandbox: Sandbox, undisturbed: Study) -> None:
    world = sandbox.world
    people = {str(world.account(i).id): world.account(i) for i in range(world.spec.authors)}
    kept = {row["author_id"] for row in rows(undisturbed, "posts")}
    authors = rows(undisturbed, "authors")
    assert {row["author_id"] for row in authors} == kept
    assert all(row["followers"] == people[row["author_id"]].followers for row in authors)
    asked = {row["author_id"] for row in authors if row["source"] == "account"}
    assert asked == {one for one in kept if people[one].followers == 0}


def test_collecting_again_asks_nothing_and_changes_nothing(
    sandbox: Sandbox, undisturbed: Study
) -> None:
    before, calls = undisturbed.manifest("posts"), sandbox.calls.total()
    assert gather(undisturbed).fingerprint == before.fingerprint
    assert sandbox.calls.total() == calls


def test_faults_change_no_row(sandbox: Sandbox, undisturbed: Study, tmp_path: Path) -> None:
    disturb(sandbox, errors=0.15, resets=0.1, truncated=0.1)
    study = write_study(tmp_path / "study", sandbox.url)
    gather(study)
    assert rows(study, "posts") == rows(undisturbed, "posts")
    assert rows(study, "authors") == rows(undisturbed, "authors")
    [counters] = study.manifest("posts").extra["counters"].values()
    known = {"connection", "truncated", "broken_json", "timeout", "empty_body", "protocol"}
    retries = {n: c for n, c in counters.items() if n in known or n.startswith("http_50")}
    assert len(retries) > 1
    assert counters["calls"] == counters["pages"] + sum(retries.values()) + 2


def test_a_server_with_tighter_limits_than_declared_costs_time_and_no_row(
    undisturbed: Study, tmp_path: Path
) -> None:
    world = World(WorldSpec(authors=150, posts=700))
    with running(world, limiter=Limiter(limits_factor=0.015, period_factor=0.001)) as server:
        study = write_study(tmp_path / "study", server.url)
        gather(study)
    likes = [{r["post_id"]: r["likes"] for r in rows(s, "posts")} for s in (study, undisturbed)]
    assert likes[0] == likes[1]
    [counters] = study.manifest("posts").extra["counters"].values()
    assert counters["http_429"] > 0
    assert counters["calls"] == counters["pages"] + counters["http_429"] + 2


def test_max_posts_keeps_the_newest(sandbox: Sandbox, undisturbed: Study, tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", sandbox.url, max_posts=50)
    gather(study)
    newest = sorted(rows(undisturbed, "posts"), key=lambda r: (r["created_at"], r["post_id"]))
    kept = {row["post_id"] for row in rows(study, "posts")}
    assert len(kept) == 50
    assert min(r["created_at"] for r in rows(study, "posts")) >= newest[-50]["created_at"]


def test_since_extends_the_crawl(sandbox: Sandbox, undisturbed: Study, tmp_path: Path) -> None:
    times = sorted(row["created_at"] for row in rows(undisturbed, "posts"))
    middle, early = times[len(times) // 2].date(), times[len(times) // 4].date()
    study = write_study(tmp_path / "study", sandbox.url, since=middle.isoformat())
    first = gather(study)
    platforms = [WideMastodon(s) for s in study.config.collect.sources]
    second = collect_from(study, platforms, since=early)
    assert first.rows < second.rows
    start = dt.datetime(early.year, early.month, early.day, tzinfo=dt.UTC)
    expected = [r for r in rows(undisturbed, "posts") if r["created_at"] >= start]
    assert rows(study, "posts") == expected
    assert gather(study).fingerprint == second.fingerprint


def test_a_slow_server_is_read_on_until_now_as_the_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "time_ns", clock)
    worlds = [World(WorldSpec(seed=n, authors=30, posts=200, epoch=EPOCH.date())) for n in (1, 2)]
    with running(worlds[0]) as quick, running(worlds[1]) as slow:
        sources = [
            {"platform": "mastodon", "host": one.url, "permission": "x", "tags": [TAG]}
            for one in (quick, slow)
        ]
        text = render({"collect": {"sources": sources}})
        (tmp_path / "likewise.toml").write_text(text, encoding="utf-8")
        study = Study.open(tmp_path)
        adapters = [WideMastodon(source) for source in study.config.collect.sources]
        clock.set(40)
        collect_from(study, adapters)
        clock.set(0)
        disturb(slow, latency_s=0.3)  # its server is learnt when the other's chains are planned
        adapters = [WideMastodon(source) for source in study.config.collect.sources]
        collect_from(study, adapters, until_now=True)
        start = EPOCH - dt.timedelta(days=40)
        found = study.read("posts", ["host", "created_at"]).to_pylist()
        newer = {row["host"] for row in found if row["created_at"] > start}
    assert newer == {adapter.host for adapter in adapters}


def test_raw_pages_are_kept_without_secrets(sandbox: Sandbox, tmp_path: Path) -> None:
    import gzip
    import json

    study = write_study(tmp_path / "study", sandbox.url)
    toml = study.root / "likewise.toml"
    toml.write_text(toml.read_text().replace("# keep_raw = false", "keep_raw = true"))
    study = Study.open(study.root)
    gather(study)
    pages = [
        json.loads(gzip.decompress(p.read_bytes())) for p in (study.root / "raw").rglob("*.gz")
    ]
    ids = {status["id"] for page in pages for status in page["body"]}
    assert {row["post_id"] for row in rows(study, "posts")} <= ids


def test_a_server_that_is_down_is_listed_and_tried_again(tmp_path: Path) -> None:
    world = World(WorldSpec(authors=20, posts=60))
    with running(world) as server:
        study = write_study(tmp_path / "study", server.url)
        disturb(server, errors=1.0, paths=("/api/v1/timelines",))
        toml = study.root / "likewise.toml"
        toml.write_text(toml.read_text().replace("max_attempts = 12", "max_attempts = 2"))
        study = Study.open(study.root)
        with pytest.raises(PartialError) as caught:
            gather(study)
        assert len(caught.value.failures) == 6
        assert study.manifest("posts").rows == 0
        disturb(server)
        assert gather(study).rows > 0


def test_permission_and_terms(tmp_path: Path) -> None:
    study = write_study(tmp_path / "a", "https://mastodon.social")
    with pytest.raises(ConfigError, match="forbid"):
        collect(study)
    study = write_study(tmp_path / "b", "https://pixelfed.example", permission=" ")
    with pytest.raises(ConfigError, match="no permission"):
        collect(study)
    study = write_study(tmp_path / "c", "https://x.example", platform="mastodom")
    with pytest.raises(ConfigError, match="did you mean 'mastodon'"):
        collect(study)


# -- kill -9 ----------------------------------------------------------------------------------


def killed_crawl(study: Study, kills: int, draw: random.Random) -> int:
    """Start the crawl again and again and kill it at random moments; returns the kills done."""
    command = [sys.executable, str(HERE / "driver.py"), str(study.root)]
    environment = {**os.environ, "LIKEWISE_CONFIG_HOME": str(study.root / "none")}
    done = 0
    for _ in range(kills):
        child = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        time.sleep(draw.uniform(0.4, 1.6))
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            done += 1
        child.communicate()
    subprocess.run(command, env=environment, check=True)
    return done


def crawl_through_kills(
    sandbox: Sandbox, undisturbed: Study, folder: Path, kills: int, latency: float
) -> None:
    disturb(sandbox, latency_s=latency, jitter_s=latency, errors=0.02)
    study = write_study(folder / "study", sandbox.url)
    done = killed_crawl(study, kills, random.Random(kills))
    assert done > 0, "no run was killed before its end"
    assert rows(study, "posts") == rows(undisturbed, "posts")
    assert rows(study, "authors") == rows(undisturbed, "authors")
    funnels = [s.manifest("posts").funnel for s in (study, undisturbed)]
    assert funnels[0] == funnels[1]


def test_kill_9_costs_no_row(sandbox: Sandbox, undisturbed: Study, tmp_path: Path) -> None:
    crawl_through_kills(sandbox, undisturbed, tmp_path, kills=4, latency=0.15)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_fifty_kills_cost_no_row(sandbox: Sandbox, undisturbed: Study, tmp_path: Path) -> None:
    crawl_through_kills(sandbox, undisturbed, tmp_path, kills=50, latency=1.0)
