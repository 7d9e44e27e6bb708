"""The crawl of one host: cursor chains in parallel, authors batched while posts still arrive.

Memory does not depend on the crawl's length: at most ``concurrency`` chains are under way, each
holds one page, and everything else lies in the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collectors.crawling import manners, raw
from collectors.crawling.client import Client
from collectors.crawling.failures import CallError
from collectors.crawling.journal import Journal, Progress, StoredChain
from collectors.crawling.likes import ask_likes
from collectors.platforms.base import Outcome, Page
from collectors.platforms.records import Post
from likewise.errors import PartialError
from likewise.progress import note

if TYPE_CHECKING:
    from collectors.platforms.base import Platform
    from likewise.config import CollectSection
    from likewise.progress import Bar

__all__ = ["Crawl", "bounded", "partial"]


class Crawl:
    """Everything between a planned chain and its rows in the journal, for one host."""

    def __init__(
        self,
        client: Client,
        journal: Journal,
        section: CollectSection,
        raw_folder: Path | None = None,
        bar: Bar | None = None,
    ) -> None:
        self.client = client
        self.journal = journal
        self.section = section
        self.platform: Platform = client.platform
        self.where = (self.platform.name, self.platform.host)
        self.raw_folder = raw_folder
        self.bar = bar
        self.failures: list[tuple[str, str]] = []
        self._kept = 0
        self._posts_done = False
        self._wanted = asyncio.Event()

    def keep(self, post: Post) -> bool:
        """Whether a post passes the rules of manners, as far as the post itself tells."""
        reason = manners.reason_to_drop(
            post.flags, sensitive=bool(post.sensitive), section=self.section
        )
        return reason is None and bool(post.media)

    async def run(self) -> None:
        """Walk every open chain to its end and ask for the authors that this makes necessary.

        Failed chains are listed in ``failures``; they stay in the journal for the next run.
        """
        self._kept = await self.journal.run(self.journal.posts.count_kept, *self.where)
        chains = await self.journal.run(self.journal.chains.reopen, *self.where)
        chains = [at for at in chains if self.platform.follows(at.chain)]
        async with asyncio.TaskGroup() as group:
            authors = group.create_task(self._authors())
            async with bounded(self.section.concurrency) as start:
                for chain in chains:
                    await start(self._walk(chain))
            self._posts_done = True
            self._wanted.set()
            await authors
        await self._likes()

    # -- posts ----------------------------------------------------------------------------

    async def _walk(self, at: StoredChain) -> None:
        try:
            await self._pages(at)
        except CallError as error:
            failure = (self._named(at), error.told)
            # An account that is missing has a chain for every night that looked for it.
            if at.chain.kind != "account" or failure not in self.failures:
                self.failures.append(failure)
            await self.journal.run(self.journal.chains.end, at.id, "failed", error.reason)

    def _named(self, at: StoredChain) -> str:
        return f"{self.platform.host} {at.chain.kind} {at.chain.value}"

    async def _pages(self, at: StoredChain) -> None:
        position = at.chain.hi
        at = await self._by_id(at)
        while True:
            if position is not None and await self._enough(position):
                await self.journal.run(self.journal.chains.end, at.id, "done", "max_posts")
                return
            request = self.platform.page(at.chain, at.cursor)
            answer = await self.client.call(request)
            verdict = self.client.verdict(answer)
            if verdict.outcome is Outcome.GONE:
                # Not the end of a feed: what is not there now may be misspelt, or come back.
                self.client.counters["chain_gone"] += 1
                raise CallError(verdict.reason, request.path, detail=_GONE[at.chain.kind])
            page = self.platform.read_page(at.chain, at.cursor, answer)
            if self.raw_folder is not None:
                left_out = await self.journal.run(self._left_out, page)
                await asyncio.to_thread(raw.keep, self.raw_folder, at, request, answer, left_out)
            progress = await self.journal.run(self._store, at, page)
            self._note(page, progress.fresh)
            if progress.cursor is None:
                self.failures += [(self._named(at), f"{n}: {why}") for n, why in progress.lost]
                return
            position = min((p.created_at for p in page.posts if p.created_at), default=position)
            at = StoredChain(at.id, at.chain, progress.cursor, at.pages + 1)

    async def _by_id(self, at: StoredChain) -> StoredChain:
        """An account that was found before is followed by its id: names change hands."""
        if at.cursor is not None or at.chain.kind != "account":
            return at
        known = await self.journal.run(self.journal.chains.account, *self.where, at.chain.value)
        return at if known is None else replace(at, cursor=self.platform.start(known))

    def _left_out(self, page: Page) -> set[str]:
        """Ids of the posts and authors on a page of whom nothing but a key may be kept."""
        out = manners.OPTED_OUT
        authors = {author.author_id for author in page.authors}
        gone = self.journal.forgotten.among(
            *self.where, authors | {p.author_id for p in page.posts}
        )
        posts = {p.post_id for p in page.posts if p.flags & out or p.author_id in gone}
        return posts | gone | {a.author_id for a in page.authors if a.flags & out}

    def _store(self, at: StoredChain, page: Page) -> Progress:
        progress = self.journal.store_page(*self.where, at, page, self.keep)
        kept = {post.author_id for post in page.posts if self.keep(post)}
        wanted = [
            a.author_id for a in page.authors if a.author_id in kept and self.platform.wants(a)
        ]
        self.journal.authors.want(*self.where, wanted)
        return progress

    def _note(self, page: Page, fresh: int) -> None:
        self._kept += min(fresh, sum(map(self.keep, page.posts)))
        self._wanted.set()
        if self.bar is not None:
            self.bar.advance(fresh)

    async def _enough(self, position: int) -> bool:
        """Whether ``max_posts`` posts at or after a moment are known: older ones are not needed.

        What a feed that runs backwards from that moment can still bring would not be among the
        newest ``max_posts``; so the posts that stay do not hang on which chain was faster.
        """
        most = self.platform.source.max_posts
        if self._kept < most:
            return False
        return (
            await self.journal.run(self.journal.posts.count_newer, *self.where, position, most)
            >= most
        )

    # -- authors --------------------------------------------------------------------------

    async def _authors(self) -> None:
        """Ask for wanted authors: full batches while posts arrive, the rest at the end."""
        size = self.platform.authors_per_call
        if not size:
            return
        async with bounded(self.section.concurrency) as start:
            while True:
                last = self._posts_done
                self._wanted.clear()
                waiting = await self.journal.run(self.journal.authors.count_wanted, *self.where)
                while waiting >= size or (last and waiting > 0):
                    ids = await self.journal.run(
                        self.journal.authors.take_wanted, *self.where, size
                    )
                    await start(self._ask(ids))
                    waiting -= len(ids)
                if last:
                    return
                await self._wanted.wait()

    async def _ask(self, ids: list[str]) -> None:
        try:
            answer = await self.client.call(self.platform.authors(ids))
        except CallError as error:
            self.failures.append((f"{self.platform.host} {len(ids)} authors", error.told))
            return
        gone = self.client.verdict(answer).outcome is Outcome.GONE
        found = [] if gone else self.platform.read_authors(ids, answer)
        await self.journal.run(self.journal.authors.answered, *self.where, ids, found)

    # -- likes that the pages left out ----------------------------------------------------

    async def _likes(self) -> None:
        """Ask the newest posts without likes for them, as many as the platform grants a run."""
        most = self.platform.most_likes_calls
        if not most:
            return
        async with bounded(self.section.concurrency) as start:
            for post_id in await self.journal.run(
                self.journal.posts.without_likes, *self.where, most
            ):
                await start(self._ask_likes(post_id))
        left = await self.journal.run(self.journal.posts.count_without_likes, *self.where)
        if left:
            note(
                f"{self.platform.host}: {left} posts have no likes yet; run likewise collect again"
            )

    async def _ask_likes(self, post_id: str) -> None:
        self.failures += await ask_likes(self.client, self.journal, post_id)


_GONE = {
    "account": "no such account there: misspelt, renamed, suspended or deleted",
    "tag": "the server knows no feed of this tag",
    "search": "the platform has no such search",
    "file": "the recording tells of something that was gone",
}

Work = Coroutine[Any, Any, None]


@contextlib.asynccontextmanager
async def bounded(most: int) -> AsyncIterator[Callable[[Work], Awaitable[None]]]:
    """Start coroutines, at most ``most`` at once; leaving waits for all of them."""
    slots = asyncio.Semaphore(most)

    async with asyncio.TaskGroup() as group:

        async def start(work: Work) -> None:
            await slots.acquire()
            group.create_task(work).add_done_callback(lambda _: slots.release())

        yield start


def partial(failures: list[tuple[str, str]]) -> PartialError:
    """The error of a crawl in which some chains failed."""
    return PartialError(
        f"{len(failures)} parts of the crawl are not whole; everything else was collected",
        failures,
        hint="run likewise collect again: it goes on where parts stopped, and asks again for what "
        "was not there; take names that are wrong out of likewise.toml",
    )
