"""``collect``: from the platforms of ``likewise.toml`` to the tables ``posts`` and ``authors``."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import time
from collections.abc import Sequence
from pathlib import Path

from collectors import platforms as registry
from collectors.budgets.pool import Pool, name_of
from collectors.crawling.client import Client, Limits, open_session
from collectors.crawling.crawl import Crawl, partial
from collectors.crawling.failures import CallError
from collectors.crawling.journal import Journal
from collectors.crawling.manners import check_permission
from collectors.crawling.neighbours import alone_with
from collectors.crawling.publish import micros, publish, since_of
from collectors.imports.publishing import imports_of
from collectors.platforms.base import Answer, Chain, Platform
from collectors.tokens.store import Token, TokenStore, from_environment
from likewise.config import CollectSection
from likewise.errors import ConfigError, CredentialsError, LikewiseError
from likewise.progress import progress
from likewise.study import Manifest, Study
from likewise.working import changes_study

__all__ = [
    "ask_server",
    "collect",
    "collect_from",
    "first_error",
    "open_platforms",
    "tokens_for",
]


HOUR = 3_600_000_000
"""Microseconds: time that was covered less than an hour ago is not asked for again."""


@changes_study("collect")
def collect(
    study: Study | str | os.PathLike[str],
    *,
    since: dt.date | None = None,
    until_now: bool = False,
) -> Manifest:
    """Collect posts and authors, or go on where an earlier run stopped.

    Called again after it was done, it asks nothing and changes nothing; ``since`` extends the
    crawl to everything from that day until now that has not been covered, ``until_now`` (as
    ``likewise run`` calls it) to what came after the last covered moment, when that is an hour ago.

    Returns:
        Manifest of ``posts``; ``authors`` is published with it.

    Raises:
        ConfigError: no sources, an unknown platform, or a server without permission.
        CredentialsError: a token is needed and there is none, or none is left.
        PartialError: some chains failed; the tables hold everything else.
        CircuitOpenError: nearly everything failed for the same reason.
    """
    opened = Study.open(study)
    adapters = open_platforms(opened)
    if not adapters:  # everything was imported
        return opened.require("posts")
    return collect_from(opened, adapters, since=since, until_now=until_now)


def collect_from(
    opened: Study,
    adapters: Sequence[Platform],
    *,
    since: dt.date | None = None,
    until_now: bool = False,
) -> Manifest:
    """As ``collect``, from these adapters."""
    for platform in adapters:
        check_permission(platform)
    start = None if since is None else micros(since)
    with Journal(opened.journal_path) as journal:
        start = _remembered_since(journal, start)
        if until_now and any(hours_open(journal, platform) >= 1 for platform in adapters):
            journal.set_meta("extend", str(time.time_ns() // 1000))
        tokens = [tokens_for(platform) for platform in adapters]
        raw_folder = opened.folder("raw") if opened.config.collect.keep_raw else None
        crawl = _crawl(opened.config.collect, journal, adapters, tokens, start, raw_folder)
        failures, stopped = asyncio.run(crawl)
        journal.flush()
        manifest = publish(opened, journal, adapters, start)
    if stopped or failures:
        raise _outcome(stopped, failures)
    return manifest


def hours_open(journal: Journal, platform: Platform) -> float:
    """Hours since the last moment that a crawl of this host has covered; 0 before the first."""
    planned = journal.chains.planned(platform.name, platform.host)
    tops = [chain.hi for chain in planned if chain.hi is not None]
    until = platform.source.until
    now = time.time_ns() // 1000
    end = now if until is None else min(now, micros(until))
    return max(0.0, (end - max(tops)) / HOUR) if tops else 0.0


def _outcome(stopped: list[LikewiseError], failures: list[tuple[str, str]]) -> LikewiseError:
    """One error for all that went wrong; what is not partial (a login, say) goes before."""
    for error in stopped:
        if not isinstance(error, CallError):
            return error
    if len(stopped) == 1 and not failures:
        return stopped[0]
    down = [
        failure for error in stopped if isinstance(error, CallError) for failure in error.failures
    ]
    return partial([*down, *failures])


def open_platforms(study: Study) -> list[Platform]:
    """An adapter for every source; none where all posts were imported.

    Raises:
        ConfigError: there are no sources, two of them name the same server, or a platform is
            not known.
    """
    sources = study.config.collect.sources
    if not sources and imports_of(study):
        return []
    if not sources:
        raise ConfigError(
            f"{study.root / 'likewise.toml'}: there is nothing to collect",
            hint="add a [[collect.sources]] section (docs/collecting.md shows one), or bring "
            "what you have: likewise import",
        )
    adapters = [registry.get(source.platform)(source) for source in sources]
    for platform in adapters:
        asked = (*platform.source.tags, *platform.source.accounts, *platform.source.keywords)
        if not (platform.offline or asked):
            raise ConfigError(
                f"collect.sources: {platform.host} has neither tags nor accounts nor keywords",
                hint='say what to collect: tags = ["portrait"]',
            )
    places = [(platform.name, platform.host) for platform in adapters]
    for place in places:
        if places.count(place) > 1:
            raise ConfigError(
                f"collect.sources: {place[0]} {place[1]} is listed twice",
                hint="join the tags and accounts of both in one [[collect.sources]] section",
            )
    return adapters


def tokens_for(platform: Platform) -> list[Token]:
    """Tokens for a host: those of the configuration folder, and one from the environment."""
    found = TokenStore().of(platform.name, platform.host)
    extra = from_environment(platform.name, platform.host, platform.environment)
    return found if extra is None else [*found, extra]


def _remembered_since(journal: Journal, since: int | None) -> int | None:
    """``--since`` holds for later runs too, or these would drop what it brought."""
    before = journal.meta("since")
    times = [t for t in (since, int(before) if before else None) if t is not None]
    earliest = min(times, default=None)
    if earliest is not None:
        journal.set_meta("since", str(earliest))
    if since is not None:
        journal.set_meta("extend", str(time.time_ns() // 1000))
    return earliest


async def _crawl(
    section: CollectSection,
    journal: Journal,
    adapters: Sequence[Platform],
    tokens: Sequence[Sequence[Token]],
    since: int | None,
    raw_folder: Path | None,
) -> tuple[list[tuple[str, str]], list[LikewiseError]]:
    """Crawl all hosts at once; the parts that failed, and the errors that stopped a host."""
    limits = Limits(attempts=section.max_attempts, timeout_s=section.timeout_s)
    slots = asyncio.Semaphore(section.concurrency)
    await journal.run(journal.authors.ask_again)
    crawls, hosts = [], []
    with progress("collect", None) as bar:
        async with (
            open_session(section.concurrency, limits, section.contact) as session,
            asyncio.TaskGroup() as group,
        ):
            for platform, given in zip(adapters, tokens, strict=True):
                client = Client(session, Pool(platform, given), slots, journal, limits)
                crawls.append(Crawl(client, journal, section, raw_folder, bar))
                hosts.append(group.create_task(_guarded(client, journal, crawls[-1], since)))
    stopped = [error for error in (host.result() for host in hosts) if error is not None]
    return [failure for crawl in crawls for failure in crawl.failures], stopped


async def _guarded(
    client: Client, journal: Journal, crawl: Crawl, since: int | None
) -> LikewiseError | None:
    """Crawl a host; what stops it does not stop the others."""
    try:
        await _host(client, journal, crawl, since)
    except LikewiseError as error:
        return error
    except BaseExceptionGroup as group:
        leaf = first_error(group)
        if isinstance(leaf, LikewiseError):
            return leaf
        raise leaf from None
    return None


async def _host(client: Client, journal: Journal, crawl: Crawl, since: int | None) -> None:
    platform, pool = client.platform, client.pool
    pool.restore(await journal.run(journal.budgets.calls), await journal.run(journal.budgets.shut))
    try:
        if await _has_work(journal, platform, since):
            async with alone_with(platform.name, platform.host, journal.path) as spent:
                pool.restore(*spent)
                await client.renew_due()
                await _learn(client)
                await _plan(journal, platform, since)
                await crawl.run()
    finally:
        names = {name_of(t) for t in pool.tokens} | set(pool.retired)
        rows = [
            (n, pool.calls.get(n, 0), pool.failures.get(n, 0), pool.retired.get(n)) for n in names
        ]
        await journal.run(journal.budgets.note_tokens, *crawl.where, rows)
        await journal.run(journal.counters.add, *crawl.where, dict(client.counters))


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that tells most: one of likewise's own, else the first."""
    ours = group.subgroup(LikewiseError)
    leaf: BaseException = group if ours is None else ours
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    return leaf


async def _has_work(journal: Journal, platform: Platform, since: int | None) -> bool:
    """False when everything planned is done and nothing new is asked for."""
    where = (platform.name, platform.host)
    opened = await journal.run(journal.chains.unfinished, *where)
    waiting = any(map(platform.follows, opened))
    waiting |= await journal.run(journal.authors.unfinished, *where)
    planned = await journal.run(journal.chains.planned, *where)
    extend = bool(await journal.run(journal.meta, "extend"))
    if platform.most_likes_calls:
        waiting |= bool(await journal.run(journal.posts.count_without_likes, *where))
    return waiting or bool(uncovered(_chains(platform, since), planned, extend=extend))


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


async def _plan(journal: Journal, platform: Platform, since: int | None) -> None:
    """Add chains for what no earlier run has covered."""
    planned = await journal.run(journal.chains.planned, platform.name, platform.host)
    extend = bool(await journal.run(journal.meta, "extend"))
    fresh = uncovered(_chains(platform, since), planned, extend=extend)
    await journal.run(journal.chains.add, platform.name, platform.host, fresh)
    await journal.run(journal.set_meta, "extend", "")


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
