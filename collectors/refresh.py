"""``refresh``: read counts again, and drop everywhere what was deleted upstream.

A post counts as deleted only when the platform itself says so: by its own error for this one post,
or by leaving it out of an answer that holds others that were asked for with it. When more would
vanish than an ordinary day explains, nothing is erased until somebody confirms it.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from collectors.budgets.pool import Pool
from collectors.collect import open_platforms, tokens_for
from collectors.crawling.again import Again
from collectors.crawling.client import Client, Limits, open_session
from collectors.crawling.erase import Doomed, erase, pictures_of
from collectors.crawling.host import ask_server
from collectors.crawling.journal import Journal
from collectors.crawling.journal.handover import fold_all
from collectors.crawling.manners import check_permission
from collectors.crawling.neighbours import alone_with
from collectors.crawling.publish import publish
from collectors.crawling.traces import blot_out
from collectors.imports.publishing import imports_of
from likewise.errors import CircuitOpenError, LikewiseError, PartialError
from likewise.progress import note, progress
from likewise.raised import one_error
from likewise.study import Manifest, Study
from likewise.working import changes_study

if TYPE_CHECKING:
    from collections.abc import Sequence

    from collectors.platforms.base import Platform
    from collectors.tokens.store import Token

__all__ = ["refresh"]


DAY = 86_400_000_000


@changes_study("refresh")
def refresh(
    study: Study | str | os.PathLike[str],
    *,
    confirm_deletions: bool = False,
    of_age: bool = False,
) -> Manifest:
    """Read the counts of every kept post again; returns the manifest of ``posts``.

    With ``of_age`` only those that were younger than ``[clean] min_age_days`` when they were read
    and are older now: nothing is asked where there is none.

    Counts that changed make another version, which ``likewise run`` takes up. Posts that their
    authors deleted, or whose authors opted out since, leave every table of the study at once.

    Raises:
        MissingTableError: nothing has been collected.
        PartialError: some posts could not be read; they keep their counts.
        CircuitOpenError: more posts would vanish than ``[collect]`` allows in one run and
            ``confirm_deletions`` is false: nothing was erased.
    """
    opened = Study.open(study)
    posts = opened.require("posts", "collect")
    for host, about in imports_of(opened).items():
        note(f"{host}: its counts are read again by importing {about['source']} again")
    adapters = open_platforms(opened)
    if not adapters:
        return posts
    return refresh_from(opened, adapters, confirm_deletions=confirm_deletions, of_age=of_age)


def refresh_from(
    opened: Study,
    adapters: Sequence[Platform],
    *,
    confirm_deletions: bool = False,
    of_age: bool = False,
) -> Manifest:
    """As ``refresh``, from these adapters."""
    for platform in adapters:
        check_permission(platform)
    with Journal(opened.journal_path) as journal:
        fold_all(journal)
        age = int(opened.config.clean.min_age_days * DAY)
        if of_age:
            adapters = [p for p in adapters if waits_for_reading(journal, p, age)]
            if not adapters:
                return opened.require("posts")
        tokens = [tokens_for(platform) for platform in adapters]
        known = {(p.name, p.host): journal.posts.count_kept(p.name, p.host) for p in adapters}
        asked, stopped = asyncio.run(
            _refresh(opened, journal, adapters, tokens, age, of_age=of_age)
        )
        journal.flush()
        refusal = None if confirm_deletions else _too_many(opened, asked, known)
        if refusal is None:
            _let_go(opened, journal, asked, adapters)
        since = journal.meta("since")
        everything = open_platforms(opened) if of_age else adapters
        manifest = publish(opened, journal, everything, int(since) if since else None)
    for again in asked:
        _tell_licences(again)
    failures = [failure for again in asked for failure in again.failures]
    if refusal is not None:
        refusal.failures = failures
        raise refusal
    if stopped:
        raise stopped[0]
    if failures:
        raise PartialError(
            f"{len(failures)} parts could not be read again; they keep their counts",
            failures,
            hint="nothing was erased of them; run likewise refresh again",
        )
    return manifest


def waits_for_reading(journal: Journal, platform: Platform, age: int) -> int:
    """How many posts of a host have come of age (microseconds) since their counts were read."""
    if not platform.counts_per_call:
        return 0
    return journal.posts.count_came_of_age(platform.name, platform.host, age)


def _too_many(
    study: Study, asked: Sequence[Again], known: dict[tuple[str, str], int]
) -> CircuitOpenError | None:
    """Why what would vanish looks like a fault of a server; None when it does not."""
    section = study.config.collect
    parts = [(again.where[1], len(again.vanished), known[again.where]) for again in asked]
    total = ("all servers", sum(gone for _, gone, _ in parts), sum(known.values()))
    for name, gone, of in (*parts, total):
        if gone > section.max_vanished_posts and gone > section.max_vanished_share * of:
            return CircuitOpenError(
                f"{name}: {gone:,} of {of:,} posts ({gone / of:.0%}) would vanish, more than "
                f"{section.max_vanished_share:.0%} and more than {section.max_vanished_posts}: "
                "nothing was erased",
                hint="look at some of these posts at the server; if they are really gone: "
                f"likewise refresh {study.root} --confirm-deletions",
            )
    return None


def _let_go(
    study: Study, journal: Journal, asked: Sequence[Again], adapters: Sequence[Platform]
) -> None:
    """Erase what vanished, and what an earlier run noted but was stopped from erasing."""
    for again in asked:
        if again.vanished:
            journal.let_go(*again.where, again.vanished, again.opted_out)
    marks: set[str] = set()
    for platform in adapters:
        ids = journal.posts.gone(platform.name, platform.host)
        doomed = Doomed(platform.name, platform.host, post_ids=ids)
        if ids:
            marks |= pictures_of(study, doomed) | set(ids)
            erase(study, doomed)
    if any(again.vanished for again in asked):
        blot_out(study, marks)
        if not journal.scrub():
            note(f"{journal.path} is being read: what was deleted leaves its log when that ends")


def _tell_licences(again: Again) -> None:
    """Say which licences changed, and what that means for the pictures."""
    for post_id, before, now in again.relicensed:
        left = "it leaves the study" if post_id in again.vanished else "it stays"
        change = f"licence {before} before, {now or 'none known'} now"
        note(f"{again.where[1]} {post_id}: {change}: {left}")


async def _refresh(
    study: Study,
    journal: Journal,
    adapters: Sequence[Platform],
    tokens: Sequence[Sequence[Token]],
    age: int,
    *,
    of_age: bool,
) -> tuple[list[Again], list[LikewiseError]]:
    section = study.config.collect
    limits = Limits(attempts=section.max_attempts, timeout_s=section.timeout_s)
    slots = asyncio.Semaphore(section.concurrency)
    asked: list[Again] = []
    stopped: list[LikewiseError] = []
    with progress("refresh", None) as bar:
        async with open_session(section.concurrency, limits, section.contact) as session:
            for platform, given in zip(adapters, tokens, strict=True):
                if not platform.counts_per_call:
                    note(f"{platform.name} {platform.host}: posts cannot be read again by id")
                    continue
                pool = Pool(platform, given)
                pool.restore(
                    await journal.run(journal.budgets.calls),
                    await journal.run(journal.budgets.shut),
                )
                client = Client(session, pool, slots, journal, limits)
                again = Again(client, journal, bar, age)
                asked.append(again)
                try:
                    with one_error():
                        async with alone_with(platform.name, platform.host, journal.path) as spent:
                            pool.restore(*spent)
                            await ask_server(again.client)
                            await again.run(section.concurrency, of_age=of_age)
                except LikewiseError as error:
                    stopped.append(error)
    return asked, stopped
