"""``download``: kept_posts -> fetches, pictures. The bytes behind the media URLs, asked for once.

A run has three steps. The plan lists the pictures of the kept posts and strikes out those that an
earlier run has fetched, published or not. The engine fetches the rest into the spool, a folder
that survives ``kill -9``. The fold writes what is new: a row for each fetch, and the bytes of each
picture once, however many posts show it.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Literal

from collectors.downloading.adoption import adopt
from collectors.downloading.breaker import EXPIRED, TooManyFailedError
from collectors.downloading.engine import Settings, fetch_all
from collectors.downloading.fetch import Limits
from collectors.downloading.fold import Facts, fold
from collectors.downloading.mending import drop_damaged
from collectors.downloading.plan import Plan, Todo, make_plan
from collectors.downloading.renew import open_renewer
from collectors.downloading.store import Store, hygiene_of
from collectors.imports.places import roots
from likewise import __version__
from likewise.config import DownloadSection
from likewise.errors import MissingTableError, PartialError
from likewise.funnel import Funnel
from likewise.progress import Bar, progress
from likewise.study import Manifest, Study
from likewise.working import changes_study

__all__ = ["Engine", "download", "in_this_process", "settings_of"]

Retry = Literal["failed", "timeouts", "damaged", "all"]

Engine = Callable[[Todo, Settings, Store, Bar], None]
"""Fetches what is to do into the store's rows, with these settings."""

LEAST = 10
"""A table of fewer rows is published even when all of them failed."""


@changes_study("download")
def download(
    study: Study | str | os.PathLike[str],
    *,
    retry: Retry | None = None,
    engine: Engine | None = None,
) -> Manifest:
    """Fetch the pictures of the kept posts; publish ``fetches`` and ``pictures``.

    A picture that is there already is never asked for again, whatever else has changed: new
    posts, another number of buckets, other hygiene (then its stored bytes are looked at anew).

    Args:
        study: The study or its folder.
        retry: Ask again for rows that ``failed``, that ran into ``timeouts``, whose stored picture
            is ``damaged``, or for ``all`` without a picture. None takes up an unfinished run and
            fetches new posts only.
        engine: What fetches; None is asyncio in this process. ``spark_jobs.download`` has another.

    Returns:
        The manifest of ``fetches``.

    Raises:
        MissingTableError: there are no kept posts.
        StudyError: the pictures are of an older layout.
        PartialError: some pictures failed in this run; the table is published.
        CircuitOpenError: nearly all failed for one reason; nothing is published.
    """
    study = Study.open(study)
    store = Store(study)
    kept = store.kept_posts
    with suppress(MissingTableError):  # there are none before the first download
        study.require("fetches")  # refuses pictures of an older layout
    store.finish_publication()
    store.drop_lost()
    if retry == "damaged":
        drop_damaged(store)
    if retry in (None, "damaged") and store.is_current():
        return study.require("fetches")
    adopt(store)
    with progress("download: planning"):
        plan = make_plan(study, store.open())
        todo = Todo(plan, store, retry)
    try:
        with progress("download", len(todo)) as bar:
            if len(todo):
                settings = settings_of(study.config.download, study.config.collect.contact)
                posts = study.manifest("posts")
                named = roots(posts.extra) if posts is not None else {}
                settings = replace(settings, roots=tuple(sorted(named.items())))
                (engine or in_this_process)(todo, settings, store, bar)
    except TooManyFailedError as error:
        store.suspect(error.reason)
        raise
    with progress("download: publishing", plan.n_buckets) as bar:
        facts = fold(plan, store, bar)
    _check_share(facts, study.config.download.breaker, store)
    manifest = store.publish(facts.content, facts.kept, _funnel(plan, facts), kept)
    if facts.failed:
        raise PartialError(
            f"{len(facts.failed)} of {len(todo)} pictures failed",
            facts.failed,
            hint=f"ask again with: likewise download --retry failed {study.root}",
            folder=study.root / "spool",
        )
    return manifest


def in_this_process(todo: Todo, settings: Settings, store: Store, bar: Bar) -> None:
    """The engine of one machine: one event loop, one session."""

    async def work() -> None:
        async with open_renewer(store.study) as renew:
            await fetch_all(todo.items(), settings, store.rows, renew=renew, advance=bar.advance)

    asyncio.run(work())


def _check_share(facts: Facts, share: float, store: Store) -> None:
    """Nothing is published when nearly all rows failed for one reason."""
    n = facts.status.total() - facts.failed_reasons[EXPIRED]
    others = facts.failed_reasons - Counter({EXPIRED: facts.failed_reasons[EXPIRED]})
    for reason, times in others.most_common(1):
        if n >= LEAST and times >= share * n:
            store.suspect(reason)
            raise TooManyFailedError(reason, times, n)


def _funnel(plan: Plan, facts: Facts) -> Funnel:
    pictures = facts.status.total()
    repeated = plan.media - plan.left_out.total() - pictures
    return Funnel(
        stage="download",
        unit="media",
        rows_in=plan.media,
        rows_out=facts.status["ok"],
        dropped={**plan.left_out, **facts.reasons, "listed twice": repeated},
    )


def settings_of(config: DownloadSection, contact: str = "") -> Settings:
    """The engine's settings as ``likewise.toml`` gives them."""
    return Settings(
        limits=Limits(
            timeout_s=config.timeout_s,
            max_bytes=config.max_bytes,
            concurrency=config.concurrency,
            per_host=config.per_host,
            in_flight=config.max_in_flight,
            user_agent=f"likewise/{__version__}" + (f" (+{contact})" if contact else ""),
        ),
        hygiene=hygiene_of(config),
        max_attempts=config.max_attempts,
        allow_hosts=tuple(config.allow_hosts),
        breaker=config.breaker,
        workers=config.workers,
    )
