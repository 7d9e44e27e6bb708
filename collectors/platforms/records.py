"""What a platform's answer is turned into: posts, authors, media.

Ids are strings, times are microseconds since 1970 in UTC, and a count that the platform did not
give is None. The dictionaries made by ``Post.row`` and ``Author.row`` fit ``likewise.tables``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from typing import Any

__all__ = ["Author", "Licence", "Media", "Oddities", "Post"]

Oddities = Counter[str]
"""Named oddities of an answer that cost no row: ``likes_negative``, ``date_implausible``, ..."""


@dataclass(slots=True)
class Media:
    """One picture or film of a post."""

    index: int
    kind: str
    url: str | None
    preview_url: str | None = None
    width: int | None = None
    height: int | None = None
    alt: str | None = None

    def row(self) -> dict[str, Any]:
        """As an entry of the ``media`` column."""
        return dict(zip(_MEDIA_COLUMNS, _media_values(self), strict=True))


_MEDIA_COLUMNS = tuple(Media.__slots__)
_media_values = attrgetter(*_MEDIA_COLUMNS)


@dataclass(slots=True)
class Licence:
    """Under which licence a picture stands, who made it, and where a search found it.

    ``code`` is one of ``collectors.platforms.licences.CODES``; everything is plain text.
    """

    code: str
    version: str | None = None
    url: str | None = None
    title: str | None = None
    creator: str | None = None
    creator_url: str | None = None
    source: str | None = None
    """Who publishes the picture: the platform itself, or whose results it shows."""
    rank: int | None = None
    """Place among the results of its search, from 0."""


@dataclass(slots=True)
class Post:
    """A post as it was read, before the rules of manners; ``flags`` are what those rules read."""

    post_id: str
    author_id: str
    url: str | None = None
    created_at: int | None = None
    indexed_at: int | None = None
    likes: int | None = None
    comments: int | None = None
    shares: int | None = None
    views: int | None = None
    tags: list[str] = field(default_factory=list)
    text: str | None = None
    language: str | None = None
    visibility: str | None = None
    sensitive: bool | None = None
    labels: list[str] = field(default_factory=list)
    media: list[Media] = field(default_factory=list)
    flags: frozenset[str] = frozenset()
    uri: str | None = None
    """The post's name in its whole network, the same through whatever server it was seen."""
    licence: Licence | None = None
    """Where the platform tells it; becomes a row of the table ``licences``."""

    def row(self) -> dict[str, Any]:
        """Every column but the platform, the host and the time of reading; None is left out."""
        row = _known(_POST_COLUMNS, _post_values(self))
        row["media"] = [media.row() for media in self.media]
        if self.licence is not None:
            row["licence"] = asdict(self.licence)
        return row


_POST_COLUMNS = tuple(
    name for name in Post.__slots__ if name not in {"flags", "media", "uri", "licence"}
)
_post_values = attrgetter(*_POST_COLUMNS)


@dataclass(slots=True)
class Author:
    """An author as embedded in a post, or as the account endpoint shows it."""

    author_id: str
    handle: str | None = None
    followers: int | None = None
    following: int | None = None
    posts_count: int | None = None
    bot: bool | None = None
    noindex: bool | None = None
    created_at: int | None = None
    source: str = "embedded"
    flags: frozenset[str] = frozenset()
    person: str | None = None
    """The author's name in the whole network, the same through whatever server."""

    def row(self) -> dict[str, Any]:
        """Every column but the platform, the host and the time of reading; None is left out."""
        return _known(_AUTHOR_COLUMNS, _author_values(self))


_AUTHOR_COLUMNS = tuple(name for name in Author.__slots__ if name not in {"flags", "person"})
_author_values = attrgetter(*_AUTHOR_COLUMNS)


def _known(names: tuple[str, ...], values: tuple[Any, ...]) -> dict[str, Any]:
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}
