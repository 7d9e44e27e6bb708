"""The crawl of one host from what its server is to its last chain, and what is left to plan."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from collectors.budgets.pool import name_of
from collectors.crawling.client import Client
from collectors.crawling.crawl import Crawl
from collectors.crawling.failures import CallError
from collectors.crawling.journal import Journal
from collectors.crawling.journal.handover import extend_key
from collectors.crawling.neighbours import alone_with
from collectors.crawling.publish import micros, since_of
from collectors.platforms.base import Answer, Chain, Platform
from likewise.errors import CredentialsError, LikewiseError
from likewise.raised import one_error

__all__ = ["ask_server", "crawl_host", "has_work"]


async def crawl_host(
    client: Client, journal: Journal, crawl: Crawl, since: int | None, whole: Path | None = None
) -> LikewiseError | None:
    """Crawl a host; gives what stopped it, which does not stop the others.

    ``whole`` is the study's journal, where this one holds nothing but the host.
    """
    try:
        with one_error():
            await _host(client, journal, crawl, since, [whole or journal.path, journal.path])
    except LikewiseError as error:
        return error
    return None


async def _host(
    client: Client, journal: Journal, crawl: Crawl, since: int | None, own: Sequence[Path]
) -> None:
    platform, pool = client.platform, client.pool
    pool.restore(await journal.run(journal.budgets.calls), await journal.run(journal.budgets.shut))
    try:
        if await journal.run(has_work, journal, platform, since):
            async with alone_with(platform.name, platform.host, *own) as spent:
                pool.restore(*spent)
                await client.renew_due()
                await _learn(client)
                await journal.run(_plan, journal, platform, since)
                await crawl.run()
    finally:
        names = {name_of(t) for t in pool.tokens} | set(pool.retired)
        rows = [
            (n, pool.calls.get(n, 0), pool.failures.get(n, 0), pool.retired.get(n)) for n in names
        ]
        await journal.run(journal.budgets.note_tokens, *crawl.where, rows)
        await journal.run(journal.counters.add, *crawl.where, dict(client.counters))


def has_work(journal: Journal, platform: Platform, since: int | None) -> bool:
    """False when everything planned is done and nothing new is asked for."""
    where = (platform.name, platform.host)
    return (
        any(map(platform.follows, journal.chains.unfinished(*where)))
        or journal.authors.unfinished(*where)
        or (bool(platform.most_likes_calls) and bool(journal.posts.count_without_likes(*where)))
        or bool(_uncovered(journal, platform, since))
    )


def _uncovered(journal: Journal, platform: Platform, since: int | None) -> list[Chain]:
    planned = journal.chains.planned(platform.name, platform.host)
    extend = bool(journal.meta(extend_key(platform.name, platform.host)))
    return uncovered(_chains(platform, since), planned, extend=extend)


def _chains(platform: Platform, since: int | None) -> list[Chain]:
    """Chains from the oldest day asked for until now."""
    until = platform.source.until
    now = time.time_ns() // 1000
    return platform.plan(
        since_of(platform, since), now if until is None else min(now, micros(until))
    )


async def ask_server(client: Client) -> None:
    """Let the adapter learn what the server is; old servers have no page that tells."""
    while (probe := client.platform.probe()) is not None:
        try:
            answer = await client.call(probe)
        except CallError as error:
            if not error.reason.startswith("http_404"):
                raise
            answer = Answer(404, {})
        client.platform.learn(answer)


async def _learn(client: Client) -> None:
    """Ask what the server is; a server that asks for a login is told apart from one that fails."""
    platform = client.platform
    await ask_server(client)
    if platform.requires_token and client.pool.tokens == [None]:
        raise CredentialsError(
            f"{platform.host} shows what is asked for to logged-in users only",
            hint=f"likewise auth add {platform.name} --host {platform.base}",
        )


def _plan(journal: Journal, platform: Platform, since: int | None) -> None:
    """Add chains for what no earlier run has covered."""
    where = (platform.name, platform.host)
    journal.chains.add(*where, _uncovered(journal, platform, since))
    journal.set_meta(extend_key(*where), "")


def uncovered(chains: Sequence[Chain], planned: Sequence[Chain], *, extend: bool) -> list[Chain]:
    """The parts of ``chains`` that ``planned`` does not cover, per tag and account.

    Newer time than the newest planned is left alone unless ``extend`` is set.
    """
    fresh: list[Chain] = []
    for chain in chains:
        old = [p for p in planned if (p.kind, p.value) == (chain.kind, chain.value)]
        if not old:
            fresh.append(chain)
            continue
        top = max(p.hi for p in old if p.hi is not None)
        lows = [p.lo for p in old]
        bottom = None if None in lows else min(lo for lo in lows if lo is not None)
        fresh += _around(chain, bottom, top, extend=extend)
    return fresh


def _around(chain: Chain, bottom: int | None, top: int, *, extend: bool) -> list[Chain]:
    """What of a chain lies above ``top`` or below ``bottom``."""
    parts = []
    hi = chain.hi if chain.hi is not None else top
    if extend and hi > top:
        lo = top if chain.lo is None else max(top, chain.lo)
        parts.append(Chain(chain.kind, chain.value, lo, hi))
    if bottom is not None and (chain.lo is None or chain.lo < bottom):
        parts.append(Chain(chain.kind, chain.value, chain.lo, min(hi, bottom)))
    return parts
