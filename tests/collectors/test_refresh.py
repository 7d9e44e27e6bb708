"""What counts as deleted, through a proxy that answers in the server's place."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner
from driver import WideMastodon
from hypothesis import given
from hypothesis import strategies as st
from serving import Proxy, served

from collectors import platforms
from collectors.collect import collect_from
from collectors.crawling.again import read
from collectors.crawling.journal import Journal
from collectors.platforms.base import Answer, Outcome
from collectors.refresh import refresh_from
from infra.sandbox.server import Sandbox, running
from infra.sandbox.world import World, WorldSpec
from likewise.commands.refresh import command
from likewise.config import Source, render
from likewise.errors import CircuitOpenError, PartialError
from likewise.study import Study

JSON = {"content_type": "application/json"}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running(World(WorldSpec(authors=40, posts=300))) as server:
        server.limiter.enabled = False
        yield server


@pytest.fixture
def proxy(sandbox: Sandbox) -> Iterator[Proxy]:
    made = Proxy(sandbox.url)
    with served(made.application) as url:
        made.url = url
        yield made


@pytest.fixture
def study(proxy: Proxy, tmp_path: Path) -> Study:
    one = {"platform": "mastodon", "host": proxy.url, "permission": "a test", "tags": ["photo"]}
    text = render({"collect": {"sources": [one], "max_attempts": 1}})
    (tmp_path / "likewise.toml").write_text(text, encoding="utf-8")
    opened = Study.open(tmp_path)
    collect_from(opened, adapters(opened))
    return opened


def adapters(study: Study) -> list[WideMastodon]:
    return [WideMastodon(source) for source in study.config.collect.sources]


def refresh(study: Study, **options: Any) -> Any:
    return refresh_from(study, adapters(study), **options)


def ids(study: Study) -> list[str]:
    return sorted(study.read("posts")["post_id"].to_pylist())


def journal_ids(study: Study) -> list[str]:
    with Journal(study.journal_path) as journal:
        rows = journal.db.execute("SELECT post_id FROM posts WHERE kept AND record != ''")
        return sorted(row[0] for row in rows)


PAGE = "<!doctype html><title>nginx</title><h1>404 Not Found</h1>"
FOREIGN = {
    "a proxy's 404": lambda: web.Response(status=404, text=PAGE, content_type="text/html"),
    "a proxy's 410": lambda: web.Response(status=410, text=PAGE, content_type="text/html"),
    "a gateway's JSON 404": lambda: web.json_response({"message": "no route"}, status=404),
    "another gateway's 404": lambda: web.json_response(
        {"timestamp": 1, "status": 404, "error": "Not Found", "path": "/"}, status=404
    ),
    "an empty 404": lambda: web.Response(status=404),
    "a page with 200": lambda: web.Response(text=PAGE, content_type="text/html"),
    "nothing at all": lambda: web.Response(status=200),
    "an empty list": lambda: web.Response(text="[]", **JSON),
    "an empty object": lambda: web.Response(text="{}", **JSON),
    "a list of nothings": lambda: web.Response(text="[null, null]", **JSON),
    "the platform's 404 for a batch": lambda: web.json_response({"error": "Gone"}, status=404),
}


def spoil_batches(answer: Any, every: int = 1) -> Any:
    """Answer every so many-th batch; single posts are always let through."""
    count = 0

    def spoil(request: web.Request) -> web.Response | None:
        nonlocal count
        if request.path != "/api/v1/statuses":
            return None
        count += 1
        return answer() if count % every == 0 else None

    return spoil


@pytest.mark.parametrize("name", FOREIGN)
def test_what_no_platform_said_erases_nothing(study: Study, proxy: Proxy, name: str) -> None:
    before = ids(study)

    def spoil(request: web.Request) -> web.Response | None:
        return FOREIGN[name]() if request.path.startswith("/api/v1/statuses") else None

    if name == "the platform's 404 for a batch":
        spoil = spoil_batches(FOREIGN[name])
    proxy.spoil = spoil
    alone = name == "the platform's 404 for a batch"  # single posts are let through then
    with contextlib.nullcontext() if alone else pytest.raises(PartialError):
        refresh(study)
    assert ids(study) == before
    assert journal_ids(study) == before
    proxy.spoil = lambda _: None
    refresh(study)
    assert ids(study) == before


@pytest.mark.parametrize("name", ["an empty list", "a list of nothings"])
def test_one_empty_batch_among_good_ones_is_asked_again(
    study: Study, proxy: Proxy, sandbox: Sandbox, name: str
) -> None:
    before = ids(study)
    sandbox.delete_posts(before[:2])
    proxy.spoil = spoil_batches(FOREIGN[name], every=3)
    with contextlib.suppress(PartialError):
        refresh(study)
    assert set(before[2:]) <= set(ids(study)), "nobody's post was lost"
    proxy.spoil = lambda _: None
    refresh(study)
    assert ids(study) == before[2:], "what was deleted is gone, nothing else"


def test_a_whole_deleted_batch_is_believed_beside_a_witness(study: Study, sandbox: Sandbox) -> None:
    before = ids(study)
    sandbox.delete_posts(before[:20])
    refresh(study)
    assert ids(study) == before[20:]


def test_a_small_study_whose_only_post_was_deleted(tmp_path: Path, sandbox: Sandbox) -> None:
    one = {"platform": "mastodon", "host": sandbox.url, "permission": "a test", "tags": ["photo"],
           "max_posts": 1}  # fmt: skip
    text = render({"collect": {"sources": [one], "concurrency": 1}})
    (tmp_path / "likewise.toml").write_text(text, encoding="utf-8")
    study = Study.open(tmp_path)
    collect_from(study, adapters(study))
    with Journal(study.journal_path) as journal:
        kept = journal.db.execute("SELECT post_id FROM posts WHERE kept").fetchall()
    sandbox.delete_posts(row[0] for row in kept[:20])
    refresh(study, confirm_deletions=True)
    assert not set(ids(study)) & {row[0] for row in kept[:20]}


def test_too_many_deletions_erase_nothing_until_they_are_confirmed(
    study: Study, sandbox: Sandbox
) -> None:
    before = ids(study)
    sandbox.delete_posts(before[:30])
    sandbox.set_likes(before[-1], 9876)
    with pytest.raises(CircuitOpenError) as caught:
        refresh(study)
    told = f"{caught.value} {caught.value.hint}"
    assert caught.value.exit_code == 3
    assert f"30 of {len(before)}" in told and "--confirm-deletions" in told
    assert ids(study) == before
    assert journal_ids(study) == before
    likes = dict(zip(*study.read("posts", ["post_id", "likes"]).to_pydict().values(), strict=True))
    assert likes[before[-1]] == 9876, "counts were read all the same"
    assert collect_from(study, adapters(study)).rows == len(before), "later runs work"
    with pytest.raises(CircuitOpenError):
        refresh(study)
    refresh(study, confirm_deletions=True)
    assert ids(study) == before[30:]
    assert collect_from(study, adapters(study)).rows == len(before) - 30
    refresh(study)


def test_the_share_is_the_studys_to_say(study: Study, sandbox: Sandbox) -> None:
    before = ids(study)
    sandbox.delete_posts(before[:3])
    toml = study.root / "likewise.toml"
    strict = toml.read_text().replace(
        "max_attempts = 1", "max_attempts = 1\nmax_vanished_posts = 2\nmax_vanished_share = 0.001"
    )
    toml.write_text(strict, encoding="utf-8")
    again = Study.open(study.root)
    with pytest.raises(CircuitOpenError, match="3 of"):
        refresh(again)
    toml.write_text(strict.replace("posts = 2", "posts = 3"), encoding="utf-8")
    refresh(Study.open(study.root))
    assert ids(study) == before[3:]


def test_the_command_says_the_numbers_and_ends_with_3(
    study: Study, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from likewise.cli import guarded

    before = ids(study)
    sandbox.delete_posts(before[:25])
    monkeypatch.setattr("collectors.refresh.open_platforms", adapters)
    call = lambda *words: guarded(lambda: command.main([*words], standalone_mode=False))  # noqa: E731
    assert call(str(study.root)) == 3
    assert ids(study) == before
    assert call(str(study.root), "--confirm-deletions") == 0
    assert ids(study) == before[25:]
    assert "--confirm-deletions" in CliRunner().invoke(command, ["--help"]).output


def test_who_opted_out_since_leaves_every_table(
    study: Study, proxy: Proxy, sandbox: Sandbox
) -> None:
    [author, *_] = study.read("posts")["author_id"].to_pylist()
    mine = [p["post_id"] for p in study.read("posts").to_pylist() if p["author_id"] == author]

    class OptedOut(WideMastodon):
        def decode(self, status: int, headers: Any, raw: bytes) -> Answer:
            answer = super().decode(status, headers, raw)
            for entry in answer.body if isinstance(answer.body, list) else []:
                if entry["account"]["id"] == author:
                    entry["account"]["noindex"] = True
            return answer

    later = study.begin("scores", inputs=["posts"])
    later.write(study.read("posts", ["platform", "host", "post_id", "author_id"]))
    later.publish()
    refresh_from(study, [OptedOut(source) for source in study.config.collect.sources])
    assert not set(mine) & set(ids(study))
    assert not set(mine) & set(study.read("scores")["post_id"].to_pylist())
    with Journal(study.journal_path) as journal:
        [*left] = journal.db.execute("SELECT record FROM authors WHERE author_id = ?", (author,))
    assert {row[0] for row in left} == {""}, "of who opted out nothing is kept but the wish"


# -- the rule itself, for any answer ----------------------------------------------------------

IDS = [str(n) for n in range(6)]


def status(one: str) -> dict[str, Any]:
    return {"id": one, "account": {"id": "7", "acct": "a"}, "visibility": "public"}


ENTRIES = st.one_of(
    st.sampled_from(IDS).map(status),
    st.sampled_from(["98", "99"]).map(status),
    st.sampled_from([None, {}, [], "x", {"id": "1"}, {"id": "1", "account": None}]),
)


@given(st.lists(ENTRIES, max_size=8))
def test_only_an_absence_beside_others_is_a_deletion(entries: list[Any]) -> None:
    platform = platforms.get("mastodon")(Source(platform="mastodon", host="h.example"))
    answer = platform.decode(200, {}, json.dumps(entries).encode())
    found = read(platform, IDS, answer, Outcome.OK)
    came = {e["id"] for e in entries if isinstance(e, dict) and e.get("account")} & set(IDS)
    whole = all(isinstance(e, dict) and e.get("account") for e in entries)
    assert set(found.gone) == (set(IDS) - came if came and whole else set())
    assert set(found.gone) | set(found.open) | {p.post_id for p in found.page.posts} == set(IDS)
    assert not {p.post_id for p in found.page.posts} & (set(found.gone) | set(found.open))
