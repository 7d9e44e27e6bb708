"""OAuth: code flow with PKCE, client credentials, refusals, revocation."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from requests_oauthlib import OAuth2Session

from infra.sandbox import Sandbox, World, WorldSpec, running
from infra.sandbox.oauth import OOB, OAuthServer

BACK = "http://127.0.0.1:9/back?kept=1"
VERIFIER = "v" * 64
CHALLENGE = (
    base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
)
WORLD = World(WorldSpec(authors=20, posts=40))


@pytest.fixture
async def server() -> AsyncIterator[Sandbox]:
    async with Sandbox(WORLD) as running_server:
        yield running_server


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def post(
    client: aiohttp.ClientSession, url: str, data: Mapping[str, str], **options: Any
) -> tuple[int, Any]:
    async with client.post(url, data=data, **options) as answer:
        return answer.status, await answer.json()


async def register(
    server: Sandbox, client: aiohttp.ClientSession, *, uri: str = BACK, scopes: str = "read"
) -> dict[str, Any]:
    form = {"client_name": "a test", "redirect_uris": uri, "scopes": scopes}
    status, application = await post(client, f"{server.url}/api/v1/apps", form)
    assert status == 200
    return dict(application)


async def agree(
    server: Sandbox, client: aiohttp.ClientSession, application: Mapping[str, Any], **more: str
) -> str:
    asked = {
        "client_id": application["client_id"],
        "redirect_uri": BACK,
        "response_type": "code",
        "scope": "read",
        "state": "s1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "account": "person00007",
        **more,
    }
    async with client.post(
        f"{server.url}/oauth/authorize", data=asked, allow_redirects=False
    ) as answer:
        assert answer.status == 302
        back = urlsplit(answer.headers["Location"])
    assert back.port == 9
    query = parse_qs(back.query)
    assert query["state"] == ["s1"] and query["kept"] == ["1"]
    return query["code"][0]


def exchange(application: Mapping[str, Any], code: str, **more: str) -> dict[str, str]:
    return {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": application["client_id"],
        "client_secret": application["client_secret"],
        "redirect_uri": BACK,
        "code_verifier": VERIFIER,
        **more,
    }


async def whoami(server: Sandbox, client: aiohttp.ClientSession, token: str) -> tuple[int, Any]:
    header = {"Authorization": f"Bearer {token}"}
    url = f"{server.url}/api/v1/accounts/verify_credentials"
    async with client.get(url, headers=header) as answer:
        return answer.status, await answer.json()


async def test_the_code_flow_with_pkce(server: Sandbox, client: aiohttp.ClientSession) -> None:
    application = await register(server, client)
    code = await agree(server, client, application)
    status, token = await post(client, f"{server.url}/oauth/token", exchange(application, code))
    assert status == 200
    assert token["token_type"] == "Bearer" and token["scope"] == "read"
    assert "refresh_token" not in token and "expires_in" not in token
    status, person = await whoami(server, client, token["access_token"])
    assert (status, person["username"]) == (200, "person00007")
    status, again = await post(client, f"{server.url}/oauth/token", exchange(application, code))
    assert (status, again["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"code_verifier": "wrong"}, 400, "invalid_grant"),
        ({"code_verifier": ""}, 400, "invalid_grant"),
        ({"redirect_uri": "http://127.0.0.1:9/other"}, 400, "invalid_grant"),
        ({"code": "made-up"}, 400, "invalid_grant"),
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "unknown"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
async def test_wrong_exchanges_are_refused(
    server: Sandbox,
    client: aiohttp.ClientSession,
    change: dict[str, str],
    status: int,
    error: str,
) -> None:
    application = await register(server, client)
    code = await agree(server, client, application)
    got, body = await post(
        client, f"{server.url}/oauth/token", {**exchange(application, code), **change}
    )
    assert (got, body["error"]) == (status, error)


async def test_a_code_is_good_for_ten_minutes() -> None:
    now = [1000.0]
    oauth = OAuthServer(clock=lambda: now[0])
    application = oauth.register({"client_name": "x", "redirect_uris": OOB})
    asked = {
        "client_id": application.client_id,
        "client_secret": application.client_secret,
        "redirect_uri": OOB,
        "response_type": "code",
        "grant_type": "authorization_code",
    }
    code = oauth.approve(asked, 1)
    now[0] += 601
    with pytest.raises(Exception, match="expired"):
        oauth.issue({**asked, "code": code})


async def test_the_page_asks_a_person(server: Sandbox, client: aiohttp.ClientSession) -> None:
    application = await register(server, client, uri=OOB)
    query = {
        "client_id": application["client_id"],
        "redirect_uri": OOB,
        "response_type": "code",
        "state": '"><script>',
    }
    async with client.get(f"{server.url}/oauth/authorize", params=query) as answer:
        text = await answer.text()
    assert answer.status == 200 and "synthetic world" in text and "<script>" not in text
    async with client.post(f"{server.url}/oauth/authorize", data=query) as answer:
        text = await answer.text()
    code = re.search("<code>(.*)</code>", text)
    assert code is not None
    form = exchange(application, code[1], redirect_uri=OOB)
    assert (await post(client, f"{server.url}/oauth/token", form))[0] == 200


async def test_a_person_may_say_no(server: Sandbox, client: aiohttp.ClientSession) -> None:
    application = await register(server, client)
    form = {
        "client_id": application["client_id"],
        "redirect_uri": BACK,
        "response_type": "code",
        "answer": "no",
    }
    async with client.post(
        f"{server.url}/oauth/authorize", data=form, allow_redirects=False
    ) as answer:
        assert answer.headers["Location"] == f"{BACK}&error=access_denied"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"client_id": "unknown"}, 401),
        ({"redirect_uri": "http://evil.example/"}, 400),
        ({"response_type": "token"}, 400),
        ({"scope": "write"}, 400),
        ({"code_challenge": "x", "code_challenge_method": "plain"}, 400),
    ],
)
async def test_wrong_requests_never_redirect(
    server: Sandbox, client: aiohttp.ClientSession, change: dict[str, str], status: int
) -> None:
    application = await register(server, client)
    asked = {
        "client_id": application["client_id"],
        "redirect_uri": BACK,
        "response_type": "code",
        **change,
    }
    url = f"{server.url}/oauth/authorize"
    async with client.get(url, params=asked, allow_redirects=False) as answer:
        assert answer.status == status


async def test_client_credentials_and_revocation(
    server: Sandbox, client: aiohttp.ClientSession
) -> None:
    application = await register(server, client)
    pair = {k: application[k] for k in ("client_id", "client_secret")}
    form = {**pair, "grant_type": "client_credentials"}
    status, token = await post(client, f"{server.url}/oauth/token", form)
    assert status == 200
    value = token["access_token"]
    assert (await whoami(server, client, value))[0] == 422  # an application is nobody
    async with client.get(
        f"{server.url}/api/v1/apps/verify_credentials",
        headers={"Authorization": f"Bearer {value}"},
    ) as answer:
        assert (await answer.json())["name"] == "a test"
    other = await register(server, client)
    stranger = {k: other[k] for k in pair}
    revoke = f"{server.url}/oauth/revoke"
    assert (await post(client, revoke, {**stranger, "token": value}))[0] == 403
    assert await post(client, revoke, {**pair, "token": value}) == (200, {})
    assert await post(client, revoke, {**pair, "token": "never-seen"}) == (200, {})
    assert await whoami(server, client, value) == (
        401,
        {"error": "The access token was revoked"},
    )


async def test_json_bodies_and_basic_credentials(
    server: Sandbox, client: aiohttp.ClientSession
) -> None:
    body = {"client_name": "json", "redirect_uris": [OOB, BACK], "scopes": "read:statuses"}
    async with client.post(f"{server.url}/api/v1/apps", json=body) as answer:
        application = await answer.json()
    assert application["redirect_uris"] == [OOB, BACK]
    pair = f"{application['client_id']}:{application['client_secret']}".encode()
    basic = {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    form = {"grant_type": "client_credentials", "scope": "read:statuses"}
    async with client.post(f"{server.url}/oauth/token", data=form, headers=basic) as answer:
        assert (await answer.json())["scope"] == "read:statuses"
    async with client.post(
        f"{server.url}/api/v1/apps", data=b"{", headers={"Content-Type": "application/json"}
    ) as answer:
        assert answer.status == 400
    assert (await post(client, f"{server.url}/api/v1/apps", {"client_name": "x"}))[0] == 422


async def test_tokens_without_the_right_to_read(
    server: Sandbox, client: aiohttp.ClientSession
) -> None:
    header = {"Authorization": f"Bearer {server.new_token(scopes='write')}"}
    async with client.get(f"{server.url}/api/v1/timelines/tag/photo", headers=header) as answer:
        assert answer.status == 403
    header = {"Authorization": "Bearer made-up"}
    async with client.get(f"{server.url}/api/v1/timelines/tag/photo", headers=header) as answer:
        assert answer.status == 401


def test_requests_oauthlib_gets_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """An independent client goes through the whole flow."""
    import requests

    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    with running(World(WorldSpec(authors=20, posts=40))) as server:
        form = {"client_name": "x", "redirect_uris": BACK, "scopes": "read"}
        with requests.Session() as plain, OAuth2Session("") as session:
            application = plain.post(f"{server.url}/api/v1/apps", data=form, timeout=10).json()
            session.client_id = application["client_id"]
            session.redirect_uri, session.scope = BACK, ["read"]
            session._pkce = "S256"
            url, _ = session.authorization_url(f"{server.url}/oauth/authorize")
            query = {k: v[0] for k, v in parse_qs(urlsplit(url).query).items()}
            answer = plain.post(url.split("?")[0], data=query, allow_redirects=False, timeout=10)
            session.fetch_token(
                f"{server.url}/oauth/token",
                authorization_response=answer.headers["Location"],
                client_secret=application["client_secret"],
                include_client_id=True,
                timeout=10,
            )
            me = session.get(f"{server.url}/api/v1/accounts/verify_credentials", timeout=10)
            assert me.json()["username"] == "person00000"
