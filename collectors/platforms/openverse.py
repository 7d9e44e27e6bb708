"""Openverse: openly licensed pictures of many collections, by keyword.

Sources: api.openverse.org (images search and detail, errors, ``auth_tokens``), its repository's
``api/api/utils/throttle.py`` and documentation examples, the rate-limit headers of its deployment
(20 a minute and 200 a day without a token; 100 and 10,000 with one), and the page depth of 20 that
make.wordpress.org/openverse announced on 2022-08-11. Its terms refuse scraping: no more is read
than one search gives, and no search is cut into narrower ones to get around that.
"""

# ruff: noqa: ARG002 - not every adapter needs every argument of the interface
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

from collectors.budgets.buckets import BucketSpec, Correction
from collectors.platforms import fields, licences
from collectors.platforms.base import (
    Answer,
    Chain,
    Outcome,
    Page,
    Platform,
    Request,
    Verdict,
    sound,
)
from collectors.platforms.records import Author, Licence, Media, Oddities, Post
from collectors.tokens.oauth import Flow, PasswordFlow, Question, client_credentials
from collectors.tokens.store import Token, new_token
from likewise.config import Source
from likewise.errors import ConfigError

__all__ = ["Openverse"]

PER_PAGE = 20
"""More is answered with 401."""
MOST_PAGES = 20
LONGEST_QUERY = 200
"""Openverse cuts longer ones silently, which would search for something else."""
MINUTE, DAY = 60.0, 86400.0
WEEK = 7 * DAY

_SCOPES = {"burst": 0, "sustained": 1}
_LEFT = re.compile(r"x-ratelimit-available-\w*?_?(burst|sustained)")
_NOT_JPEG = (".svg", ".tif", ".tiff")


class Openverse(Platform):
    """api.openverse.org."""

    name = "openverse"
    usual_host = "https://api.openverse.org"
    results_per_page = PER_PAGE
    counts_per_call = 1
    counted = frozenset({"licence"})
    environment: ClassVar = {"LIKEWISE_OPENVERSE_TOKEN": "access_token"}
    read_again_after_s = WEEK
    longest_wait_s = 900.0

    def __init__(self, source: Source) -> None:
        wanted = licences.checked(source.licences)
        super().__init__(source.model_copy(update={"licences": wanted}))
        for keyword in self.source.keywords:
            if len(keyword) > LONGEST_QUERY:
                raise ConfigError(
                    f"keyword {keyword[:40]!r}... has {len(keyword)} characters, Openverse reads "
                    f"{LONGEST_QUERY}"
                )

    def plan(self, lo: int | None, hi: int) -> list[Chain]:
        return self.plan_searches(PER_PAGE * MOST_PAGES)

    def page(self, chain: Chain, cursor: str | None) -> Request:
        """A cursor is the number of the page, from 1."""
        params = (
            ("q", self.searches[chain.value]),
            ("license", ",".join(self.source.licences)),
            ("page", str(self.number_of(chain, cursor))),
            ("page_size", str(PER_PAGE)),
        )
        return Request("/v1/images/", params, "page")

    def read_page(self, chain: Chain, cursor: str | None, answer: Answer) -> Page:
        page = Page()
        body = fields.table(answer.body)
        number = self.number_of(chain, cursor)
        keyword = self.searches[chain.value]
        first = (number - 1) * PER_PAGE
        for rank, item in enumerate(fields.listed(body.get("results")), first):
            if not chain.covers(rank):
                continue
            self._read(item, page, labels=[f"class:{keyword}"], rank=rank)
        pages = fields.count(body.get("page_count"), "page_count", page.oddities) or 0
        more = number < min(pages, MOST_PAGES)
        if more and (chain.hi is None or number * PER_PAGE < chain.hi):
            page.cursor = str(number + 1)
        return page

    def counts(self, ids: Sequence[str]) -> Request:
        return Request(f"/v1/images/{ids[0]}/")

    def read_counts(self, ids: Sequence[str], answer: Answer) -> Page:
        page = Page()
        self._read(answer.body, page, labels=[], rank=None, again=True)
        return page

    def _read(
        self, item: Any, page: Page, *, labels: list[str], rank: int | None, again: bool = False
    ) -> None:
        """Append one result; what is read again is not dropped but flagged."""
        record = fields.table(item)
        post_id = fields.identifier(record.get("id"))
        if post_id is None:
            page.dropped["malformed"] += 1
            return
        found = read_licence(record, rank)
        unwanted = found.code not in self.source.licences
        if unwanted and not again:
            page.dropped["other_licence"] += 1
            return
        author_id = found.creator_url or found.creator
        author_id = f"{found.source}:{author_id}" if author_id else f"no-author:{post_id}"
        page.authors.append(Author(author_id, handle=found.creator))
        page.posts.append(
            Post(
                post_id=post_id,
                author_id=author_id,
                url=fields.url(record.get("foreign_landing_url")),
                indexed_at=fields.moment(record.get("indexed_on"), "indexed_at", page.oddities),
                tags=_tags(record),
                text=found.title,
                sensitive=fields.flag(record.get("mature")),
                labels=labels,
                media=_media(record, page.oddities),
                flags=frozenset({"other_licence"} if unwanted else ()),
                licence=found,
            )
        )

    # -- limits, tokens, errors -----------------------------------------------------------

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        """By the minute and by the day, for an address or for an application's token."""
        who = "address" if token is None else f"application/{token.app or token.id}"
        minute, day = (20, 200) if token is None else (100, 10_000)
        return [
            BucketSpec(f"{self.host}/{who}/minute", minute, MINUTE),
            BucketSpec(f"{self.host}/{who}/day", day, DAY),
        ]

    def corrections(self, answer: Answer, specs: Sequence[BucketSpec]) -> list[Correction]:
        """Headers tell what is left of each limit (``X-RateLimit-Available-anon_burst``)."""
        found = []
        for name, value in answer.headers.items():
            match = _LEFT.fullmatch(name)
            left = fields.count(value, "left", Oddities()) if match else None
            if match is not None and left is not None:
                found.append(Correction(specs[_SCOPES[match[1]]].key, remaining=left))
        return found

    def own_error(self, answer: Answer) -> bool:
        return isinstance(answer.body, dict) and isinstance(answer.body.get("detail"), str)

    def judge(self, answer: Answer) -> Verdict:
        verdict = super().judge(answer)
        if verdict.outcome is Outcome.OK and "id" in fields.table(answer.body):
            return verdict
        return sound(answer, verdict)

    grants = "The token reads what everybody can read; it only counts your calls apart."
    questions = (
        Question("client_id", "Client id of your Openverse application"),
        Question("client_secret", "Its secret", hidden=True),
    )

    def login(self, answers: Mapping[str, str], redirect_uri: str) -> Flow:
        """The application's own token: register it by Openverse's ``auth_tokens/register``."""
        return PasswordFlow(lambda secret: self._granted({**answers, **secret}))

    def _granted(self, secret: Mapping[str, str]) -> Token:
        client_id, client_secret = secret["client_id"], secret["client_secret"]
        url = f"{self.base}/v1/auth_tokens/token/"
        kept = client_credentials(url, client_id, client_secret, "")
        kept |= {"client_id": client_id, "client_secret": client_secret}
        return new_token(self.name, self.host, kept, user="", app=client_id)

    def renewal(self, token: Token) -> Request | None:
        if "client_secret" not in token.secret:
            return None
        data = {name: token.secret[name] for name in ("client_id", "client_secret")}
        data["grant_type"] = "client_credentials"
        return Request("/v1/auth_tokens/token/", method="POST", data=tuple(data.items()))

    def renewed(self, token: Token, answer: Answer) -> dict[str, str] | None:
        body = fields.table(answer.body)
        if answer.status != 200 or not body.get("access_token"):
            return None
        return {**token.secret, "access_token": str(body["access_token"])}


def read_licence(record: Mapping[str, Any], rank: int | None) -> Licence:
    """The licence part of a result; the code is empty where it is none that is known."""
    url = fields.url(record.get("license_url"))
    code = (fields.plain(record.get("license")) or "").lower()
    version = fields.plain(record.get("license_version"))
    told = licences.of_url(url)
    if code not in licences.CODES:
        code = told[0] if told else ""
    version = version or (told[1] if told else None)
    return Licence(
        code=code,
        version=version,
        url=url or licences.url_of(code, version),
        title=fields.plain(record.get("title")),
        creator=fields.strip_html(record.get("creator")),
        creator_url=fields.url(record.get("creator_url")),
        source=fields.plain(record.get("source")) or fields.plain(record.get("provider")),
        rank=rank,
    )


def _tags(record: Mapping[str, Any]) -> list[str]:
    names = (fields.plain(fields.table(t).get("name")) for t in fields.listed(record.get("tags")))
    return list(dict.fromkeys(name.lower() for name in names if name))


def _media(record: Mapping[str, Any], odd: Oddities) -> list[Media]:
    """The original where it is a file of pixels; else the JPEG that Openverse renders of it."""
    original = fields.url(record.get("url"))
    smaller = fields.url(record.get("thumbnail"))
    kind = (fields.plain(record.get("filetype")) or "").lower()
    path = urlsplit(original or "").path.lower()
    if original is None or kind in {"svg", "tif", "tiff"} or path.endswith(_NOT_JPEG):
        if original is not None:
            odd["original_not_taken"] += 1
        original, width, height = smaller, None, None
    else:
        width, height = fields.side(record.get("width")), fields.side(record.get("height"))
    return [] if original is None else [Media(0, "image", original, smaller, width, height)]
