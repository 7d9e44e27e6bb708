"""The calls by which programs read posts, accounts, media files and facts about the instance."""

from __future__ import annotations

import html
from collections.abc import Mapping

import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from infra.sandbox.dialect import SYNTHETIC
from infra.sandbox.http import (
    RefusedError,
    as_json,
    bearer,
    flag,
    html_page,
    id_list,
    raw_json,
    record_number,
)
from infra.sandbox.platform import Platform
from infra.sandbox.timeline import Window, link_header, page, tagged
from infra.sandbox.world import TAGS

__all__ = ["Reading"]

VERSION = "4.5.0"
MAX_POSTS, MAX_STATUS_IDS, MAX_ACCOUNT_IDS = 40, 20, 40
RULES = [{"id": "1", "text": f"Everything is allowed in a {SYNTHETIC}.", "hint": ""}]


class Reading:
    """Handlers of the read-only part of Mastodon's interface."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Make the calls known to the router; the busiest come first."""
        get = router.add_get
        get("/api/v1/timelines/tag/{tag}", self._timeline)
        get("/media/{name}", self._media)
        get("/api/v1/accounts", self._accounts)
        get("/api/v1/accounts/lookup", self._lookup)
        get("/api/v1/accounts/{id}/statuses", self._statuses_of)
        get("/api/v1/accounts/{id}", self._account)
        get("/api/v1/statuses", self._statuses)
        get("/api/v1/statuses/{id}", self._status)
        get("/api/v2/instance{slash:/?}", self._instance)  # Mastodon.py asks with a slash
        get("/api/v1/instance/rules", self._rules)
        get("/api/v1/instance/terms_of_service", self._terms)
        get("/", self._front_page)

    async def _timeline(self, request: web.Request) -> web.Response:
        self._platform.calls["timeline"] += 1
        self._feed_allowed(request)
        query = request.query
        posts = tagged(
            self._platform.world,
            request.match_info["tag"],
            some=query.getall("any[]", []),
            every=query.getall("all[]", []),
            none=query.getall("none[]", []),
        )
        if flag(query, "remote") and not flag(query, "local"):
            posts = posts[:0]
        return self._page(
            request, posts, ("limit", "local", "only_media", "any[]", "all[]", "none[]")
        )

    def _feed_allowed(self, request: web.Request) -> None:
        if self._platform.feeds == "disabled":
            raise RefusedError(403, "This action is not allowed")
        person = self._platform.person(bearer(request))
        if self._platform.feeds == "authenticated" and person is None:
            raise RefusedError(401, "This method requires an authenticated user")

    def _page(
        self, request: web.Request, posts: NDArray[np.integer], keep: tuple[str, ...]
    ) -> web.Response:
        query = request.query
        window = _window(query)
        found = page(
            self._platform.world,
            posts,
            window,
            gone=self._platform.gone,
            only_media=flag(query, "only_media"),
        )
        response = raw_json(self._platform.dialect.posts(found))
        if found:
            kept = [(name, value) for name, value in query.items() if name in keep]
            ids = self._platform.world.post_id
            response.headers["Link"] = link_header(
                self._platform.url, request.path, kept, int(ids[found[0]]), int(ids[found[-1]])
            )
        return response

    async def _statuses_of(self, request: web.Request) -> web.Response:
        self._platform.calls["account statuses"] += 1
        posts = self._platform.world.posts_of(self._account_index(request))
        return self._page(request, posts, ("limit", "only_media"))

    async def _accounts(self, request: web.Request) -> web.Response:
        self._platform.calls["accounts"] += 1
        ids = id_list(request, MAX_ACCOUNT_IDS)
        found = (self._platform.world.find_account(i) for i in ids)
        return raw_json(self._platform.dialect.accounts(i for i in found if i is not None))

    async def _account(self, request: web.Request) -> web.Response:
        self._platform.calls["account"] += 1
        return raw_json(self._platform.dialect.account(self._account_index(request)))

    async def _lookup(self, request: web.Request) -> web.Response:
        self._platform.calls["lookup"] += 1
        index = self._platform.account_named(request.query.get("acct", ""))
        return raw_json(self._platform.dialect.account(index))

    async def _statuses(self, request: web.Request) -> web.Response:
        self._platform.calls["statuses"] += 1
        found = (self._platform.visible_post(i) for i in id_list(request, MAX_STATUS_IDS))
        return raw_json(self._platform.dialect.posts(i for i in found if i is not None))

    async def _status(self, request: web.Request) -> web.Response:
        self._platform.calls["status"] += 1
        index = self._platform.visible_post(record_number(request.match_info["id"]))
        if index is None:
            raise RefusedError(404, "Record not found")
        return raw_json(self._platform.dialect.post(index))

    def _account_index(self, request: web.Request) -> int:
        index = self._platform.world.find_account(record_number(request.match_info["id"]))
        if index is None:
            raise RefusedError(404, "Record not found")
        return index

    async def _media(self, request: web.Request) -> web.Response:
        self._platform.calls["media"] += 1
        found = self._platform.media.locate(request.match_info["name"])
        gone = self._platform.gone
        if found is None or found.post in gone or self._platform.world.doomed[found.post]:
            raise RefusedError(404, "Not Found")
        body, kind = await self._platform.media.get(found)
        return web.Response(body=body, content_type=kind)

    # -- the instance ---------------------------------------------------------------------

    async def _instance(self, request: web.Request) -> web.Response:  # noqa: ARG002
        self._platform.calls["instance"] += 1
        feeds = {"local": self._platform.feeds, "remote": self._platform.feeds}
        return as_json(
            {
                "domain": self._platform.url.split("//")[1],
                "title": f"Sandbox: a {SYNTHETIC}",
                "version": VERSION,
                "source_url": "",
                "description": f"Nobody and nothing here is real: a {SYNTHETIC}.",
                "usage": {"users": {"active_month": self._platform.world.spec.authors}},
                "languages": ["en"],
                "configuration": {
                    "timelines_access": {"live_feeds": feeds, "hashtag_feeds": feeds},
                },
                "rules": RULES,
                "api_versions": {"mastodon": 7},
            }
        )

    async def _rules(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return as_json(RULES)

    async def _terms(self, request: web.Request) -> web.Response:  # noqa: ARG002
        self._platform.calls["terms"] += 1
        return as_json(
            {
                "effective_date": self._platform.world.spec.epoch.isoformat(),
                "effective": True,
                "content": f"<p>This is a {SYNTHETIC}. Collecting, mining and training are"
                " allowed: nothing here is real.</p>",
                "succeeded_by": None,
            }
        )

    async def _front_page(self, request: web.Request) -> web.Response:  # noqa: ARG002
        text = html.escape(self._platform.world.describe())
        tags = ", ".join(f"#{html.escape(tag)}" for tag in TAGS)
        return html_page(f"Sandbox: a {SYNTHETIC}", f"<pre>{text}</pre><p>Tags: {tags}</p>")


def _window(query: Mapping[str, str]) -> Window:
    def bound(name: str) -> int | None:
        text = query.get(name, "")
        return int(text) if text.isdecimal() and len(text) <= 19 else None

    limit = bound("limit")
    return Window(
        limit=min(max(limit if limit is not None else 20, 1), MAX_POSTS),
        max_id=bound("max_id"),
        since_id=bound("since_id"),
        min_id=bound("min_id"),
    )
