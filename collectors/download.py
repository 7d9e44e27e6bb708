"""``download``: kept_posts -> pictures. The bytes behind the media URLs, each asked for once.

A run has three steps. The plan lists the pictures of the kept posts and strikes out those that an
earlier run has fetched, published or not. The engine fetches the rest into the spool, a folder
that survives ``kill -9``. The fold writes the rows of each bucket, old and new, in the order of
their keys, and publishes them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from collectors.download_engine import Settings, circuit_open, fetch_all
from collectors.download_fetch import Limits
from collectors.download_fold import Facts, fold
from collectors.download_plan import Item, Plan, make_plan, outcomes, wants_again
from collectors.download_store import Store
from filters.pictures import Hygiene
from likewise.config import DownloadSection
from likewise.errors import CircuitOpenError, PartialError
from likewise.funnel import Funnel
from likewise.progress import progress
from likewise.study import Manifest, Study

__all__ = ["download", "settings_of"]

Retry = Literal["failed", "timeouts", "all"]


def download(
    study: Study | str | os.PathLike[str],
    *,
    retry: Retry | None = None,
    redo: bool = False,
    engine: Literal["asyncio", "spark"] = "asyncio",
) -> Manifest:
    """Fetch the pictures of the kept posts; publish ``pictures``.

    A picture that is there already is never asked for again, whatever else has changed: new
    posts, another number of buckets, other hygiene (then its stored bytes are looked at anew).

    Args:
        study: The study or its folder.
        retry: Ask again for rows that ``failed``, that ran into ``timeouts``, or for ``all``
            without a picture. None takes up an unfinished run and fetches new posts only.
        redo: Apply changed hygiene rules to the pictures that are there.
        engine: ``asyncio`` in this process, or the same coroutine in ``spark`` partitions.

    Raises:
        MissingTableError: there are no kept posts.
        FingerprintError: hygiene has changed and ``redo`` is false.
        PartialError: some pictures failed in this run; the table is published.
        CircuitOpenError: nearly all failed for one reason; nothing is published.
    """
    study = Study.open(study)
    kept = study.require("kept_posts")
    store = Store(study)
    store.finish_publication()
    if retry is None and store.is_current(kept.fingerprint):
        return study.require("pictures")
    store.check_hygiene(redo=redo)
    with progress("download: planning"):
        plan = make_plan(study, store.fresh_plan_folder())
    todo = _Todo(plan, store, retry)
    try:
        _fetch(study, todo, store, engine)
    except CircuitOpenError as error:
        store.suspect(error.__notes__[0])
        raise
    with progress("download: publishing", plan.n_buckets) as bar:
        facts = fold(plan, store, bar)
    _check_share(facts, study.config.download.breaker, store)
    manifest = store.publish(facts, _funnel(plan, facts))
    failed = [(item, reason) for item, reason in facts.failed if item in todo.asked]
    if failed:
        raise PartialError(
            f"{len(failed)} of {len(todo.asked)} pictures failed",
            failed,
            hint=f"ask again with: likewise download --retry failed {study.root}",
        )
    return manifest


def settings_of(config: DownloadSection) -> Settings:
    """The engine's settings as ``likewise.toml`` gives them."""
    return Settings(
        limits=Limits(
            timeout_s=config.timeout_s,
            max_bytes=config.max_bytes,
            concurrency=config.concurrency,
            per_host=config.per_host,
        ),
        hygiene=Hygiene(
            min_side=config.min_side,
            max_aspect=config.max_aspect,
            max_pixels=config.max_pixels,
            min_contrast=config.min_contrast,
        ),
        max_attempts=config.max_attempts,
        allow_hosts=tuple(config.allow_hosts),
        breaker=config.breaker,
        workers=config.workers,
    )
