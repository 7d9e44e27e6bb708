"""``collect``: from the platforms of ``likewise.toml`` to the tables ``posts`` and ``authors``."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import time
from collections.abc import Sequence
from pathlib import Path

from collectors import platforms as registry
from collectors.budgets.pool import Pool
from collectors.crawling.client import Client, Limits, open_session
from collectors.crawling.crawl import Crawl, partial
from collectors.crawling.failures import CallError
from collectors.crawling.host import crawl_host
from collectors.crawling.journal import Journal
from collectors.crawling.journal.handover import extend_key, fold_all
from collectors.crawling.manners import check_permission
from collectors.crawling.publish import micros, publish
from collectors.imports.publishing import imports_of
from collectors.platforms.base import Platform
from collectors.together import NAMED, Collector, read_together
from collectors.tokens.store import Token, TokenStore, from_environment
from likewise.config import CollectSection
from likewise.errors import ConfigError, LikewiseError
from likewise.progress import progress
from likewise.raised import one_error
from likewise.study import Manifest, Study, refuse_links
from likewise.working import changes_study

__all__ = [
    "collect",
    "collect_from",
    "hours_open",
    "join",
    "join_from",
    "open_platforms",
    "tokens_for",
]


HOUR = 3_600_000_000
"""Microseconds: time that was covered less than an hour ago is not asked for again."""

OFFERED_WITHIN_S = 60.0
"""A collector that joins may start somewhat before the one that it joins."""


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
        late = until_now and any(hours_open(journal, platform) >= 1 for platform in adapters)
        if late or since is not None:
            for platform in adapters:
                journal.set_meta(extend_key(platform.name, platform.host), "now")
        tokens = [tokens_for(platform) for platform in adapters]
        if opened.config.collect.leases:
            given = zip(adapters, tokens, strict=True)
            sources = {(one.name, one.host): (one, its) for one, its in given}
            failures, stopped = read_together(opened, journal, sources, start)
        else:
            fold_all(journal)
            raw_folder = opened.folder("raw") if opened.config.collect.keep_raw else None
            crawl = _crawl(opened.config.collect, journal, adapters, tokens, start, raw_folder)
            with one_error():
                failures, stopped = asyncio.run(crawl)
        journal.flush()
        manifest = publish(opened, journal, adapters, start)
    if stopped or failures:
        raise _outcome(stopped, failures)
    return manifest


def join(study: Study | str | os.PathLike[str]) -> dict[str, int]:
    """Read hosts for a ``collect`` of this study that runs elsewhere, until all of them are done.

    It needs ``[collect] leases`` and no lock, publishes nothing, and waits for a minute where
    nothing has been offered yet.

    Returns:
        How many hosts were read to their end (``hosts``), and how many leases were lost (``lost``).

    Raises:
        ConfigError: no leases or sources; as ``collect``.
        StorageError: the database of the leases cannot be used.
        LikewiseError: what stopped a host here; it is left to the others.
    """
    opened = Study.open(study)
    return join_from(opened, open_platforms(opened))


def join_from(opened: Study, adapters: Sequence[Platform]) -> dict[str, int]:
    """As ``join``, from these adapters."""
    section = opened.config.collect
    if not section.leases:
        raise ConfigError(
            f"{opened.root / 'likewise.toml'}: collectors share a study through leases, and there "
            "are none",
            hint='leases = "postgresql://USER@HOST/DATABASE" under [collect], for all of them',
        )
    refuse_links(opened.root)
    for platform in adapters:
        check_permission(platform)
    until = time.monotonic() + OFFERED_WITHIN_S
    while not (opened.root / NAMED).is_file():
        if time.monotonic() >= until:
            return {"hosts": 0, "lost": 0}
        time.sleep(0.25)
    sources = {(one.name, one.host): (one, tokens_for(one)) for one in adapters}
    collector = Collector(opened, sources)
    collector.run(max(0.0, until - time.monotonic()))
    if collector.stopped:
        raise _outcome(list(collector.stopped.values()), [])
    return {"hosts": collector.read, "lost": collector.lost}


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
                hosts.append(group.create_task(crawl_host(client, journal, crawls[-1], since)))
    stopped = [error for error in (host.result() for host in hosts) if error is not None]
    return [failure for crawl in crawls for failure in crawl.failures], stopped
