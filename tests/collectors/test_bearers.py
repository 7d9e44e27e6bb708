"""A token that is not good, in every dress that servers give it: exit code 4 and their sentence."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from driver import WideMastodon
from hypothesis import given
from hypothesis import strategies as st
from serving import served

from collectors import platforms
from collectors.collect import collect_from
from collectors.platforms.base import Outcome
from collectors.refresh import refresh_from
from collectors.tokens.sentences import about_tokens, quiet, said
from collectors.tokens.store import TokenStore, new_token
from likewise.config import Source, render
from likewise.errors import CredentialsError, ExitCode
from likewise.study import Study

SECRET = "t0ken-0123456789"

Dress = tuple[str, int, str, str, dict[str, str]]
DRESSES: list[Dress] = [
    ("mastodon", 401, "application/json", '{"error": "The access token is invalid"}', {}),
    ("mastodon", 401, "text/html", "<html>Unauthorized</html>", {}),
    ("mastodon", 401, "", "", {}),
    ("mastodon", 400, "text/plain", "Bad Request: the bearer token is malformed", {}),
    ("mastodon", 400, "text/plain; charset=utf-8", "invalid token", {}),
    ("mastodon", 403, "application/json", '{"error": "Invalid credentials."}', {}),
    ("mastodon", 403, "application/json",
     '{"error": "This action is outside the authorized scopes"}', {}),
    ("mastodon", 403, "application/json", '{"error": "Your login is currently disabled"}', {}),
    ("mastodon", 422, "application/json",
     '{"error": "This method requires an authenticated user"}', {}),
    ("pixelfed", 403, "application/json", '{"message": "Invalid scope(s) provided."}', {}),
    ("gotosocial", 403, "application/json",
     '{"error": "Forbidden: token has insufficient scope permission"}', {}),
    ("gotosocial", 400, "", "", {"WWW-Authenticate": 'Bearer error="invalid_token"'}),
    ("mastodon", 403, "text/html", "<html>no</html>",
     {"WWW-Authenticate": 'Bearer realm="x", error="insufficient_scope", scope="read"'}),
    ("bluesky", 400, "application/json",
     '{"error": "InvalidToken", "message": "Bad token scope"}', {}),
    ("bluesky", 401, "application/json",
     '{"error": "AuthMissing", "message": "Authentication Required"}', {}),
    ("instagram", 400, "application/json",
     '{"error": {"message": "Error validating access token: it has expired", "code": 190}}', {}),
    ("instagram", 403, "application/json",
     '{"error": {"message": "(#10) Application does not have permission", "code": 10}}', {}),
    ("instagram", 400, "application/json",
     '{"error": {"message": "(#200) Requires instagram_basic permission", "code": 200}}', {}),
]  # fmt: skip

OTHERS: list[Dress] = [
    ("mastodon", 403, "application/json", '{"error": "This action is not allowed"}', {}),
    ("mastodon", 403, "text/html", "<html>Your browser could not be verified</html>", {}),
    ("mastodon", 400, "application/json", '{"error": "Bad request"}', {}),
    ("mastodon", 422, "application/json", '{"error": "Validation failed"}', {}),
    ("mastodon", 404, "application/json", '{"error": "Record not found"}', {}),
    ("bluesky", 403, "text/html", "<html>Blocked by a firewall</html>", {}),
    ("bluesky", 400, "application/json", '{"error": "InvalidRequest", "message": "bad q"}', {}),
    ("instagram", 400, "application/json",
     '{"error": {"message": "Unsupported get request", "code": 100}}', {}),
]  # fmt: skip


def judged(dress: Dress) -> Any:
    name, status, kind, text, more = dress
    platform = platforms.get(name)(Source(platform=name, host="https://h.example"))
    headers = {"content-type": kind, **{k.lower(): v for k, v in more.items()}}
    return platform.judge(platform.decode(status, headers, text.encode()))


@pytest.mark.parametrize("dress", DRESSES)
def test_a_bad_token_is_known_in_any_dress(dress: Dress) -> None:
    assert judged(dress).outcome is Outcome.TOKEN


@pytest.mark.parametrize("dress", OTHERS)
def test_other_refusals_do_not_retire_a_token(dress: Dress) -> None:
    assert judged(dress).outcome is not Outcome.TOKEN


def study_at(url: str, folder: Path) -> Study:
    one = {"platform": "mastodon", "host": url, "permission": "a test", "tags": ["photo"]}
    text = render({"collect": {"sources": [one], "max_attempts": 2}})
    (folder / "likewise.toml").write_text(text, encoding="utf-8")
    host = url.removeprefix("http://")
    TokenStore().put(new_token("mastodon", host, {"access_token": SECRET}, user="7"))
    return Study.open(folder)


@pytest.mark.parametrize("verb", [collect_from, refresh_from])
@pytest.mark.parametrize(
    "dress", [d for d in DRESSES if d[0] == "mastodon" and d[3] and "html" not in d[2]]
)
def test_collect_and_refresh_end_with_the_servers_own_sentence(
    dress: Dress, verb: Any, tmp_path: Path
) -> None:
    _, status, kind, text, more = dress
    pages = web.Application()

    async def answer(request: web.Request) -> web.Response:
        echo = text.replace('"}', f' ({SECRET})"}}') if "json" in kind else f"{text} ({SECRET})"
        head = {"Content-Type": kind, **more}
        return web.Response(status=status, body=echo.encode(), headers=head)

    pages.router.add_route("*", "/{path:.*}", answer)
    with served(pages) as url:
        study = study_at(url, tmp_path)
        adapters = [WideMastodon(source) for source in study.config.collect.sources]
        with pytest.raises(CredentialsError) as caught:
            verb(study, adapters)
    assert caught.value.exit_code == ExitCode.CREDENTIALS == 4
    sentence = json.loads(text)["error"] if "json" in kind else text
    assert f"{sentence} ((removed))" in str(caught.value)
    assert SECRET not in str(caught.value) + str(caught.value.hint)
    assert SECRET.encode() not in b"".join(
        p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and "config-home" not in p.parts
    )


@given(st.text(), st.lists(st.text(min_size=6), max_size=3))
def test_no_sentence_holds_a_secret(text: str, secrets: list[str]) -> None:
    for one in secrets:
        told = quiet(f"{text} {one} {text}", *secrets)
        assert one not in told or one in "(removed)"
        assert told.isprintable() and len(told) <= 300


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
)


@given(JSON, st.text())
def test_any_body_has_a_sentence_or_none(body: Any, text: str) -> None:
    assert isinstance(said(body, text), str)
    assert about_tokens(said(body, text)) in {True, False}


async def test_a_call_without_any_token_says_what_the_server_says() -> None:
    from test_bad_input import QUICK, Scripted, http

    from collectors.budgets.pool import Pool
    from collectors.crawling.client import Client, open_session

    def script(path: str, headers: dict[str, str]) -> bytes:
        return http({"error": "This method requires an authenticated user"}, status="422 X")

    async with Scripted(script) as url, open_session(1, QUICK, "") as session:
        platform = WideMastodon(Source(platform="mastodon", host=url))
        client = Client(session, Pool(platform, []), asyncio.Semaphore(1), limits=QUICK)
        with pytest.raises(CredentialsError, match="This method requires an authenticated user"):
            await client.call(platform.probe())
