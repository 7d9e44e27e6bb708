"""Search services on loopback: a folder of classes in the dialects of Openverse and Commons.

``FOLDER/KEYWORD/*.jpg`` are the results of the search for ``KEYWORD``; the two services share them
out by turns. Makers, titles and licences are invented, and the same for the same folder. Sources:
Openverse's documented answers and throttles, the MediaWiki action API and recorded answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from infra.sandbox.threads import loop_in_thread
from likewise.errors import UsageError

__all__ = ["SearchServices", "searching"]

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".svg", ".gif"}
LICENCES = (("by", "2.0"), ("by-sa", "4.0"), ("cc0", "1.0"), ("pdm", "1.0"), ("by-nc", "2.0"))
"""In turn; every fifth picture may not be used for everything."""
COLLECTIONS = ("flickr", "stocksnap")
MAKERS = 40
Spoil = Callable[[web.Request], web.StreamResponse | None]


@dataclass(slots=True)
class Work:
    """One picture of the invented collection."""

    key: str
    number: int
    keyword: str
    path: Path
    licence: tuple[str, str]
    maker: str
    collection: str


@dataclass(slots=True)
class Throttle:
    """At most ``limit`` calls in any ``period`` seconds, as Django REST framework counts."""

    scope: str
    limit: int
    period: float
    unit: str
    calls: deque[float] = field(default_factory=deque)

    def check(self, now: float) -> tuple[bool, float]:
        """Whether a call may pass, and else in how many seconds one may."""
        while self.calls and self.calls[0] <= now - self.period:
            self.calls.popleft()
        if len(self.calls) >= self.limit:
            return False, self.calls[0] + self.period - now
        self.calls.append(now)
        return True, 0.0

    def headers(self) -> dict[str, str]:
        """What every answer says about this limit."""
        return {
            f"X-RateLimit-Limit-{self.scope}": f"{self.limit}/{self.unit}",
            f"X-RateLimit-Available-{self.scope}": str(self.limit - len(self.calls)),
        }


class SearchServices:
    """Both services behind one address; ``routes`` may be added to any aiohttp application.

    Args:
        folder: a folder of classes.
        limits_factor: every limit is multiplied by this; 0 switches limits off.
        period_factor: every window is multiplied by this, so that tests need not wait.
        latency_s: of each answer, seconds.

    Raises:
        UsageError: the folder holds no folder with pictures.
    """

    def __init__(
        self,
        folder: Path,
        *,
        limits_factor: float = 1.0,
        period_factor: float = 1.0,
        latency_s: float = 0.0,
    ) -> None:
        self.works = _works(folder)
        if not self.works:
            raise UsageError(
                f"{folder} holds no pictures in folders", hint="expected FOLDER/KEYWORD/*.jpg"
            )
        self.url = ""
        self.calls: Counter[str] = Counter()
        self.inside: Counter[str] = Counter()
        self.most_inside: Counter[str] = Counter()
        self.licences: dict[str, tuple[str, str]] = {}
        """Key of a work -> another licence from now on."""
        self.gone: set[str] = set()
        self.spoil: Spoil = lambda _: None
        """What is answered instead; None lets a request through."""
        self.results = 400
        """Results of one Openverse search that can be seen."""
        self._latency = latency_s
        self._throttles = [
            Throttle("anon_burst", max(1, round(20 * limits_factor)), 60 * period_factor, "min"),
            Throttle(
                "anon_sustained", max(1, round(200 * limits_factor)), 86400 * period_factor, "day"
            ),
        ]
        if not limits_factor:
            self._throttles = []

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Both dialects, and the files."""
        router.add_get("/v1/images/", self._guarded("openverse", self._search))
        router.add_get("/v1/images/{key}/", self._guarded("openverse", self._detail))
        router.add_get("/v1/images/{key}/thumb/", self._guarded("files", self._thumb))
        router.add_get("/w/api.php", self._guarded("commons", self._commons))
        router.add_get("/files/{key}/{name}", self._guarded("files", self._file))

    def _guarded(
        self, service: str, handler: Callable[[web.Request], web.StreamResponse]
    ) -> Callable[[web.Request], Any]:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.calls[service] += 1
            self.inside[service] += 1
            self.most_inside[service] = max(self.most_inside[service], self.inside[service])
            try:
                if self._latency:
                    await asyncio.sleep(self._latency)
                spoilt = self.spoil(request)
                return handler(request) if spoilt is None else spoilt
            finally:
                self.inside[service] -= 1

        return answer

    # -- Openverse ------------------------------------------------------------------------

    def _throttled(self) -> tuple[web.Response | None, dict[str, str]]:
        now = time.monotonic()
        for throttle in self._throttles:
            passes, seconds = throttle.check(now)
            if not passes:
                self.calls["429"] += 1
                left = int(seconds) + 1
                body = {"detail": f"Request was throttled. Expected available in {left} seconds."}
                headers = {"Retry-After": str(left)}
                return web.json_response(body, status=429, headers=headers), {}
        headers = {}
        for throttle in self._throttles:
            headers |= throttle.headers()
        return None, headers

    def _search(self, request: web.Request) -> web.Response:
        refused, headers = self._throttled()
        if refused is not None:
            return refused
        page, size = int(request.query.get("page", 1)), int(request.query.get("page_size", 20))
        if size > 20:
            detail = "page_size may not exceed 20 for anonymous requests"
            return web.json_response({"detail": detail}, status=401, headers=headers)
        if page > 20:
            refusal: dict[str, Any] = {
                "detail": "Invalid input given for fields.",
                "fields": ["page"],
            }
            return web.json_response(
                {"error": "InputError", **refusal}, status=400, headers=headers
            )
        wanted = request.query.get("license", "").split(",")
        found = [
            work
            for work in self._of(request.query.get("q", ""), 0)
            if self._licence(work)[0] in wanted
        ][: self.results]
        shown = found[(page - 1) * size : page * size]
        body: dict[str, Any] = {
            "result_count": len(found), "page_count": -(-len(found) // size), "page_size": size,
            "page": page, "results": [self._item(work) for work in shown],
        }  # fmt: skip
        return web.json_response(body, headers=headers)

    def _detail(self, request: web.Request) -> web.Response:
        refused, headers = self._throttled()
        if refused is not None:
            return refused
        work = self._find(request.match_info["key"])
        if work is None or work.key in self.gone:
            return web.json_response({"detail": "Not found."}, status=404, headers=headers)
        return web.json_response(self._item(work), headers=headers)

    def _item(self, work: Work) -> dict[str, Any]:
        code, version = self._licence(work)
        odd = work.number % 7 == 0  # some collections tell no size
        return {
            "id": work.key, "title": _title(work), "creator": work.maker,
            "creator_url": f"{self.url}/people/{_slug(work.maker)}",
            "url": self._address(work), "thumbnail": f"{self.url}/v1/images/{work.key}/thumb/",
            "filetype": work.path.suffix[1:].lower(), "license": code, "license_version": version,
            "license_url": _licence_url(code, version), "source": work.collection,
            "provider": work.collection, "foreign_landing_url": f"{self.url}/works/{work.key}",
            "tags": [{"name": work.keyword}], "mature": False,
            "indexed_on": "2025-03-01T12:00:00Z", "width": None if odd else 640,
            "height": None if odd else 480,
        }  # fmt: skip

    def _thumb(self, request: web.Request) -> web.StreamResponse:
        return self._rendition(self._find(request.match_info["key"]))

    # -- Commons --------------------------------------------------------------------------

    def _commons(self, request: web.Request) -> web.Response:
        query = request.query
        if query.get("action") != "query" or query.get("format") != "json":
            text = '<?xml version="1.0"?><api/>'
            return web.Response(text=text, content_type="text/xml")
        if "pageids" in query:
            wanted = [int(one) for one in query["pageids"].split("|") if one.isdigit()]
            by_number = {work.number: work for work in self.works}
            pages = [self._page(number, by_number.get(number), None) for number in wanted]
            return web.json_response({"batchcomplete": True, "query": {"pages": pages}})
        keyword = query.get("gsrsearch", "").partition(" filetype:")[0]
        offset, size = int(query.get("gsroffset", 0)), int(query.get("gsrlimit", 10))
        found = self._of(keyword, 1)
        shown = list(enumerate(found, 1))[offset : offset + size]
        body: dict[str, Any] = {"batchcomplete": True}
        if offset + size < len(found):
            body["continue"] = {"gsroffset": offset + size, "continue": "gsroffset||"}
        # MediaWiki orders pages by id; `index` alone tells the rank.
        pages = sorted(
            (self._page(work.number, work, rank) for rank, work in shown),
            key=lambda page: int(page["pageid"]),
        )
        if pages:
            body["query"] = {"pages": pages}
        return web.json_response(body)

    def _page(self, number: int, work: Work | None, rank: int | None) -> dict[str, Any]:
        if work is None or work.key in self.gone:
            return {"pageid": number, "missing": True}
        code, version = self._licence(work)
        about = {
            "Artist": f'<a href="//commons.example/User:{_slug(work.maker)}">{work.maker}</a>',
            "License": "cc0" if code == "cc0" else f"cc-{code}-{version}",
            "LicenseUrl": _licence_url(code, version),
            "ObjectName": _title(work),
        }
        copy = f"{self.url}/v1/images/{work.key}/thumb/"
        info = {
            "url": self._address(work), "thumburl": copy, "thumbwidth": 640, "thumbheight": 480,
            "mediatype": "DRAWING" if work.path.suffix == ".svg" else "BITMAP",
            "timestamp": "2024-06-01T10:00:00Z", "user": work.maker,
            "descriptionurl": f"{self.url}/works/{work.key}",
            "extmetadata": {name: {"value": value} for name, value in about.items()},
        }  # fmt: skip
        page = {"pageid": number, "ns": 6, "title": f"File:{work.path.name}", "imageinfo": [info]}
        return page if rank is None else {**page, "index": rank}

    # -- files ----------------------------------------------------------------------------

    def _file(self, request: web.Request) -> web.StreamResponse:
        work = self._find(request.match_info["key"])
        if work is None or work.key in self.gone:
            raise web.HTTPNotFound
        return web.FileResponse(work.path)

    def _rendition(self, work: Work | None) -> web.StreamResponse:
        """What a service renders: the file itself where it is a photograph, else a JPEG of it."""
        if work is None or work.key in self.gone:
            raise web.HTTPNotFound
        if work.path.suffix.lower() not in {".svg", ".tif", ".tiff"}:
            return web.FileResponse(work.path)
        beside = work.path.with_suffix(".rendition.jpeg")
        if not beside.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(beside)

    def _address(self, work: Work) -> str:
        return f"{self.url}/files/{work.key}/{work.path.name}"

    def _licence(self, work: Work) -> tuple[str, str]:
        return self.licences.get(work.key, work.licence)

    def _find(self, key: str) -> Work | None:
        return next((work for work in self.works if work.key == key), None)

    def _of(self, keyword: str, service: int) -> list[Work]:
        """Results of one of the services: every second picture of a class."""
        name = _slug(keyword)
        found = [work for work in self.works if _slug(work.keyword) == name]
        return [work for work in found[service::2] if work.key not in self.gone]


def _works(folder: Path) -> list[Work]:
    found: list[Work] = []
    for path in sorted(folder.glob("*/*")):
        if path.suffix.lower() not in SUFFIXES or path.name.endswith(".rendition.jpeg"):
            continue
        number = len(found)
        name = f"{path.parent.name}/{path.name}"
        seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
        found.append(
            Work(
                key=str(uuid.UUID(int=seed << 64 | seed)),
                number=number + 1,
                keyword=path.parent.name,
                path=path,
                licence=LICENCES[seed % len(LICENCES)],
                maker=f"Maker {seed % MAKERS}",
                collection=COLLECTIONS[seed // MAKERS % len(COLLECTIONS)],
            )
        )
    return found


def _slug(text: str) -> str:
    return "-".join(text.casefold().replace("_", " ").replace('"', " ").split())


def _title(work: Work) -> str:
    return f"{work.keyword.replace('_', ' ')} {work.number}"


def _licence_url(code: str, version: str) -> str:
    names = {"cc0": "publicdomain/zero", "pdm": "publicdomain/mark"}
    return f"https://creativecommons.org/{names.get(code, f'licenses/{code}')}/{version}/"


@contextlib.contextmanager
def searching(folder: Path, *, port: int = 0, **options: Any) -> Iterator[SearchServices]:
    """Run the services in a thread of their own while the block lasts; ``options`` are theirs."""
    services = SearchServices(folder, **options)
    application = web.Application()
    services.add_routes(application.router)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        services.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    with loop_in_thread("search") as loop:
        try:
            asyncio.run_coroutine_threadsafe(start(), loop).result(30)
            yield services
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
