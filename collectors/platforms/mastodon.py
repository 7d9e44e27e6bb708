"""Mastodon and servers that speak its API: Pixelfed, GoToSocial, Akkoma, Takahe.

Sources: docs.joinmastodon.org (methods/timelines, methods/accounts, entities/Status, entities/
Account, api/rate-limits) and Mastodon's config/initializers/rack_attack.rb for the limits that
the documentation leaves out (requests with a cursor: 300 in 15 minutes).
"""

# ruff: noqa: ARG002 - not every adapter needs every argument of the interface
from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar
from urllib.parse import quote

from collectors.budgets.buckets import BucketSpec, Correction
from collectors.platforms import fields
from collectors.platforms.base import (
    Answer,
    Chain,
    Outcome,
    Page,
    Platform,
    Request,
    Verdict,
    error_texts,
    header_time,
)
from collectors.platforms.dialects import dialect_of
from collectors.platforms.links import next_id
from collectors.platforms.places import Place
from collectors.platforms.records import Author, Oddities
from collectors.platforms.statuses import read_account, read_status
from collectors.tokens.oauth import (
    OOB,
    CodeFlow,
    Flow,
    client_credentials,
    refusals,
    web_session,
)
from collectors.tokens.store import Token, TokenStore, new_token
from likewise.config import Source
from likewise.errors import ConfigError

__all__ = ["GoToSocial", "Mastodon", "Pixelfed"]

PAGE = 40
SCOPES = "read:accounts read:statuses"
DAY = 86_400_000_000
_LOOKBACK_DAYS = (1, 7, 30, 90, 365)


class Mastodon(Platform):
    """Mastodon and what speaks its API; ``learn`` finds out which dialect the server speaks."""

    name = "mastodon"
    needs_permission = True
    authors_per_call = 1
    counts_per_call = 1
    environment: ClassVar = {"LIKEWISE_MASTODON_TOKEN": "access_token"}
    snowflakes = True
    """Whether ids are Mastodon's, so that they can be computed from times."""
    horizon_days = 0
    """Age beyond which a tag's feed ends although there are older posts; 0 without any."""
    requires_token = False

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.version: tuple[int, int] = (0, 0)
        # Mastodon 3 knows the first version of the page only.
        self._unasked = ["/api/v2/instance", "/api/v1/instance"]

    # -- the server -----------------------------------------------------------------------

    def probe(self) -> Request | None:
        return Request(self._unasked[0]) if self._unasked else None

    def learn(self, answer: Answer) -> None:
        """Read the version and the access rules of ``/api/v2/instance``.

        Raises:
            ConfigError: the server has switched its hashtag feeds off.
        """
        about = fields.table(answer.body)
        self._unasked = self._unasked[1:] if "version" not in about else []
        dialect = dialect_of(about)
        self.version = dialect.version
        self.snowflakes = type(self).snowflakes and dialect.is_mastodon
        if dialect.software == "pixelfed":
            self.horizon_days = Pixelfed.horizon_days
        if dialect.software in {"pixelfed", "gotosocial"}:
            self.requires_token = True
        if self.snowflakes and self.version >= (4, 3):
            self.authors_per_call = PAGE
            self.counts_per_call = 20
        access = fields.table(fields.table(about.get("configuration")).get("timelines_access"))
        feeds = access.get("hashtag_feeds")
        modes = set(feeds.values()) if isinstance(feeds, dict) else {feeds}
        if modes == {"disabled"} and self.source.tags:
            raise ConfigError(f"{self.host} has switched its hashtag feeds off")
        self.requires_token = self.requires_token or "authenticated" in modes

    # -- posts ----------------------------------------------------------------------------

    def plan(self, lo: int | None, hi: int) -> list[Chain]:
        chains = [Chain("account", name, lo, hi) for name in self.source.accounts]
        slices = self._slices(lo, hi) if self.snowflakes else [(lo, hi)]
        return chains + [Chain("tag", tag, a, b) for tag in self.source.tags for a, b in slices]

    @staticmethod
    def _slices(lo: int | None, hi: int) -> list[tuple[int | None, int]]:
        """Time slices, newest first; each is at least as long as all that are newer."""
        ends = [hi - days * DAY for days in _LOOKBACK_DAYS]
        inner = [end for end in ends if lo is None or end > lo]
        edges = [hi, *inner, lo]
        return [(a, b) for b, a in pairwise(edges) if b is not None]

    def start(self, account: str) -> str | None:
        return str(Place(account))

    def page(self, chain: Chain, cursor: str | None) -> Request:
        place = Place.read(cursor)
        if chain.kind == "account" and not place.account:
            return Request("/api/v1/accounts/lookup", (("acct", chain.value),))
        params = [("limit", str(PAGE))]
        if not place.whole:
            params.append(("only_media", "true"))
        after = place.after
        if chain.kind == "account":
            path = f"/api/v1/accounts/{place.account}/statuses"
            params.append(("exclude_reblogs", "true"))
        else:
            path = f"/api/v1/timelines/tag/{quote(chain.value, safe='')}"
            after = after or (snowflake(chain.hi) if self.snowflakes and chain.hi else "")
        if after:
            params.append(("max_id", after))
        return Request(path, tuple(params), "page" if after else "call")

    def read_page(self, chain: Chain, cursor: str | None, answer: Answer) -> Page:
        place = Place.read(cursor)
        if chain.kind == "account" and not place.account:
            return self._read_account(answer)
        statuses = [fields.table(status) for status in fields.listed(answer.body)]
        pictures = any(status.get("media_attachments") for status in statuses)
        if not (self.snowflakes or place.whole or pictures) and statuses:
            # Takahe's only_media shows posts without media: ask for all, from the start.
            again = Place(place.account, whole=True)
            return Page(cursor=str(again), oddities=Oddities({"only_media_inverted": 1}))
        page = Page()
        for status in statuses:
            read_status(status, page)
        linked, after = next_id(answer.headers.get("link", ""))
        if after is None and (linked or not self.snowflakes) and statuses:
            # Mastodon links from every page but the last; others may leave the header out.
            after = fields.identifier(statuses[-1].get("id"))
        if linked and after is None:
            page.lost["link_without_max_id"] = "the server's link to the next page has no max_id"
        if not statuses and place.old and not linked:
            page.lost["six_month_horizon"] = (
                "the server shows the last six months of a tag only; older posts stay out of reach"
            )
        if after is not None and not self._passed(chain, after, page):
            page.cursor = str(replace(place, after=after, old=place.old or self._beyond(page)))
        return page

    @staticmethod
    def _read_account(answer: Answer) -> Page:
        account = fields.table(answer.body)
        account_id = fields.identifier(account.get("id"))
        if account_id is None:
            return Page(lost={"account_unreadable": "the server's answer names no account"})
        if account.get("suspended") is True:
            return Page(lost={"account_suspended": "this account was suspended"})
        return Page(cursor=str(Place(account_id)), account=account_id)

    def _passed(self, chain: Chain, after: str, page: Page) -> bool:
        """Whether all that follows the id ``after`` is older than the chain's slice."""
        if chain.lo is None:
            return False
        if self.snowflakes and after.isdigit():
            return int(after) <= int(snowflake(chain.lo))
        times = [post.created_at for post in page.posts if post.created_at is not None]
        return bool(times) and max(times) < chain.lo

    def _beyond(self, page: Page) -> bool:
        """Whether the page ends beyond the server's horizon."""
        times = [post.created_at for post in page.posts if post.created_at is not None]
        reach = time.time_ns() // 1000 - self.horizon_days * DAY
        return bool(self.horizon_days and times) and min(times) < reach

    # -- authors and counts ---------------------------------------------------------------

    def authors(self, ids: Sequence[str]) -> Request:
        if self.authors_per_call == 1:
            return Request(f"/api/v1/accounts/{ids[0]}")
        return Request("/api/v1/accounts", tuple(("id[]", one) for one in ids))

    def read_authors(self, ids: Sequence[str], answer: Answer) -> list[Author]:
        body = answer.body if isinstance(answer.body, list) else [answer.body]
        found = [read_account(account, Oddities()) for account in body]
        for author in found:
            if author is not None:
                author.source = "account"
        return [author for author in found if author is not None]

    def counts(self, ids: Sequence[str]) -> Request:
        if len(ids) == 1:
            return Request(f"/api/v1/statuses/{ids[0]}")
        return Request("/api/v1/statuses", tuple(("id[]", one) for one in ids))

    def read_counts(self, ids: Sequence[str], answer: Answer) -> Page:
        page = Page()
        for status in answer.body if isinstance(answer.body, list) else [answer.body]:
            read_status(status, page)
        return page

    # -- limits and errors ----------------------------------------------------------------

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        """Per token, per user, and per address for calls without a user (as an app's token)."""
        user = f"user/{token.user}" if token is not None and token.user else "ip"
        most = 1500 if user != "ip" else 300
        specs = [BucketSpec(f"{self.host}/{user}", most, 300.0, "fixed")]
        if token is not None:
            specs.append(BucketSpec(f"{self.host}/token/{token.id}", 300, 300.0, "fixed"))
        if kind == "page":
            specs.append(BucketSpec(f"{self.host}/{user}/paged", 300, 900.0, "fixed"))
        return specs

    def corrections(self, answer: Answer, specs: Sequence[BucketSpec]) -> list[Correction]:
        """The headers describe the one bucket that is nearest to exhaustion: find it.

        A server with limits of its own fits none; its word holds once nothing is left.
        """
        try:
            limit = int(answer.headers["x-ratelimit-limit"])
            remaining = int(answer.headers["x-ratelimit-remaining"])
        except (KeyError, ValueError):
            return []
        reset = header_time(answer.headers.get("x-ratelimit-reset", ""))
        matching = [spec for spec in specs if spec.limit == limit and _turns_at(spec, reset)]
        reset = answer.on_our_clock(reset)
        shut = reset if answer.status == 429 else None
        if not matching and remaining <= 0 and reset is not None:
            return [Correction(specs[-1].key, blocked_until=reset)] if specs else []
        return [Correction(spec.key, remaining, reset, shut) for spec in matching[-1:]]

    def judge(self, answer: Answer) -> Verdict:
        if answer.status == 429:
            told = header_time(answer.headers.get("x-ratelimit-reset", ""))
            reset = answer.on_our_clock(told)
            usual = super().judge(answer)
            times = [when for when in (reset, usual.until) if when is not None]
            return Verdict(Outcome.THROTTLED, "http_429", max(times, default=None))
        if answer.status in {401, 403, 422} and self._wants_login(answer):
            return Verdict(Outcome.TOKEN, f"http_{answer.status}_login_required")
        verdict = super().judge(answer)
        if verdict.outcome is Outcome.OK and "error" in fields.table(answer.body):
            return Verdict(Outcome.RETRY, "error_in_200")
        return verdict

    @staticmethod
    def _wants_login(answer: Answer) -> bool:
        texts = error_texts(answer.body)
        return answer.status == 401 or any("authenticated user" in text for text in texts)

    # -- logins -------------------------------------------------------------------------------

    grants = (
        "The permission itself goes further: it shows what you see when you are logged in, posts "
        "for followers and direct messages among it. It cannot post, follow or change anything."
    )

    def login(self, answers: Mapping[str, str], redirect_uri: str) -> Flow:
        """Register an application at the server, then the code flow with PKCE."""
        client_id, client_secret = self._register(redirect_uri)
        return CodeFlow(
            f"{self.base}/oauth/authorize",
            f"{self.base}/oauth/token",
            client_id,
            client_secret,
            SCOPES,
            self._whose,
        )

    def app_token(self) -> Token:
        client_id, client_secret = self._register(OOB)
        url = f"{self.base}/oauth/token"
        secret = client_credentials(url, client_id, client_secret, SCOPES)
        return new_token(self.name, self.host, secret, app=client_id, purpose="application")

    def _register(self, redirect_uri: str) -> tuple[str, str]:
        """The application of this address: the one that was registered before, else a new one."""
        store = TokenStore()
        kind = (self.name, self.host, redirect_uri, SCOPES)
        url = f"{self.base}/api/v1/apps"
        form = {"client_name": "likewise", "redirect_uris": redirect_uri, "scopes": SCOPES}
        with refusals(url), store.alone(f"application {self.base}"):
            known = store.application(*kind)
            if known is not None and self._still_known(*known):
                return known
            with web_session() as session:
                answer = session.post(url, data=form, timeout=30)
                answer.raise_for_status()
                body = answer.json()
            client = (str(body["client_id"]), str(body["client_secret"]))
            store.keep_application(*kind, client)
            return client

    def _still_known(self, client_id: str, client_secret: str) -> bool:
        """Whether the server knows the application: servers forget those that are not used.

        Asked by taking back a token that never was, which changes nothing (RFC 7009 section 2.2).
        """
        url = f"{self.base}/oauth/revoke"
        form = {"client_id": client_id, "client_secret": client_secret, "token": "none"}
        with web_session() as session:
            answer = session.post(url, data=form, timeout=30)
        return answer.status_code not in {401, 403} and "invalid_client" not in answer.text

    def _whose(self, secret: Mapping[str, str]) -> Token:
        url = f"{self.base}/api/v1/accounts/verify_credentials"
        bearer = {"Authorization": f"Bearer {secret['access_token']}"}
        with refusals(url, *secret.values()), web_session() as session:
            answer = session.get(url, headers=bearer, timeout=30)
            answer.raise_for_status()
            user = str(answer.json()["id"])
        return new_token(self.name, self.host, secret, user=user, app=secret["client_id"])

    def revoke(self, token: Token) -> bool:
        names = ("client_id", "client_secret")
        if not all(name in token.secret for name in names):
            return False
        form = {name: token.secret[name] for name in names}
        form["token"] = token.secret["access_token"]
        url = f"{self.base}/oauth/revoke"
        with refusals(url, *form.values()), web_session() as session:
            session.post(url, data=form, timeout=30).raise_for_status()
        return True

    def renewal(self, token: Token) -> Request | None:
        if "refresh_token" not in token.secret:
            return None
        names = ("client_id", "client_secret", "refresh_token")
        data = (("grant_type", "refresh_token"), *((name, token.secret[name]) for name in names))
        return Request("/oauth/token", kind="oauth", method="POST", data=data)

    def renewed(self, token: Token, answer: Answer) -> dict[str, str] | None:
        body = fields.table(answer.body)
        names = ("access_token", "refresh_token")
        fresh = {name: str(body[name]) for name in names if body.get(name)}
        return {**token.secret, **fresh} if answer.status == 200 and fresh else None


class Pixelfed(Mastodon):
    """Pixelfed: a token is needed for hashtags, pages may be short, tags reach back six months."""

    name = "pixelfed"
    snowflakes = False
    horizon_days = 180
    requires_token = True
    environment: ClassVar = {"LIKEWISE_PIXELFED_TOKEN": "access_token"}


class GoToSocial(Mastodon):
    """GoToSocial: a token is needed for everything and ids are ULIDs."""

    name = "gotosocial"
    snowflakes = False
    requires_token = True
    environment: ClassVar = {"LIKEWISE_GOTOSOCIAL_TOKEN": "access_token"}


def snowflake(micros: int) -> str:
    """Least id that Mastodon gives to a post of that time: milliseconds, shifted by 16 bits."""
    return str(max(0, micros // 1000) << 16)


def _turns_at(spec: BucketSpec, reset: float | None) -> bool:
    if reset is None:
        return True
    rest = reset % spec.period
    return min(rest, spec.period - rest) < 2.0
