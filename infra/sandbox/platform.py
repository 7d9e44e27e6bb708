"""The state of one running sandbox, shared by everything that answers calls."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from infra.sandbox.dialect import Dialect
from infra.sandbox.faults import Faults
from infra.sandbox.http import RefusedError
from infra.sandbox.limits import Limiter
from infra.sandbox.media import MediaStore
from infra.sandbox.oauth import OAuthServer
from infra.sandbox.world import Visibility, World

__all__ = ["Feeds", "Platform"]

Feeds = Literal["public", "authenticated", "disabled"]
"""Who may read tag timelines, as Mastodon 4.5 lets an instance decide."""


@dataclass
class Platform:
    """A world, who may see it, and what has happened to it since it was drawn.

    Attributes:
        url: address of the server, without a slash at the end.
        gone: indices of deleted posts.
        calls: number of calls by kind.
    """

    world: World
    url: str
    dialect: Dialect
    media: MediaStore
    oauth: OAuthServer
    faults: Faults
    limiter: Limiter
    feeds: Feeds
    gone: set[int] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)

    def visible_post(self, post_id: int) -> int | None:
        """Index of the post with this id where a stranger may see it, else None."""
        index = self.world.find_post(post_id)
        if index is None or index in self.gone:
            return None
        return None if self.world.visibility[index] == Visibility.PRIVATE else index

    def account_named(self, name: str) -> int:
        """Index of the account with this user name. Raises RefusedError (404)."""
        digits = name.removeprefix("@").partition("@")[0].removeprefix("person")
        if not digits.isdecimal() or int(digits) >= self.world.spec.authors:
            raise RefusedError(404, "Record not found")
        return int(digits)

    def person(self, token: str | None) -> int | None:
        """Index of the account whose token this is; None for an application's or no token."""
        known = self.oauth.tokens.get(token or "")
        return known.user if known else None
