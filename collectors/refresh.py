"""``refresh``: read counts again, and drop everywhere what was deleted upstream."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from collectors.budgets.pool import Pool
from collectors.collect import open_platforms, tokens_for
from collectors.crawling.client import CallError, Client, Limits, open_session
from collectors.crawling.crawl import bounded, partial
from collectors.crawling.erase import Doomed, erase
from collectors.crawling.journal import Journal
from collectors.crawling.likes import ask_likes
from collectors.crawling.manners import check_permission
from collectors.crawling.publish import publish
from collectors.platforms.base import Outcome, Page, Platform
from likewise.progress import note, progress
from likewise.study import Manifest, Study

if TYPE_CHECKING:
    from collections.abc import Sequence

    from collectors.tokens.store import Token
    from likewise.progress import Bar

__all__ = ["refresh"]


def refresh(study: Study | str | os.PathLike[str]) -> Manifest:
    """Read the counts of every kept post again; returns the manifest of ``posts``.

    Counts that changed make another table, so later stages ask for ``--redo``. Posts that their
    authors deleted leave every table of the study at once.

    Raises:
        MissingTableError: nothing has been collected.
        PartialError: some posts could not be read; they keep their counts.
    """
    opened = Study.open(study)
    opened.require("posts", "collect")
    return refresh_from(opened, open_platforms(opened))


def refresh_from(opened: Study, adapters: Sequence[Platform]) -> Manifest:
    """As ``refresh``, from these adapters."""
    for platform in adapters:
        check_permission(platform)
    with Journal(opened.journal_path) as journal:
        tokens = [tokens_for(platform) for platform in adapters]
        failures = asyncio.run(_refresh(opened, journal, adapters, tokens))
        journal.flush()
        for platform in adapters:
            gone = journal.posts.deleted(platform.name, platform.host)
            if gone:
                erase(opened, Doomed(platform.name, platform.host, post_ids=gone))
        since = journal.meta("since")
        manifest = publish(opened, journal, adapters, int(since) if since else None)
    if failures:
        raise partial(failures)
    return manifest


async def _refresh(
    study: Study,
    journal: Journal,
    adapters: Sequence[Platform],
    tokens: Sequence[Sequence[Token]],
) -> list[tuple[str, str]]:
    section = study.config.collect
    limits = Limits(attempts=section.max_attempts, timeout_s=section.timeout_s)
    slots = asyncio.Semaphore(section.concurrency)
    await journal.run(journal.authors.next_pass)
    failures: list[tuple[str, str]] = []
    with progress("refresh", None) as bar:
        async with open_session(section.concurrency, limits, section.contact) as session:
            for platform, given in zip(adapters, tokens, strict=True):
                if not platform.counts_per_call:
                    note(f"{platform.name} {platform.host}: posts cannot be read again by id")
                    continue
                pool = Pool(platform, given)
                pool.restore(await journal.run(journal.budgets.calls))
                client = Client(session, pool, slots, journal, limits)
                failures += await _Again(client, journal, bar).run(section.concurrency)
    return failures


class _Again:
    """Reads the kept posts of one host again, in batches, at most some at once."""

    def __init__(self, client: Client, journal: Journal, bar: Bar) -> None:
        self.client = client
        self.journal = journal
        self.platform = client.platform
        self.where = (self.platform.name, self.platform.host)
        self.bar = bar
        self.failures: list[tuple[str, str]] = []

    async def run(self, concurrency: int) -> list[tuple[str, str]]:
        probe = self.platform.probe()
        if probe is not None:
            self.platform.learn(await self.client.call(probe))
        last = ""
        async with bounded(concurrency) as start:
            size = self.platform.counts_per_call
            while ids := await self.journal.run(
                self.journal.posts.kept_after, *self.where, last, size
            ):
                await start(self._batch(ids))
                last = ids[-1]
        return self.failures

    async def _batch(self, ids: list[str]) -> None:
        try:
            answer = await self.client.call(self.platform.counts(ids))
        except CallError as error:
            self.failures.append((f"{self.platform.host} {len(ids)} posts", error.reason))
            return
        gone = self.client.verdict(answer).outcome is Outcome.GONE
        page = Page() if gone else self.platform.read_counts(ids, answer)
        counted = self.platform.counted
        await self.journal.run(self.journal.read_again, *self.where, ids, page, counted)
        if self.platform.most_likes_calls:
            for post in page.posts:
                self.failures += await ask_likes(self.client, self.journal, post.post_id)
        self.bar.advance(len(ids))
