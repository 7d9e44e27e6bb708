"""A synthetic world: accounts, posts and likes drawn from a seed, kept as arrays.

The same :class:`WorldSpec` gives the same world byte for byte. A million posts take about 60 MB
and a second; texts and pictures are made when somebody asks for them.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import zlib
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.sandbox.law import Law, Visible
from likewise.errors import UsageError

__all__ = ["SIZES", "TAGS", "Account", "Hidden", "Kind", "Picture", "Shares", "World", "WorldSpec"]

DAY_MS = 86_400_000
OLDEST_MS = 3800 * DAY_MS
"""Age of the oldest accounts."""

IDS_END_MS = 1_767_225_600_000
"""Milliseconds that the ids of accounts opened at the epoch hold (2026-01-01)."""

TAGS = ("photo", "portrait", "selfie", "people", "friends", "street", "weekend", "été")
"""Hashtags of the world; every post carries the first, and up to two more."""

SIZES = (
    (640, 640), (640, 800), (800, 640), (600, 800), (800, 600), (512, 512), (720, 480), (480, 720),
)  # fmt: skip
"""Width and height of the pictures, pixels."""


class Kind(IntEnum):
    """What a post's picture is."""

    PEOPLE = 0
    SCENE = 1
    QUOTE = 2
    FOLDER = 3
    VIDEO = 4
    NONE = 5
    TRUNCATED = 6
    GARBAGE = 7
    EMPTY = 8
    PAGE = 9
    TINY = 10
    UNIFORM = 11
    ANIMATED = 12
    MISSING = 13


BROKEN = tuple(Kind(k) for k in range(Kind.TRUNCATED, Kind.MISSING + 1))


class Hidden(IntEnum):
    """How a like count that its author hides is written."""

    SHOWN = 0
    NULL = 1
    ABSENT = 2


class Visibility(IntEnum):
    """Who may see a post; tag timelines hold public posts only."""

    PUBLIC = 0
    UNLISTED = 1
    PRIVATE = 2


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of the special accounts (of all accounts) and posts (of all posts), each 0-1."""

    newcomers: float = 0.03
    celebrities: float = 0.01
    bots: float = 0.03
    noindex: float = 0.02
    not_indexable: float = 0.02
    nobot: float = 0.01
    young: float = 0.12
    hidden: float = 0.04
    sensitive: float = 0.03
    not_public: float = 0.03
    doomed: float = 0.015
    scenes: float = 0.15
    quotes: float = 0.06
    broken: float = 0.04
    videos: float = 0.01
    wordy: float = 0.01
    galleries: float = 0.06
    duplicates: float = 0.04
    near_duplicates: float = 0.04


@dataclass(frozen=True, slots=True)
class WorldSpec:
    """Everything a world is made from.

    Attributes:
        seed: of all random draws.
        authors: number of accounts.
        posts: number of posts; at least one per account where there are enough.
        epoch: the world's present: ages of posts count back from 00:00 UTC of this day.
        law: how likes come about.
        pictures: folder of photographs to use in place of the built-in ones.
        shares: how many of each special kind there are.
    """

    seed: int = 1
    authors: int = 600
    posts: int = 1500
    epoch: dt.date = field(default_factory=lambda: dt.datetime.now(dt.UTC).date())
    law: Law = field(default_factory=Law)
    pictures: Path | None = None
    shares: Shares = field(default_factory=Shares)

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("authors", 1), ("posts", 0)):
            value = getattr(self, name)
            if value < least:
                raise UsageError(f"sandbox: {name} = {value}, expected at least {least}")


@dataclass(frozen=True, slots=True)
class Account:
    """One account, as drawn."""

    index: int
    id: int
    username: str
    followers: int
    following: int
    posts: int
    bot: bool
    noindex: bool
    indexable: bool
    nobot: bool
    created_ms: int


@dataclass(frozen=True, slots=True)
class Picture:
    """All that the renderer needs to know about one attachment.

    ``key`` seeds the composition: equal pictures have equal values here, so they are equal bytes.
    ``near`` > 0 marks the n-th slightly altered copy of the picture with this key.
    """

    kind: Kind
    key: tuple[int, int, int]
    actor: int
    brightness: float
    warmth: float
    closeness: float
    width: int
    height: int
    near: int = 0


class World:
    """Accounts and posts of a :class:`WorldSpec`, in the order of their ids (oldest first)."""

    def __init__(self, spec: WorldSpec | None = None) -> None:
        self.spec = spec or WorldSpec()
        self.law = self.spec.law
        self.files: tuple[str, ...] = ()
        if self.spec.pictures is not None:
            from infra.sandbox.photographs import folder_files

            # Whose faces a user's photographs show is not known, so closeness cannot count.
            self.law = replace(self.law, closeness=0.0)
            folder = self.spec.pictures
            self.files = tuple(str(p.relative_to(folder)) for p in folder_files(folder))
        self.epoch_ms = int(
            dt.datetime.combine(self.spec.epoch, dt.time(), dt.UTC).timestamp() * 1000
        )
        self._draw_accounts()
        self._draw_posts()
        self._draw_pictures()
        self._draw_likes()

    def _rng(self, subject: str) -> np.random.Generator:
        """An own stream for each subject, so that a new draw in one leaves the others alone."""
        return np.random.default_rng([self.spec.seed, zlib.crc32(subject.encode())])

    # -- accounts -------------------------------------------------------------------------

    def _draw_accounts(self) -> None:
        n, shares, rng = self.spec.authors, self.spec.shares, self._rng("accounts")
        order = rng.permutation(n)
        newcomers, celebrities, bots, rest = _split(
            order, [shares.newcomers, shares.celebrities, shares.bots]
        )
        if n > 1 and not len(celebrities) and shares.celebrities:
            celebrities, rest = rest[:1], rest[1:]
        followers = np.zeros(n)
        followers[rest] = rng.lognormal(np.log(300), 1.3, len(rest))
        followers[bots] = rng.lognormal(np.log(120), 1.5, len(bots))
        followers[celebrities] = np.minimum(3e5 * (1 + rng.pareto(1.2, len(celebrities))), 3e7)
        self.followers = followers.astype(np.int64)
        self.following = rng.lognormal(np.log(200), 1.0, n).astype(np.int64)
        self.bot = _flags(n, bots)
        self.newcomer = _flags(n, newcomers)
        draw = rng.random((3, n))
        self.noindex = draw[0] < shares.noindex
        self.indexable = draw[1] >= shares.not_indexable
        self.nobot = draw[2] < shares.nobot
        self.habit = rng.standard_normal(n)
        self._zeal = (rng.pareto(1.8, n) + 0.4) * np.where(self.bot, 3.0, 1.0)
        self.actor = rng.integers(0, 2**16, n)
        self._account_gap_days = rng.lognormal(np.log(300), 1.2, n)
        self._account_gap_days[newcomers] = rng.uniform(0.1, 5, len(newcomers))

    # -- posts ----------------------------------------------------------------------------

    def _draw_posts(self) -> None:
        spec, shares, rng = self.spec, self.spec.shares, self._rng("posts")
        n = spec.posts
        author = np.concatenate(
            [
                rng.permutation(spec.authors)[:n],
                rng.choice(spec.authors, max(0, n - spec.authors), p=self._zeal / self._zeal.sum()),
            ]
        )
        # Nothing lies within a week below the age of 30 days: a world that began on Monday has the
        # same young posts until Sunday.
        young = rng.random(n) < shares.young
        age = np.where(
            young, rng.uniform(0.05, 22.5, n), 30.5 + np.minimum(rng.exponential(150, n), 1000)
        )
        created = self.epoch_ms - (age * DAY_MS).astype(np.int64)
        order = np.argsort(created, kind="stable")
        self.author = rng.permutation(author)[order].astype(np.int32)
        self.created_ms = created[order]
        self.age_days = (self.epoch_ms - self.created_ms) / DAY_MS
        self.post_id = np.sort((self.created_ms << 16) | (np.arange(n) & 0xFFFF))
        draw = rng.random((5, n))
        self.hidden = np.where(draw[0] < shares.hidden, rng.integers(1, 3, n), Hidden.SHOWN).astype(
            np.uint8
        )
        self.sensitive = draw[1] < shares.sensitive
        self.visibility = np.where(
            draw[2] < shares.not_public, rng.integers(1, 3, n), Visibility.PUBLIC
        ).astype(np.uint8)
        self.doomed = draw[3] < shares.doomed
        self.replies = rng.poisson(1.2, n).astype(np.int32)
        self.reblogs = rng.poisson(2.0, n).astype(np.int32)
        more = rng.integers(0, len(TAGS), (2, n))
        self.tags = (1 | (1 << more[0]) | (1 << more[1])).astype(np.uint16)
        self._draw_account_times()

    def _draw_account_times(self) -> None:
        first = np.full(self.spec.authors, self.epoch_ms, dtype=np.int64)
        np.minimum.at(first, self.author, self.created_ms)
        opened = first - (self._account_gap_days * DAY_MS).astype(np.int64)
        low = np.arange(self.spec.authors) & 0xFFFF
        self.account_created_ms = np.maximum(opened, self.epoch_ms - OLDEST_MS)
        # The same on every day, unlike the ids of posts, which hold their time: authors' keys, and
        # so their folds, must not move with the day on which the world is made.
        self.account_id = ((self.account_created_ms - self.epoch_ms + IDS_END_MS) << 16) | low
        self._account_order = np.argsort(self.account_id)
        self.posts_count = np.bincount(self.author, minlength=self.spec.authors)

    # -- pictures -------------------------------------------------------------------------

    def _draw_pictures(self) -> None:
        n, shares, rng = self.spec.posts, self.spec.shares, self._rng("pictures")
        parts = [shares.scenes, shares.quotes, shares.videos, shares.wordy, shares.broken]
        kinds = np.array([Kind.SCENE, Kind.QUOTE, Kind.VIDEO, Kind.NONE, Kind.TRUNCATED])
        draw = rng.random(n)
        which = np.searchsorted(np.cumsum(parts), draw, side="right")
        main = Kind.PEOPLE if self.spec.pictures is None else Kind.FOLDER
        kind = np.append(kinds, main)[which]
        if self.spec.pictures is not None:
            kind[kind == Kind.SCENE] = Kind.FOLDER
        kind = np.where(kind == Kind.TRUNCATED, rng.choice(np.array(BROKEN), n), kind)
        self.kind = kind.astype(np.uint8)
        ordinary = np.isin(kind, (Kind.PEOPLE, Kind.SCENE, Kind.FOLDER))
        visible = np.clip(rng.standard_normal((3, n)), -2, 2)
        visible[2, kind != Kind.PEOPLE] = 0.0
        self.size = rng.integers(0, len(SIZES), n).astype(np.uint8)
        gallery = ordinary & (rng.random(n) < shares.galleries)
        self.n_media = np.where(gallery, rng.integers(2, 5, n), kind != Kind.NONE).astype(np.uint8)
        self._copy(rng, ordinary & ~gallery, visible)
        self.visible = Visible(*visible)

    def _copy(
        self, rng: np.random.Generator, ordinary: NDArray[np.bool_], visible: NDArray[np.float64]
    ) -> None:
        """Let some posts show the picture of an earlier post again, as it is or re-encoded."""
        n, shares = self.spec.posts, self.spec.shares
        self.original = np.arange(n, dtype=np.int32)
        self.near = np.zeros(n, dtype=bool)
        draw = rng.random(n)
        copies = ordinary & (draw < shares.duplicates + shares.near_duplicates)
        sources = np.flatnonzero(ordinary & ~copies)
        place = np.searchsorted(sources, np.flatnonzero(copies))
        late = np.flatnonzero(copies)[place > 0]
        picked = sources[(rng.random(len(late)) * place[place > 0]).astype(int)]
        self.original[late] = picked
        self.near[late] = draw[late] >= shares.duplicates
        visible[:, late] = visible[:, picked]
        self.kind[late] = self.kind[picked]
        self.size[late] = self.size[picked]

    # -- likes ----------------------------------------------------------------------------

    def _draw_likes(self) -> None:
        rng = self._rng("likes")
        self.appeal = self.law.appeal(self.visible)
        self.rate = self.law.rate(
            followers=self.followers[self.author].astype(np.float64),
            habit=self.habit[self.author],
            appeal=self.appeal,
            noise=rng.standard_normal(self.spec.posts),
            age_days=self.age_days,
        )
        self.likes = rng.poisson(self.rate).astype(np.int64)

    # -- asking ---------------------------------------------------------------------------

    def find_post(self, post_id: int) -> int | None:
        """Index of the post with this id, or None."""
        at = int(np.searchsorted(self.post_id, post_id))
        return at if at < len(self.post_id) and self.post_id[at] == post_id else None

    def find_account(self, account_id: int) -> int | None:
        """Index of the account with this id, or None."""
        at = int(np.searchsorted(self.account_id, account_id, sorter=self._account_order))
        if at == len(self._account_order):
            return None
        index = int(self._account_order[at])
        return index if self.account_id[index] == account_id else None

    def account(self, index: int) -> Account:
        """The account with this index."""
        return Account(
            index=index,
            id=int(self.account_id[index]),
            username=f"person{index:05d}",
            followers=int(self.followers[index]),
            following=int(self.following[index]),
            posts=int(self.posts_count[index]),
            bot=bool(self.bot[index]),
            noindex=bool(self.noindex[index]),
            indexable=bool(self.indexable[index]),
            nobot=bool(self.nobot[index]),
            created_ms=int(self.account_created_ms[index]),
        )

    def picture(self, post: int, media: int = 0) -> Picture:
        """Description of an attachment of the post with this index."""
        original = int(self.original[post])
        width, height = SIZES[self.size[post]]
        return Picture(
            kind=Kind(self.kind[post]),
            key=(self.spec.seed, original, media),
            actor=int(self.actor[self.author[original]]),
            brightness=float(self.visible.brightness[post]),
            warmth=float(self.visible.warmth[post]),
            closeness=float(self.visible.closeness[post]),
            width=width,
            height=height,
            near=post if self.near[post] else 0,
        )

    def is_png(self, post: int) -> bool:
        """Whether the post's pictures are PNG files; most are JPEG."""
        return int(self.original[post]) % 16 == 5 or int(self.kind[post]) == 2  # a quote

    @cached_property
    def by_tag(self) -> dict[str, NDArray[np.int32]]:
        """Indices of the public posts of each tag, oldest first."""
        public = self.visibility == Visibility.PUBLIC
        return {
            tag: np.flatnonzero(public & ((self.tags >> bit) & 1).astype(bool)).astype(np.int32)
            for bit, tag in enumerate(TAGS)
        }

    @cached_property
    def _by_author(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        order = np.argsort(self.author, kind="stable")
        return order, np.searchsorted(self.author[order], np.arange(self.spec.authors + 1))

    def posts_of(self, account: int) -> NDArray[np.int64]:
        """Indices of the account's posts that a stranger may see, oldest first."""
        order, start = self._by_author
        mine = order[start[account] : start[account + 1]]
        return np.asarray(mine[self.visibility[mine] != Visibility.PRIVATE])

    def digest(self) -> str:
        """SHA-256 over all that was drawn: equal digests are equal worlds."""
        sha = hashlib.sha256(repr((self.spec.seed, self.epoch_ms, self.law, self.files)).encode())
        for name in sorted(vars(self)):
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                sha.update(name.encode() + value.tobytes())
        for column in (self.visible.brightness, self.visible.warmth, self.visible.closeness):
            sha.update(column.tobytes())
        return sha.hexdigest()

    def describe(self) -> str:
        """What this world is, in a few lines for people."""
        spec = self.spec
        spread = self.followers.std() / max(self.followers.mean(), 1e-9)
        return (
            f"synthetic world, seed {spec.seed}, epoch {spec.epoch.isoformat()}: "
            f"{spec.authors:,} accounts, {spec.posts:,} posts, "
            f"followers SD/mean {spread:.1f}, {np.mean(self.likes == 0):.1%} of posts without likes"
            f"\n{self.law.describe()}"
        )


def _split(order: NDArray[np.int64], shares: list[float]) -> list[NDArray[np.int64]]:
    """Cut a permutation into parts of these shares, and the rest."""
    counts = [round(len(order) * share) for share in shares]
    return list(np.split(order, np.cumsum(counts)))


def _flags(n: int, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
    flags = np.zeros(n, dtype=bool)
    flags[indices] = True
    return flags
