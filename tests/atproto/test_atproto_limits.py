"""The Bluesky collector against Bluesky's own rate limits and expiring tokens."""

from __future__ import annotations

import asyncio
from collections import Counter

import aiohttp
import pytest
from people import Network, Person

from collectors.budgets.pool import Pool
from collectors.crawling.client import Client, Limits, open_session
from collectors.platforms.base import Request
from collectors.platforms.bluesky import Bluesky
from collectors.tokens.store import Token, TokenStore, new_token
from likewise.config import Source
from likewise.errors import CredentialsError

pytestmark = [pytest.mark.atproto, pytest.mark.timeout(300)]

LIMIT = 3000
ABOUT = "/xrpc/com.atproto.server.describeServer"
ME = "/xrpc/com.atproto.server.getSession"


def bluesky(network: Network) -> Bluesky:
    return Bluesky(Source(platform="bluesky", host=network.pds, tags=["x"]))


def session_from(address: str) -> aiohttp.ClientSession:
    """Our session, from an address with a budget of its own: the server trusts proxies here."""
    session = open_session(20, Limits(), "")
    session.headers["X-Forwarded-For"] = address
    return session


async def spend(network: Network, address: str, calls: int, tokens: list[str]) -> list[int]:
    """A client that knows no budgets: the status of each of its calls, in order."""
    statuses = []
    async with session_from(address) as session:
        for number in range(calls):
            headers = {"Authorization": f"Bearer {tokens[number % len(tokens)]}"}
            async with session.get(network.pds + ABOUT, headers=headers) as answer:
                statuses.append(answer.status)
    return statuses


async def make(client: Client, path: str, calls: int) -> list[int]:
    """That many calls of our client, at most 20 at once."""
    answers = await asyncio.gather(*(client.call(Request(path)) for _ in range(calls)))
    return [answer.status for answer in answers]


def client_of(network: Network, session: aiohttp.ClientSession, tokens: list[Token]) -> Client:
    return Client(session, Pool(bluesky(network), tokens), asyncio.Semaphore(20))


@pytest.mark.timeout(900)
async def test_the_3001st_call_is_refused_unless_the_budget_is_kept(network: Network) -> None:
    people = [await asyncio.to_thread(network.join, f"limit-{n}") for n in range(2)]
    tokens = [person.access for person in people]
    statuses = await spend(network, "203.0.113.1", LIMIT + 2, tokens)
    assert Counter(statuses) == {200: LIMIT, 429: 2}
    assert statuses[LIMIT:] == [429, 429]

    async with session_from("203.0.113.2") as careful, session_from("203.0.113.1") as late:
        held = [new_token("bluesky", network.host, {"access_jwt": one}) for one in tokens]
        ours, theirs = client_of(network, careful, held), client_of(network, late, held)
        done = await asyncio.gather(make(ours, ABOUT, LIMIT + 50), make(theirs, ABOUT, 1))
    assert done == [[200] * (LIMIT + 50), [200]]
    assert ours.counters == {"calls": LIMIT + 50}
    assert theirs.counters == {"calls": 2, "http_429": 1}


async def test_calls_of_others_from_this_address_lower_the_budget(network: Network) -> None:
    person = await asyncio.to_thread(network.join, "lowered")
    await spend(network, "203.0.113.3", 100, [person.access])
    held = new_token("bluesky", network.host, {"access_jwt": person.access})
    async with session_from("203.0.113.3") as session:
        client = client_of(network, session, [held])
        await make(client, ABOUT, 1)
        bucket = client.pool.bucket(f"{network.host}/ip")
        assert bucket.remaining(client.pool.clock()) == LIMIT - 101


# -- tokens -----------------------------------------------------------------------------------


def stored(network: Network, person: Person, **secret: str) -> Token:
    """A token with a session of its own whose access token has expired."""
    access, again = person.login()
    whole = {"access_jwt": network.aged(access), "refresh_jwt": again, **secret}
    token = new_token("bluesky", network.host, whole, user=person.did)
    TokenStore().put(token)
    return token


async def test_an_expired_access_token_is_refreshed_once(network: Network) -> None:
    person = await asyncio.to_thread(network.join, "expired")
    token = await asyncio.to_thread(stored, network, person)
    async with session_from("203.0.113.4") as session:
        client = client_of(network, session, [token])
        assert await make(client, ME, 20) == [200] * 20
    expired = client.counters.pop("token_ExpiredToken")
    assert 1 <= expired <= 20
    assert client.counters == {"calls": 20 + expired, "token_renewed": 1}
    [kept] = TokenStore().all()
    assert kept.secret["refresh_jwt"] != token.secret["refresh_jwt"]


async def test_a_token_that_cannot_be_refreshed_is_retired(network: Network) -> None:
    person = await asyncio.to_thread(network.join, "revoked")
    token = await asyncio.to_thread(stored, network, person)
    revoke = "com.atproto.server.deleteSession"
    await asyncio.to_thread(network.call, "POST", revoke, token.secret["refresh_jwt"])
    async with session_from("203.0.113.5") as session:
        client = client_of(network, session, [token])
        with pytest.raises(CredentialsError, match=f"{token.id}: token_ExpiredToken"):
            await client.call(Request(ME))
    assert client.counters["token_retired"] == 1
    assert client.pool.tokens == []


async def test_an_app_password_opens_a_new_session(network: Network) -> None:
    person = await asyncio.to_thread(network.join, "app-password")
    password = await asyncio.to_thread(person.app_password)
    words = {"identifier": person.handle, "app_password": password}
    token = await asyncio.to_thread(lambda: stored(network, person, **words))
    revoke = "com.atproto.server.deleteSession"
    await asyncio.to_thread(network.call, "POST", revoke, token.secret["refresh_jwt"])
    async with session_from("203.0.113.6") as session:
        client = client_of(network, session, [token])
        assert (await client.call(Request(ME))).body["did"] == person.did
    assert client.counters["token_retired"] == 0
