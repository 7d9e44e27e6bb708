"""The Instagram API of 2011-2020, replayed from a folder of recorded answers and dumps.

``host`` is a folder; every ``*.json`` below it is one answer: media of a tag, of a user or by
themselves, and users with their counts. Shapes of all its years are read (``like_count`` beside
``likes.count``, numbers for types, ISO and epoch times).
"""

# ruff: noqa: ARG002 - not every adapter needs every argument of the interface
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collectors.budgets.buckets import BucketSpec
from collectors.platforms import fields
from collectors.platforms.base import Answer, Chain, Outcome, Page, Platform, Request, Verdict
from collectors.platforms.records import Author, Media, Oddities, Post
from collectors.tokens.store import Token
from likewise.config import Source
from likewise.errors import ConfigError

__all__ = ["InstagramV1"]


class InstagramV1(Platform):
    """Recorded answers of api.instagram.com/v1."""

    name = "instagram-v1"
    offline = True

    def __init__(self, source: Source) -> None:
        self.source = source
        self.base = source.host
        self.host = "api.instagram.com"
        self.folder = Path(source.host)

    def plan(self, lo: int | None, hi: int) -> list[Chain]:
        """One chain a file.

        Raises:
            ConfigError: the folder is missing or holds no JSON.
        """
        files = sorted(self.folder.rglob("*.json"))
        if not files:
            raise ConfigError(
                f"{self.folder} holds no recorded answers (*.json)",
                hint="set host of the instagram-v1 source to the folder that holds them",
            )
        return [Chain("file", path.relative_to(self.folder).as_posix(), None, hi) for path in files]

    def page(self, chain: Chain, cursor: str | None) -> Request:
        return Request(f"/{chain.value}")

    def replay(self, request: Request) -> Answer:
        """The recorded answer that a request names."""
        try:
            raw = (self.folder / request.path.lstrip("/")).read_bytes()
        except OSError:
            return Answer(404, {}, problem="file_unreadable")
        answer = self.decode(200, {}, raw)
        wrapped = fields.table(answer.body).get("response")
        if isinstance(wrapped, dict) and isinstance(wrapped.get("body"), str):
            return self.decode(int(wrapped.get("status", 200)), {}, wrapped["body"].encode())
        return answer

    def read_page(self, chain: Chain, cursor: str | None, answer: Answer) -> Page:
        page = Page()
        body = fields.table(answer.body)
        data = body.get("data")
        for entry in data if isinstance(data, list) else [data]:
            read_entry(entry, page)
        if isinstance(body.get("user"), dict):
            read_entry(body["user"], page)
        if not page.posts and not page.authors:
            page.oddities["no_records"] += 1
        return page

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        return []

    def judge(self, answer: Answer) -> Verdict:
        """Errors as the service told them; see the class of the same name in its documentation."""
        meta = fields.table(fields.table(answer.body).get("meta"))
        kind = str(meta.get("error_type", ""))
        if kind == "OAuthRateLimitException":
            return Verdict(Outcome.THROTTLED, kind)
        if kind == "OAuthAccessTokenException":
            return Verdict(Outcome.TOKEN, kind)
        if kind in {"APINotAllowedError", "APINotFoundError"}:
            return Verdict(Outcome.GONE, kind)
        if kind or meta.get("code", 200) != 200:
            return Verdict(Outcome.REFUSED, kind.replace(" ", "_") or f"code_{meta.get('code')}")
        if answer.problem is not None:
            return Verdict(Outcome.REFUSED, answer.problem)
        return super().judge(answer)


def read_entry(raw: Any, page: Page) -> None:
    """Append what an entry of ``data`` is: a post with its author, a user, or nothing of ours."""
    entry = fields.table(raw)
    if "images" in entry:
        read_media(entry, page)
    elif "username" in entry:
        author = read_user(entry, page.oddities)
        if author is not None:
            page.authors.append(author)


def read_user(raw: Any, odd: Oddities) -> Author | None:
    """The author in a user entry; None when it has no id."""
    user = fields.table(raw)
    author_id = fields.identifier(user.get("id"))
    if author_id is None:
        return None
    counts = fields.table(user.get("counts"))
    return Author(
        author_id=author_id,
        handle=fields.plain(user.get("username")),
        followers=fields.count(counts.get("followed_by"), "followers", odd),
        following=fields.count(counts.get("follows"), "following", odd),
        posts_count=fields.count(counts.get("media"), "posts_count", odd),
        source="account" if counts else "embedded",
    )


def read_media(entry: Mapping[str, Any], page: Page) -> None:
    """Append a media entry as a post, or count why it cannot be one."""
    odd = page.oddities
    post_id = fields.identifier(entry.get("id"))
    author = read_user(entry.get("user"), odd)
    if post_id is None or author is None:
        page.dropped["malformed"] += 1
        return
    likes = fields.table(entry.get("likes")).get("count", entry.get("like_count"))
    comments = fields.table(entry.get("comments")).get("count", entry.get("comment_count"))
    caption = fields.table(entry.get("caption"))
    text = fields.plain(caption.get("text") or caption.get("message"), odd)
    given = [fields.plain(tag) for tag in fields.listed(entry.get("tags"))]
    page.authors.append(author)
    page.posts.append(
        Post(
            post_id=post_id,
            author_id=author.author_id,
            url=fields.url(entry.get("link")),
            created_at=fields.moment(entry.get("created_time"), "created_at", odd),
            likes=fields.count(likes, "likes", odd),
            comments=fields.count(comments, "comments", odd),
            tags=[tag.lower() for tag in given if tag] or fields.hashtags(text),
            text=text,
            media=_media(entry),
        )
    )


_RESOLUTIONS = ("high_resolution", "standard_resolution", "low_resolution", "thumbnail")


def _media(entry: Mapping[str, Any]) -> list[Media]:
    images = fields.table(entry.get("images"))
    found = [_image(images[name]) for name in _RESOLUTIONS if name in images]
    found = [image for image in found if image[0] is not None]
    if not found:
        return []
    kind = "video" if entry.get("type") in {2, "2", "video"} else "image"
    url, width, height = found[0]
    videos = fields.table(entry.get("videos"))
    film = next((_image(videos[name])[0] for name in _RESOLUTIONS if name in videos), None)
    return [Media(0, kind, film if film else url, found[-1][0], width, height)]


def _image(raw: Any) -> tuple[str | None, int | None, int | None]:
    """Address and size of one resolution, which early answers give as bare text."""
    if isinstance(raw, str):
        return fields.url(raw), None, None
    image = fields.table(raw)
    return (
        fields.url(image.get("url")),
        fields.side(image.get("width")),
        fields.side(image.get("height")),
    )
