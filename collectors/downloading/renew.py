"""A fresh address for a picture whose signed one is over: the platform is asked for the post."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp

from collectors.budgets.pool import Pool
from collectors.collect import open_platforms, tokens_for
from collectors.crawling.client import Client, Limits, open_session
from collectors.downloading.engine import Renew
from collectors.downloading.plan import Item
from collectors.platforms.base import Platform
from likewise.errors import LikewiseError
from likewise.study import Study

__all__ = ["open_renewer"]

AT_ONCE = 4
"""Calls to platforms at the same time, beside the downloads."""


@contextlib.asynccontextmanager
async def open_renewer(study: Study) -> AsyncIterator[Renew | None]:
    """What asks the study's platforms for fresh addresses; None when it has no such platform."""
    section = study.config.collect
    adapters = open_platforms(study) if section.sources else []
    usable = [adapter for adapter in adapters if adapter.counts_per_call and not adapter.offline]
    if not usable:
        yield None
        return
    limits = Limits(attempts=section.max_attempts, timeout_s=section.timeout_s)
    async with open_session(AT_ONCE, limits, section.contact) as session:
        renewer = _Renewer(session, usable, limits)
        yield renewer.renew


class _Renewer:
    def __init__(
        self, session: aiohttp.ClientSession, adapters: list[Platform], limits: Limits
    ) -> None:
        slots = asyncio.Semaphore(AT_ONCE)
        self._clients = {
            (adapter.name, adapter.host): Client(
                session, Pool(adapter, tokens_for(adapter)), slots, limits=limits
            )
            for adapter in adapters
        }
        self._by_host = {host: client for (_, host), client in self._clients.items()}

    async def renew(self, item: Item) -> str | None:
        """The picture's address as the platform gives it now; None when it gives none."""
        client, post_id = self._clients.get((item.platform, item.host)), item.post_id
        own, at, server = item.post_id.rpartition("@")
        if at:
            # The author was first seen through another server than the post; see `federation`.
            client, post_id = self._by_host.get(server), own
        if client is None:
            return None
        platform = client.platform
        try:
            answer = await client.call(platform.counts([post_id]))
        except LikewiseError:
            # The row keeps its own reason, `expired`; a platform's refusal is no other failure.
            return None
        for post in platform.read_counts([post_id], answer).posts:
            for medium in post.media:
                if post.post_id == post_id and medium.index == item.media_index:
                    return medium.url
        return None
