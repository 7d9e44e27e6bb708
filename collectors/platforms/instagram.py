"""Instagram Graph API: posts of known professional accounts, and hashtags without authors.

Sources: developers.facebook.com/docs/instagram-api (business_discovery, ig-hashtag, rate
limiting) and answers recorded by python-facebook. Hashtag search never tells who posted, so such
posts get a stand-in author of their own (``no-author:ID``) and no follower count: they cannot be
labelled by likes / followers.
"""

# ruff: noqa: ARG002 - not every adapter needs every argument of the interface
from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from collectors.platforms.records import Author, Media, Oddities, Post
from collectors.tokens.oauth import CodeFlow, Flow, Question, refusals, web_session
from collectors.tokens.store import Token, new_token
from likewise.errors import CredentialsError

__all__ = ["Instagram"]

VERSION = "v25.0"
DIALOG = "https://www.facebook.com"
SCOPES = "instagram_basic pages_show_list"
HOUR = 3600.0
_CHILDREN = "children{media_url,media_type,thumbnail_url}"
_MEDIA = (
    f"id,caption,like_count,comments_count,media_type,media_url,permalink,timestamp,{_CHILDREN}"
)
_HASHTAG = (
    f"id,caption,media_type,media_url,permalink,timestamp,like_count,comments_count,{_CHILDREN}"
)
_THROTTLED = {4, 17, 32, 613, 80002}
_TOKEN = {102, 190, 467}
"""The token is not good; 10 and 200 to 299 are permissions that it does not have."""
_PASSING = {1, 2}
_GONE = {24, 110}


class Instagram(Platform):
    """graph.facebook.com with tokens of Facebook Login."""

    name = "instagram"
    usual_host = "https://graph.facebook.com"
    requires_token = True
    environment: ClassVar = {
        "LIKEWISE_INSTAGRAM_TOKEN": "access_token",
        "LIKEWISE_INSTAGRAM_USER_ID": "user_id",
    }

    def plan(self, lo: int | None, hi: int) -> list[Chain]:
        chains = [Chain("account", name, lo, hi) for name in self.source.accounts]
        return chains + [Chain("tag", tag, lo, hi) for tag in self.source.tags]

    def page(self, chain: Chain, cursor: str | None) -> Request:
        """``{user}`` stands for the Instagram id that belongs to the token of the call."""
        if chain.kind == "account":
            after = f".after({cursor})" if cursor else ""
            about = "id,username,followers_count,follows_count,media_count"
            ask = f"{about},media.limit(50){after}{{{_MEDIA}}}"
            value = f"business_discovery.username({chain.value}){{{ask}}}"
            return Request(f"/{VERSION}/{{user}}", (("fields", value),))
        if cursor is None:
            search = (("user_id", "{user}"), ("q", chain.value))
            return Request(f"/{VERSION}/ig_hashtag_search", search)
        hashtag, _, after = cursor.lstrip("#").partition("/")
        params = (("user_id", "{user}"), ("fields", _HASHTAG), ("limit", "50"))
        more = (("after", after),) if after else ()
        return Request(f"/{VERSION}/{hashtag}/recent_media", (*params, *more))

    def address(self, request: Request, token: Token | None) -> Request:
        user = (token.secret.get("user_id") or token.user) if token is not None else ""
        params = tuple((name, value.replace("{user}", user)) for name, value in request.params)
        return replace(request, path=request.path.replace("{user}", user), params=params)

    def read_page(self, chain: Chain, cursor: str | None, answer: Answer) -> Page:
        body = fields.table(answer.body)
        if chain.kind == "account":
            return self._read_discovery(chain, body)
        page = Page()
        entries = fields.listed(body.get("data"))
        if cursor is None:
            ids = [fields.identifier(fields.table(entry).get("id")) for entry in entries]
            page.cursor = f"#{ids[0]}/" if ids and ids[0] else None
            return page
        for entry in entries:
            read_media(entry, page, author_id=None)
        after = _after(body)
        if after is not None:
            page.cursor = cursor.partition("/")[0] + "/" + after
        return page

    @staticmethod
    def _read_discovery(chain: Chain, body: Mapping[str, Any]) -> Page:
        page = Page()
        found = fields.table(body.get("business_discovery"))
        author = read_user(found, page)
        media = fields.table(found.get("media"))
        for entry in fields.listed(media.get("data")):
            read_media(entry, page, author_id=author.author_id if author else None)
        page.cursor = _after(media)
        times = [post.created_at for post in page.posts if post.created_at is not None]
        if chain.lo is not None and times and max(times) < chain.lo:
            page.cursor = None
        return page

    # -- limits and errors ----------------------------------------------------------------

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        """200 an hour for each user of the application; ``{}`` names them."""
        user = "nobody" if token is None else token.user or token.id
        app = "app" if token is None else token.app or "app"
        return [BucketSpec(f"{self.host}/{app}/{user}", 200, HOUR)]

    def corrections(self, answer: Answer, specs: Sequence[BucketSpec]) -> list[Correction]:
        """Usage headers are percentages of a limit; the waiting time is in minutes."""
        percent, minutes = usage(answer.headers)
        if percent is None:
            return []
        until = answer.received + 60 * minutes if minutes else None
        return [
            Correction(s.key, max(0, int(s.limit * (100 - percent) / 100)), None, until)
            for s in specs
        ]

    def judge(self, answer: Answer) -> Verdict:
        error = fields.table(fields.table(answer.body).get("error"))
        code = fields.count(error.get("code"), "code", Oddities())
        if code in _THROTTLED:
            _, minutes = usage(answer.headers)
            wait = 60 * minutes if minutes else HOUR
            return Verdict(Outcome.THROTTLED, f"graph_{code}", answer.received + wait)
        if code in _TOKEN or (code is not None and (code == 10 or 200 <= code < 300)):
            return Verdict(Outcome.TOKEN, f"graph_{code}")
        if code in _PASSING or (error.get("is_transient") is True):
            return Verdict(Outcome.RETRY, f"graph_{code}")
        told = " ".join(str(error.get(name, "")) for name in ("message", "error_user_msg")).lower()
        if code in _GONE or "cannot be found" in told:
            return Verdict(Outcome.GONE, f"graph_{code}")
        if error:
            return Verdict(Outcome.REFUSED, f"graph_{code}")
        return sound(answer, super().judge(answer))

    grants = (
        "The permission shows your own profile, posts and the list of your Facebook pages. It "
        "cannot post, follow or read messages."
    )
    left_to_do = (
        "Facebook has not been told: end the permission yourself in the settings of your Facebook "
        "account, Apps and websites."
    )
    questions = (
        Question("app_id", "Id of your Facebook application"),
        Question("app_secret", "Its secret", hidden=True),
    )

    def login(self, answers: Mapping[str, str], redirect_uri: str) -> Flow:
        return CodeFlow(
            f"{DIALOG}/{VERSION}/dialog/oauth",
            f"{self.base}/{VERSION}/oauth/access_token",
            answers["app_id"],
            answers["app_secret"],
            SCOPES,
            self._long_lived,
            pkce=None,
        )

    def _long_lived(self, secret: Mapping[str, str]) -> Token:
        """Exchange the token of an hour for one of 60 days, and learn whose it is."""
        form = {
            "grant_type": "fb_exchange_token",
            "client_id": secret["client_id"],
            "client_secret": secret["client_secret"],
            "fb_exchange_token": secret["access_token"],
        }
        url = f"{self.base}/{VERSION}/oauth/access_token"
        with refusals(url, *secret.values()), web_session() as session:
            answer = session.post(url, data=form, timeout=30)
            answer.raise_for_status()
            body = answer.json()
            fresh = str(body["access_token"])
            me = session.get(
                f"{self.base}/{VERSION}/me/accounts",
                params={"fields": "instagram_business_account"},
                headers={"Authorization": f"Bearer {fresh}"},
                timeout=30,
            )
            me.raise_for_status()
            pages = me.json()["data"]
        ids = [
            p["instagram_business_account"]["id"]
            for p in pages
            if "instagram_business_account" in p
        ]
        if not ids:
            raise CredentialsError(
                "this login has no Instagram professional account",
                hint="connect one to a Facebook page of the same person, then log in again",
            )
        kept = {
            "access_token": fresh,
            "app_secret": secret["client_secret"],
            "user_id": str(ids[0]),
        }
        expires = time.time() + float(body.get("expires_in", 60 * 86400))
        return new_token(
            self.name,
            self.host,
            kept,
            user=str(ids[0]),
            app=secret["client_id"],
            expires_at=expires,
        )

    def renewal(self, token: Token) -> Request | None:
        """Exchange a token that still holds for one of 60 days; one that has expired is lost."""
        if "app_secret" not in token.secret:
            return None
        data = (
            ("grant_type", "fb_exchange_token"),
            ("client_id", token.app),
            ("client_secret", token.secret["app_secret"]),
            ("fb_exchange_token", token.secret["access_token"]),
        )
        return Request(f"/{VERSION}/oauth/access_token", method="POST", data=data)

    def renewed(self, token: Token, answer: Answer) -> dict[str, str] | None:
        fresh = fields.table(answer.body).get("access_token")
        if answer.status != 200 or not isinstance(fresh, str):
            return None
        return {**token.secret, "access_token": fresh}


def usage(headers: Mapping[str, str]) -> tuple[float | None, float]:
    """Largest percentage of the usage headers (None without any) and minutes to wait."""
    percents: list[float] = []
    minutes = 0.0
    for name in ("x-app-usage", "x-business-use-case-usage"):
        try:
            value = json.loads(headers.get(name, "null"))
        except ValueError:
            continue
        for entry in _entries(value):
            for key in ("call_count", "total_cputime", "total_time"):
                if isinstance(entry.get(key), int | float):
                    percents.append(float(entry[key]))
            wait = entry.get("estimated_time_to_regain_access")
            if isinstance(wait, int | float):
                minutes = max(minutes, float(wait))
    return max(percents, default=None), minutes


def _entries(value: Any) -> list[Mapping[str, Any]]:
    """``{"call_count": ...}`` itself, or all entries of ``{"ID": [{...}], ...}``."""
    if isinstance(value, dict) and not any(isinstance(v, list) for v in value.values()):
        return [value]
    lists = value.values() if isinstance(value, dict) else []
    return [fields.table(entry) for one in lists for entry in fields.listed(one)]


def _after(body: Mapping[str, Any]) -> str | None:
    paging = fields.table(body.get("paging"))
    return fields.plain(fields.table(paging.get("cursors")).get("after"))


def read_user(raw: Any, page: Page) -> Author | None:
    """Append the author of a User node; None when it has no id."""
    user = fields.table(raw)
    author_id = fields.identifier(user.get("id"))
    if author_id is None:
        return None
    odd = page.oddities
    author = Author(
        author_id=author_id,
        handle=fields.plain(user.get("username")),
        followers=fields.count(user.get("followers_count"), "followers", odd),
        following=fields.count(user.get("follows_count"), "following", odd),
        posts_count=fields.count(user.get("media_count"), "posts_count", odd),
        source="account",
    )
    page.authors.append(author)
    return author


def read_media(raw: Any, page: Page, author_id: str | None) -> None:
    """Append a Media node as a post, or count that it is none."""
    node = fields.table(raw)
    post_id = fields.identifier(node.get("id"))
    if post_id is None:
        page.dropped["malformed"] += 1
        return
    owner = fields.identifier(fields.table(node.get("owner")).get("id"))
    odd = page.oddities
    text = fields.plain(node.get("caption"), odd)
    page.posts.append(
        Post(
            post_id=post_id,
            author_id=author_id or owner or f"no-author:{post_id}",
            url=fields.url(node.get("permalink")),
            created_at=fields.moment(node.get("timestamp"), "created_at", odd),
            likes=fields.count(node.get("like_count"), "likes", odd),
            comments=fields.count(node.get("comments_count"), "comments", odd),
            tags=fields.hashtags(text),
            text=text,
            media=_media(node),
        )
    )


_KINDS = {"IMAGE": "image", "VIDEO": "video"}


def _media(node: Mapping[str, Any]) -> list[Media]:
    children = fields.listed(fields.table(node.get("children")).get("data"))
    items = [fields.table(child) for child in children] or [node]
    return [
        Media(
            index=index,
            kind=_KINDS.get(str(item.get("media_type")), "other"),
            url=fields.url(item.get("media_url")),
            preview_url=fields.url(item.get("thumbnail_url")),
        )
        for index, item in enumerate(items)
        if item.get("media_url") or item.get("thumbnail_url")
    ]
