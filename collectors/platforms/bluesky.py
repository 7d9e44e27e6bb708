"""Bluesky: search through the account's own server (PDS), profiles in batches of 25.

Sources: docs.bsky.app (app.bsky.feed.searchPosts, app.bsky.feed.getAuthorFeed,
app.bsky.actor.getProfiles, app.bsky.feed.getPosts, com.atproto.server.*) and answers recorded
from Bluesky's reference servers. ``createdAt`` is the author's claim; ``indexedAt`` is the
server's, and where both differ by more than a day the server's is taken for the post's time.
"""

# ruff: noqa: ARG002 - not every adapter needs every argument of the interface
from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

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
    sound,
)
from collectors.platforms.bluesky_views import read_post, read_profile
from collectors.platforms.records import Author, Oddities
from collectors.tokens.oauth import Flow, PasswordFlow, Question, refusals, web_session
from collectors.tokens.store import Token, new_token

__all__ = ["Bluesky"]

DAY = 86_400_000_000
MOST_OF_A_SEARCH = 10_000
_LOOKBACK_DAYS = (1, 7, 30, 90, 365)
_BAD_TOKEN = {"ExpiredToken", "InvalidToken", "AuthMissing", "AuthenticationRequired"}
_GONE = {
    "AccountTakedown", "AccountDeactivated", "AccountSuspended", "AccountDeleted",
    "AccountNotFound", "ActorNotFound", "BlockedActor", "BlockedByActor", "RepoNotFound",
    "RepoTakendown", "RepoSuspended", "RepoDeactivated", "ProfileNotFound", "HandleNotFound",
}  # fmt: skip
"""Errors by which an account was closed, closed itself, or has blocked us."""


class Bluesky(Platform):
    """A personal data server; ``bsky.social`` or any other."""

    name = "bluesky"
    usual_host = "https://bsky.social"
    requires_token = True
    authors_per_call = 25
    counts_per_call = 25
    environment: ClassVar = {
        "LIKEWISE_BLUESKY_IDENTIFIER": "identifier",
        "LIKEWISE_BLUESKY_APP_PASSWORD": "app_password",
    }

    # -- posts ----------------------------------------------------------------------------

    def plan(self, lo: int | None, hi: int) -> list[Chain]:
        chains = [Chain("account", name, lo, hi) for name in self.source.accounts]
        ends = [hi - days * DAY for days in _LOOKBACK_DAYS]
        edges = [hi, *(end for end in ends if lo is None or end > lo), lo]
        slices = [(a, b) for b, a in pairwise(edges)]
        return chains + [Chain("tag", tag, a, b) for tag in self.source.tags for a, b in slices]

    def start(self, account: str) -> str | None:
        return f"{account}|"

    def page(self, chain: Chain, cursor: str | None) -> Request:
        """A cursor is the server's own; ``DID|OWN`` in an account's feed once its DID is known.

        ``UNTIL|OWN`` in a search: the search began anew at that moment (microseconds).
        """
        mark, _, own = (cursor or "").rpartition("|")
        after = [("cursor", own)] if own else []
        if chain.kind == "account":
            who = mark or chain.value
            params = [("actor", who), ("filter", "posts_with_media"), ("limit", "100")]
            return Request("/xrpc/app.bsky.feed.getAuthorFeed", (*params, *after))
        params = [("q", f"#{chain.value}"), ("tag", chain.value), ("sort", "latest")]
        params += [("limit", "100")]
        if chain.lo is not None:
            params.append(("since", _iso(chain.lo)))
        until = int(mark) if mark else chain.hi
        if until is not None:
            params.append(("until", _iso(until)))
        return Request("/xrpc/app.bsky.feed.searchPosts", (*params, *after))

    def read_page(self, chain: Chain, cursor: str | None, answer: Answer) -> Page:
        body = fields.table(answer.body)
        page = Page()
        for entry in fields.listed(body.get("feed")):
            item = fields.table(entry)
            if item.get("reason"):
                page.dropped["reblog"] += 1
            else:
                read_post(item.get("post"), page)
        views = [fields.table(view) for view in fields.listed(body.get("posts"))]
        for view in views:
            read_post(view, page)
        mark = (cursor or "").rpartition("|")[0]
        following = fields.plain(body.get("cursor"))
        if chain.kind == "account":
            page.account = next((post.author_id for post in page.posts), None)
            mark = mark or page.account or ""
        elif cursor and (following is None or _at_end(following)):
            following = None
            self._search_anew(chain, cursor, views, page)
        if following is not None:
            page.cursor = f"{mark}|{following}" if mark else following
        times = [post.indexed_at for post in page.posts if post.indexed_at is not None]
        if chain.lo is not None and times and max(times) < chain.lo:
            page.cursor = None
        return page

    @staticmethod
    def _search_anew(
        chain: Chain, cursor: str, views: Sequence[Mapping[str, Any]], page: Page
    ) -> None:
        """Where a search of several pages ends, search on from the oldest time seen.

        A search shows 10,000 posts at most, and its end looks like the end of the tag.
        """
        mark, _, own = cursor.rpartition("|")
        until = int(mark) if mark else chain.hi
        oldest = min((when for view in views if (when := _sorted_at(view)) is not None), default=0)
        later = (oldest // 1000 + 1) * 1000
        if oldest and (until is None or later < until):
            page.cursor = f"{later}|"
        elif own.isdigit() and int(own) + 100 >= MOST_OF_A_SEARCH:
            page.lost["search_limit"] = (
                f"the search shows {MOST_OF_A_SEARCH} posts and does not go on by time"
            )

    # -- authors and counts ---------------------------------------------------------------

    def authors(self, ids: Sequence[str]) -> Request:
        return Request("/xrpc/app.bsky.actor.getProfiles", tuple(("actors", one) for one in ids))

    def read_authors(self, ids: Sequence[str], answer: Answer) -> list[Author]:
        profiles = fields.listed(fields.table(answer.body).get("profiles"))
        found = [read_profile(profile, Oddities()) for profile in profiles]
        for author in found:
            if author is not None:
                author.source = "account"
        return [author for author in found if author is not None]

    def counts(self, ids: Sequence[str]) -> Request:
        return Request("/xrpc/app.bsky.feed.getPosts", tuple(("uris", one) for one in ids))

    def read_counts(self, ids: Sequence[str], answer: Answer) -> Page:
        page = Page()
        for post in fields.listed(fields.table(answer.body).get("posts")):
            read_post(post, page)
        return page

    # -- limits and tokens ----------------------------------------------------------------

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        """3000 in 5 minutes for the address, whatever the number of tokens."""
        return [BucketSpec(f"{self.host}/ip", 3000, 300.0)]

    def corrections(self, answer: Answer, specs: Sequence[BucketSpec]) -> list[Correction]:
        limit, remaining = (
            _number(answer.headers.get(f"ratelimit-{n}")) for n in ("limit", "remaining")
        )
        reset = _reset(answer)
        if remaining is None:
            return []
        return [
            Correction(s.key, int(remaining), reset)
            for s in specs
            if limit is None or s.limit == limit
        ]

    def sign(self, request: Request, token: Token | None) -> tuple[dict[str, str], tuple[()]]:
        if request.headers or token is None or "access_jwt" not in token.secret:
            return dict(request.headers), ()
        return {"Authorization": f"Bearer {token.secret['access_jwt']}"}, ()

    def renewal(self, token: Token) -> Request | None:
        """A session from the refresh token, else from the app password."""
        if "refresh_jwt" in token.secret:
            bearer = (("Authorization", f"Bearer {token.secret['refresh_jwt']}"),)
            return Request("/xrpc/com.atproto.server.refreshSession", method="POST", headers=bearer)
        if "app_password" not in token.secret:
            return None
        login = {
            n: token.secret[s]
            for n, s in (("identifier", "identifier"), ("password", "app_password"))
        }
        return Request(
            "/xrpc/com.atproto.server.createSession", method="POST", json=tuple(login.items())
        )

    def renewed(self, token: Token, answer: Answer) -> dict[str, str] | None:
        body = fields.table(answer.body)
        if answer.status == 200 and body.get("accessJwt") and body.get("refreshJwt"):
            jwts = {"access_jwt": str(body["accessJwt"]), "refresh_jwt": str(body["refreshJwt"])}
            return {**token.secret, **jwts}
        if "refresh_jwt" in token.secret and "app_password" in token.secret:
            return {k: v for k, v in token.secret.items() if k not in {"access_jwt", "refresh_jwt"}}
        return None

    grants = (
        "An app password can do nearly everything that you can: post, follow, delete and read; "
        "only direct messages (unless you allow them when you make it), your password and the "
        "account itself are out of its reach. Bluesky knows no smaller permission. Make one for "
        "likewise alone, so that you can delete it by itself."
    )
    left_to_do = (
        "Now delete the app password at Bluesky: Settings, Privacy and security, App passwords. "
        "Until you do, whoever has a copy of it can use your account."
    )
    questions = (
        Question("identifier", "Handle or e-mail address"),
        Question("app_password", "App password (Settings, Privacy and security)", hidden=True),
    )

    def login(self, answers: Mapping[str, str], redirect_uri: str) -> Flow:
        return PasswordFlow(lambda secret: self._session({**answers, **secret}))

    def _session(self, secret: Mapping[str, str]) -> Token:
        url = f"{self.base}/xrpc/com.atproto.server.createSession"
        login = {"identifier": secret["identifier"], "password": secret["app_password"]}
        with refusals(url, login["password"]), web_session() as session:
            answer = session.post(url, json=login, timeout=30)
            answer.raise_for_status()
            body = answer.json()
        kept = {
            "identifier": secret["identifier"],
            "app_password": secret["app_password"],
            "access_jwt": str(body["accessJwt"]),
            "refresh_jwt": str(body["refreshJwt"]),
        }
        return new_token(self.name, self.host, kept, user=str(body["did"]))

    def revoke(self, token: Token) -> bool:
        """End the session. The app password stays good: only its owner can delete it."""
        if "refresh_jwt" not in token.secret:
            return False
        url = f"{self.base}/xrpc/com.atproto.server.deleteSession"
        bearer = {"Authorization": f"Bearer {token.secret.get('refresh_jwt', '')}"}
        with refusals(url), web_session() as session:
            session.post(url, headers=bearer, timeout=30).raise_for_status()
        return False

    def judge(self, answer: Answer) -> Verdict:
        error = fields.plain(fields.table(answer.body).get("error"))
        if answer.status in {400, 401} and error in _BAD_TOKEN:
            return Verdict(Outcome.TOKEN, f"token_{error}")
        if answer.status == 403 and self.own_error(answer):
            return Verdict(Outcome.TOKEN, "http_403")
        if answer.status in {400, 404} and (error in _GONE or _closed(answer.body)):
            told = error if error in _GONE else "not_found"
            return Verdict(Outcome.GONE, str(told))
        if answer.status == 429:
            usual = super().judge(answer)
            times = [when for when in (usual.until, _reset(answer)) if when is not None]
            return Verdict(Outcome.THROTTLED, "http_429", max(times, default=None))
        if answer.status == 400 and error is not None:
            return Verdict(Outcome.REFUSED, f"http_400_{error}")
        return sound(answer, super().judge(answer))


def _closed(body: Any) -> bool:
    """Whether an error's words say that an account is closed, or closed to us."""
    message = str(fields.table(body).get("message")).lower()
    words = ("not found", "deactivated", "suspended", "taken down", "blocked", "resolve handle")
    return any(word in message for word in words)


def _at_end(own: str) -> bool:
    """Whether a cursor of the search, which counts posts, is one that it refuses."""
    return own.isdigit() and int(own) >= MOST_OF_A_SEARCH


def _sorted_at(view: Mapping[str, Any]) -> int | None:
    """The time by which the search sorts a post: the earlier of its two (microseconds)."""
    claimed = fields.table(view.get("record")).get("createdAt")
    odd = Oddities()
    times = [fields.moment(t, "sorted_at", odd) for t in (claimed, view.get("indexedAt"))]
    return min((when for when in times if when is not None), default=None)


def _iso(micros: int) -> str:
    when = dt.datetime.fromtimestamp(micros // 1_000_000, dt.UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{micros // 1000 % 1000:03d}Z"


def _reset(answer: Answer) -> float | None:
    return answer.on_our_clock(_number(answer.headers.get("ratelimit-reset")))


def _number(text: str | None) -> float | None:
    try:
        number = math.nan if text is None else float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
