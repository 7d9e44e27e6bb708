"""Wikimedia Commons: openly licensed pictures by keyword, through the MediaWiki action API.

Sources: mediawiki.org (API:Search, API:Imageinfo, API:Continue, Manual:Maxlag parameter,
Extension:CommonsMetadata), Wikimedia's etiquette (one call at a time, a User-Agent that says who
asks) and recorded answers. Licence, maker and attribution come as HTML in ``extmetadata``. What is
downloaded is the copy that Commons renders 960 pixels wide: a JPEG of TIFF originals, a PNG of
drawings, and a hundredth of the bytes of large photographs.
"""

# ruff: noqa: ARG002 - not every adapter needs every argument of the interface
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from collectors.budgets.buckets import BucketSpec
from collectors.platforms import fields, licences
from collectors.platforms.base import (
    Answer,
    Chain,
    Outcome,
    Page,
    Platform,
    Request,
    Verdict,
    retry_after,
)
from collectors.platforms.records import Author, Licence, Media, Post
from collectors.tokens.store import Token
from likewise.config import Source

__all__ = ["Commons"]

PER_PAGE = 50
MOST_RESULTS = 10_000
"""The search engine shows no more of one query."""
WIDTH = 960
"""One of the widths that Commons renders anyway."""
_WAIT = {"maxlag", "ratelimited", "readonly"}
_METADATA = "Artist|Attribution|Credit|License|LicenseShortName|LicenseUrl|ObjectName"
_IMAGE = (
    ("prop", "imageinfo"),
    ("iiprop", "url|size|mime|mediatype|timestamp|user|extmetadata"),
    ("iiurlwidth", str(WIDTH)),
    ("iiextmetadatafilter", _METADATA),
    ("iiextmetadatalanguage", "en"),
    ("maxlag", "5"),
)


class Commons(Platform):
    """commons.wikimedia.org."""

    name = "commons"
    usual_host = "https://commons.wikimedia.org"
    results_per_page = PER_PAGE
    counts_per_call = PER_PAGE
    counted = frozenset({"licence"})

    def __init__(self, source: Source) -> None:
        wanted = licences.checked(source.licences)
        one = source.at_once or 1
        super().__init__(source.model_copy(update={"licences": wanted, "at_once": one}))

    def plan(self, lo: int | None, hi: int) -> list[Chain]:
        return self.plan_searches(MOST_RESULTS)

    def page(self, chain: Chain, cursor: str | None) -> Request:
        """A cursor is the ``continue`` object of the answer before, as a query string."""
        start = {"gsroffset": str(chain.lo or 0)}
        more = dict(parse_qsl(cursor)) if cursor else start
        at = int(more.get("gsroffset", chain.lo or 0))
        size = PER_PAGE if chain.hi is None else max(1, min(PER_PAGE, chain.hi - at))
        params = {
            "generator": "search",
            "gsrsearch": f"{self.searches[chain.value]} filetype:bitmap|drawing",
            "gsrnamespace": "6",
            "gsrlimit": str(size),
            **dict(_IMAGE),
            **more,
        }
        return _query(params, "page")

    def read_page(self, chain: Chain, cursor: str | None, answer: Answer) -> Page:
        page = Page()
        keyword = self.searches[chain.value]
        body = fields.table(answer.body)
        ranked = sorted(_pages(body), key=lambda one: (_rank(one) is None, _rank(one) or 0))
        for record in ranked:
            rank = _rank(record)
            place = None if rank is None else rank - 1
            self._read(record, page, labels=[f"class:{keyword}"], rank=place)
        more = {k: str(v) for k, v in fields.table(body.get("continue")).items()}
        offset = int(more["gsroffset"]) if more.get("gsroffset", "").isdigit() else None
        if more and not (offset is not None and chain.hi is not None and offset >= chain.hi):
            page.cursor = urlencode(more)
        return page

    def counts(self, ids: Sequence[str]) -> Request:
        return _query({"pageids": "|".join(ids), **dict(_IMAGE)}, "call")

    def read_counts(self, ids: Sequence[str], answer: Answer) -> Page:
        page = Page()
        for record in _pages(fields.table(answer.body)):
            if "missing" not in record:
                self._read(record, page, labels=[], rank=None, again=True)
        return page

    def _read(
        self,
        record: Mapping[str, Any],
        page: Page,
        *,
        labels: list[str],
        rank: int | None,
        again: bool = False,
    ) -> None:
        post_id = fields.identifier(record.get("pageid"))
        info = fields.table(next(iter(fields.listed(record.get("imageinfo"))), None))
        if post_id is None or not info:
            # A page without its picture comes again with the next part of the same answer.
            if post_id is None:
                page.dropped["malformed"] += 1
            return
        found = read_licence(record, info, rank)
        unwanted = found.code not in self.source.licences
        if unwanted and not again:
            page.dropped["other_licence"] += 1
            return
        user = fields.plain(info.get("user"))
        author_id = found.creator or user or f"no-author:{post_id}"
        page.authors.append(Author(author_id, handle=found.creator or user))
        page.posts.append(
            Post(
                post_id=post_id,
                author_id=author_id,
                url=fields.url(info.get("descriptionurl")),
                created_at=fields.moment(info.get("timestamp"), "created_at", page.oddities),
                text=found.title,
                labels=labels,
                media=_media(info),
                flags=frozenset({"other_licence"} if unwanted else ()),
                licence=found,
            )
        )

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        """Commons declares no number of calls: one at a time is what it asks for."""
        return []

    def judge(self, answer: Answer) -> Verdict:
        error = fields.table(fields.table(answer.body).get("error"))
        code = fields.plain(error.get("code"))
        if code is None:
            verdict = super().judge(answer)
            if verdict.outcome is Outcome.OK and not isinstance(answer.body, dict):
                return Verdict(Outcome.RETRY, "not_an_object")
            return verdict
        if code in _WAIT:
            return Verdict(Outcome.THROTTLED, f"commons_{code}", retry_after(answer))
        outcome = Outcome.RETRY if code.startswith("internal_api_error") else Outcome.REFUSED
        return Verdict(outcome, f"commons_{code}")


def _query(params: Mapping[str, str], kind: str) -> Request:
    head = {"action": "query", "format": "json", "formatversion": "2"}
    return Request("/w/api.php", tuple({**head, **params}.items()), kind)


def _pages(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Pages of an answer: a list in version 2 of the format, an object by id in version 1."""
    pages = fields.table(body.get("query")).get("pages")
    found = list(pages.values()) if isinstance(pages, dict) else fields.listed(pages)
    return [fields.table(one) for one in found]


def _rank(record: Mapping[str, Any]) -> int | None:
    """Place among the results, from 1, which the order of the pages does not tell."""
    rank = record.get("index")
    return rank if isinstance(rank, int) and not isinstance(rank, bool) and rank > 0 else None


def read_licence(record: Mapping[str, Any], info: Mapping[str, Any], rank: int | None) -> Licence:
    """The licence part of a file's page; the code is empty where it is none that is known."""
    about = fields.table(info.get("extmetadata"))

    def told(name: str) -> str | None:
        return fields.strip_html(fields.table(about.get(name)).get("value"))

    url = told("LicenseUrl")
    url = fields.url(f"https:{url}" if (url or "").startswith("//") else url)
    found = (
        licences.of_url(url)
        or licences.text_code(told("License"))
        or licences.text_code(told("LicenseShortName"))
    )
    code, version = found or ("", None)
    title = fields.plain(record.get("title"))
    return Licence(
        code=code,
        version=version,
        url=url or licences.url_of(code, version),
        title=told("ObjectName") or (title or "").removeprefix("File:") or None,
        creator=told("Artist") or told("Attribution") or fields.plain(info.get("user")),
        source="wikimedia",
        rank=rank,
    )


def _media(info: Mapping[str, Any]) -> list[Media]:
    """The rendered copy; the original only where Commons serves no copy of a picture."""
    kind = fields.plain(info.get("mediatype"))
    if kind is not None and kind not in {"BITMAP", "DRAWING"}:
        return [Media(0, "other", fields.url(info.get("url")))]
    copy, original = fields.url(info.get("thumburl")), fields.url(info.get("url"))
    if copy is not None:
        width, height = fields.side(info.get("thumbwidth")), fields.side(info.get("thumbheight"))
        return [Media(0, "image", copy, None, width, height)]
    if original is None:
        return []
    width, height = fields.side(info.get("width")), fields.side(info.get("height"))
    return [Media(0, "image", original, None, width, height)]
