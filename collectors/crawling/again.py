"""Kept posts read again, and which of them are gone by the platform's own word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from collectors.crawling.client import Client
from collectors.crawling.crawl import bounded
from collectors.crawling.failures import USED_UP, CallError
from collectors.crawling.likes import ask_likes
from collectors.crawling.manners import OPTED_OUT
from collectors.platforms.base import Answer, Outcome, Page, Platform
from collectors.platforms.records import Author

if TYPE_CHECKING:
    from collectors.crawling.journal import Journal
    from likewise.progress import Bar

__all__ = ["Again", "Reading", "read"]

DELETED = "deleted_upstream"


@dataclass(slots=True)
class Reading:
    """What one answer says about the posts that were asked for."""

    page: Page = field(default_factory=Page)
    gone: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    """Posts of which the answer says nothing."""


def read(platform: Platform, ids: Sequence[str], answer: Answer, outcome: Outcome) -> Reading:
    """Tell posts that came, posts that are gone, and posts of which nothing is known, apart.

    An error for the whole call speaks of one post only when one was asked for. A post that is
    missing is gone when others that were asked for came, and when every entry could be read: one
    that could not may be the missing post.
    """
    if outcome is Outcome.GONE:
        return Reading(gone=list(ids)) if len(ids) == 1 else Reading(open=list(ids))
    page = platform.read_counts(ids, answer)
    wanted = set(ids)
    page.posts = [post for post in page.posts if post.post_id in wanted]
    missing = sorted(wanted - {post.post_id for post in page.posts})
    sure = bool(page.posts) and not page.dropped
    return Reading(page, gone=missing if sure else [], open=[] if sure else missing)


class Again:
    """Reads the kept posts of one host again, in batches, at most some at once."""

    def __init__(self, client: Client, journal: Journal, bar: Bar, age: int) -> None:
        self.client = client
        self.journal = journal
        self.age = age
        """Microseconds from which on a post's counts are taken as settled."""
        self.platform = client.platform
        self.where = (self.platform.name, self.platform.host)
        self.bar = bar
        self.failures: list[tuple[str, str]] = []
        self.vanished: dict[str, str] = {}
        """Post -> why it has to go: deleted upstream, or the flags by which its author opted out.
        """
        self.opted_out: dict[str, Author] = {}
        self.relicensed: list[tuple[str, str, str]] = []
        """(post, licence before, licence now) where they differ; "" is none that is known."""
        self._witness: str | None = None
        self._open: list[str] = []

    async def run(self, concurrency: int, *, of_age: bool = False) -> None:
        """Ask for every kept post; what cannot be decided stands in ``failures``.

        With ``of_age`` only for those that have come of age since they were read.
        """
        last = ""
        posts, size = self.journal.posts, self.platform.counts_per_call
        pause = self.platform.read_again_after_s
        before = self.client.pool.clock() - pause if pause else math.inf
        following = (
            partial(posts.came_of_age, age=self.age)
            if of_age
            else partial(posts.kept_after, read_before=before)
        )
        async with bounded(concurrency) as start:
            while ids := await self.journal.run(following, *self.where, last, size):
                await start(self._first(ids))
                last = ids[-1]
        await self._second(concurrency)

    async def _first(self, ids: list[str]) -> None:
        self._open += await self._ask(ids)
        self.bar.advance(len(ids))

    async def _second(self, concurrency: int) -> None:
        """Ask again for posts of batches that came back without any of them.

        A post that is known to be there is asked for with them: when it comes, the others are
        gone; when it does not, the answer is worth nothing.
        """
        doubtful, self._open = sorted(self._open), []
        if self._witness is None:
            await self._one_by_one(doubtful)
            return
        size = max(1, self.platform.counts_per_call - 1)
        async with bounded(concurrency) as start:
            for at in range(0, len(doubtful), size):
                await start(self._beside_witness(doubtful[at : at + size]))

    async def _beside_witness(self, ids: list[str]) -> None:
        witness = [self._witness] if self._witness and self.platform.counts_per_call > 1 else []
        self._undecided(set(await self._ask([*ids, *witness])) - set(witness))

    async def _one_by_one(self, ids: list[str]) -> None:
        """Single posts get errors of their own, where a platform gives them."""
        for n, one in enumerate(ids):
            if await self._ask([one]):
                self._undecided(ids[n:])
                return

    def _undecided(self, ids: Sequence[str] | set[str]) -> None:
        if ids:
            what = f"{self.platform.host} {len(ids)} posts"
            self.failures.append((what, "did_not_come_and_not_said_to_be_deleted"))

    async def _ask(self, ids: list[str]) -> list[str]:
        """Ask and store; returns the posts of which the answer says nothing."""
        try:
            answer = await self.client.call(self.platform.counts(ids))
        except CallError as error:
            failure = (f"{self.platform.host} {len(ids)} posts", error.told)
            if error.reason == USED_UP:  # one line for all that have to wait
                failure = (f"{self.platform.host} the posts that are left", error.told)
            if failure not in self.failures or error.reason != USED_UP:
                self.failures.append(failure)
            return []
        found = read(self.platform, ids, answer, self.client.verdict(answer).outcome)
        self.vanished |= dict.fromkeys(found.gone, DELETED)
        await self._store(found.page)
        return found.open

    async def _store(self, page: Page) -> None:
        """Store counts; what opted out is noted and nothing of it is stored."""
        if "licence" in self.platform.counted:
            ids = [post.post_id for post in page.posts]
            known = await self.journal.run(self.journal.posts.licences, *self.where, ids)
            now = {p.post_id: p.licence.code if p.licence else "" for p in page.posts}
            self.relicensed += [(i, known[i], now[i]) for i in known if known[i] != now[i]]
        out = [post for post in page.posts if post.flags & OPTED_OUT]
        self.vanished |= {post.post_id: " ".join(sorted(post.flags)) for post in out}
        self.opted_out |= {a.author_id: a for a in page.authors if a.flags & OPTED_OUT}
        page.posts = [post for post in page.posts if not post.flags & OPTED_OUT]
        page.authors = [author for author in page.authors if not author.flags & OPTED_OUT]
        self._witness = page.posts[0].post_id if page.posts else self._witness
        counted = self.platform.counted
        await self.journal.run(self.journal.read_again, *self.where, page, counted, self.age)
        if self.platform.most_likes_calls:
            for post in page.posts:
                self.failures += await ask_likes(self.client, self.journal, post.post_id)
