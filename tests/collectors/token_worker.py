"""A process that works on a token store: one JSON command a line in, one answer a line out."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from collectors.budgets.buckets import BucketSpec
from collectors.budgets.pool import Pool
from collectors.crawling.client import Client, Limits, open_session
from collectors.platforms.base import Request
from collectors.platforms.mastodon import Mastodon
from collectors.tokens.consents import Consents, Invitation
from collectors.tokens.store import Token, TokenStore
from likewise.config import Source
from likewise.errors import LikewiseError


class Wide(Mastodon):
    """Mastodon without budgets."""

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        return []


def put(store: TokenStore, token_id: str, host: str, secret: dict[str, str]) -> None:
    store.put(Token(token_id, "mastodon", host, secret=secret))


def give(store: TokenStore, token_id: str, secret: dict[str, str]) -> str:
    token = Token(token_id, "mastodon", "h.example", secret=secret)
    return Consents(store).give(token, Invitation("Ada", "a test"))[0]


def withdraw(store: TokenStore, token_id: str) -> None:
    store.remove(token_id)


def call(store: TokenStore, token: dict[str, Any], url: str) -> str:
    """One call with a token as this process knows it; renews it where that is needed."""
    return asyncio.run(_call(Token(**token), url))


async def _call(token: Token, url: str) -> str:
    platform = Wide(Source(platform="mastodon", host=url))
    limits = Limits(attempts=4, first_pause_s=0.02)
    async with open_session(2, limits, "") as session:
        pool = Pool(platform, [token])
        client = Client(session, pool, asyncio.Semaphore(2), limits=limits)
        await client.call(Request("/api/v1/anything"))
        [used] = pool.tokens
        assert used is not None
        return used.secret["access_token"]


WORK = {"put": put, "give": give, "withdraw": withdraw, "call": call}


def main(home: str) -> None:
    store = TokenStore(Path(home))
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            answer = {"ok": WORK[name](store, *arguments)}
        except LikewiseError as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
