"""A pool of tokens over shared rate buckets.

Each call reserves one cell in every bucket that its platform declares for the token and the kind
of call; tokens that share a bucket share its budget. The next call goes to the token whose
buckets open first. Waiting calls stand in one queue per kind; only its head watches the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from asyncio_throttle.throttler import Throttler

from collectors.budgets.buckets import Bucket, BucketSpec, Correction
from collectors.budgets.door import Door, moment
from collectors.budgets.skew import Skew
from likewise.errors import CredentialsError, LikewiseError

if TYPE_CHECKING:
    from collectors.tokens.store import Token
    from likewise.config import Source

__all__ = ["Clock", "Lease", "Pool"]

PACE_SLACK = 0.01
"""A throttler's window is longer by this share. Starts alone would need 2-5 %; the bucket adds a
latency, since it frees a cell one period after the answer."""


class Clock:
    """Wall-clock time that does not jump: read once, then carried on by the monotonic clock."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() + self._offset


@dataclass(slots=True)
class Lease:
    """The right to make one call with one token."""

    ticket: int
    token: Token | None
    specs: list[BucketSpec]
    started: float


class _Paced:
    """A bucket and the throttler that spaces its calls; at most one call waits in it.

    The throttler keeps a log of starts and knows nothing of answers; the bucket knows both. So
    a call goes when the bucket says so, and a wrong bucket still cannot flood a server.
    """

    def __init__(self, spec: BucketSpec) -> None:
        self.bucket: Bucket = spec.open()
        self._window = -1
        self._lock = asyncio.Lock()
        self._throttler = self._fresh()

    def _fresh(self) -> Throttler:
        spec = self.bucket.spec
        period = spec.period * (1 + PACE_SLACK) if spec.window == "sliding" else spec.period
        poll = min(0.01, spec.period / 500)
        return Throttler(spec.limit, period, poll)

    async def pace(self, now: float) -> None:
        """Wait until the throttler lets a call start; a new fixed window starts a new log."""
        spec = self.bucket.spec
        window = (
            math.floor((now + self.bucket.skew) / spec.period) if spec.window == "fixed" else -1
        )
        if window != self._window:
            self._window, self._throttler = window, self._fresh()
        async with self._lock:
            await self._throttler.acquire()  # type: ignore[no-untyped-call]


class UsedUpError(LikewiseError):
    """A host's budget opens later than its platform is waited for; ``until`` is epoch seconds."""

    def __init__(self, host: str, until: float) -> None:
        self.until = until
        self.when = moment(until)
        super().__init__(f"{host} allows no more calls until {self.when}")


class Limited(Protocol):
    """What a pool asks of a platform; ``collectors.platforms.base`` has it all."""

    source: Source
    base: str
    host: str

    @property
    def longest_wait_s(self) -> float:
        """How long a call waits for its budget, seconds; ``inf`` for as long as it takes."""

    @property
    def name(self) -> str:
        """Name of the platform."""

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        """Limits that a call of ``kind`` draws from."""


P = TypeVar("P", bound=Limited)


class Pool(Generic[P]):
    """Tokens of one host. ``acquire`` waits for a cell in all buckets that a call draws from."""

    def __init__(
        self, platform: P, tokens: Sequence[Token], clock: Callable[[], float] | None = None
    ) -> None:
        self.platform = platform
        self.clock = clock or Clock()
        self.skew = Skew()
        source = platform.source
        self.door = Door(
            platform.host, at_once=source.at_once, per_second=source.requests_per_second
        )
        self.tokens: list[Token | None] = [*tokens] or [None]
        self.retired: dict[str, str] = {}
        self.calls: dict[str, int] = {}
        self.failures: dict[str, int] = {}
        self._buckets: dict[str, _Paced] = {}
        self._specs: dict[tuple[str, str], list[BucketSpec]] = {}
        self._heads: dict[str, asyncio.Lock] = {}
        self._changed = asyncio.Event()
        self._tickets = itertools.count(1)
        self._turn = itertools.count()

    # -- buckets --------------------------------------------------------------------------

    def specs(self, token: Token | None, kind: str) -> list[BucketSpec]:
        """Buckets of a call; each is opened on first use."""
        key = (name_of(token), kind)
        if key not in self._specs:
            found = self.platform.buckets(token, kind)
            for spec in found:
                self._buckets.setdefault(spec.key, _Paced(spec))
            self._specs[key] = found
        return self._specs[key]

    def bucket(self, key: str) -> Bucket:
        """State of one bucket."""
        return self._buckets[key].bucket

    def restore(
        self, calls: Iterable[tuple[str, float | None]], shut: Mapping[str, float] | None = None
    ) -> None:
        """Count the calls (bucket, answered) that an earlier run left in the journal.

        ``shut`` are buckets that a server has shut, and until when.
        """
        for token in self.tokens:
            for kind in ("page", "call"):
                self.specs(token, kind)
        now = self.clock()
        for key, ended in calls:
            if key in self._buckets:
                self.bucket(key).restore([ended], now)
        for key, until in (shut or {}).items():
            if until <= now:
                continue
            if key in self._buckets:
                self.bucket(key).correct(Correction(key, blocked_until=until), now, now)
                self.door.shut(until, now, whole=False)
            elif key == self._whole:
                self.door.shut(until, now, whole=True)

    @property
    def _whole(self) -> str:
        """The name under which the journal remembers that a whole host is shut."""
        return f"{self.platform.name} {self.platform.host}"

    def shut(self) -> dict[str, float]:
        """What is shut now, and until when: buckets, and the whole host."""
        now = self.clock()
        found = {key: paced.bucket.blocked_until for key, paced in self._buckets.items()}
        found[self._whole] = self.door.shut_until
        return {key: until for key, until in found.items() if until > now}

    # -- leases ---------------------------------------------------------------------------

    async def acquire(self, kind: str) -> Lease:
        """Wait for a token whose buckets all have a free cell, and reserve those cells.

        Raises:
            CredentialsError: every token has been retired.
            UsedUpError: that cell is free later than the platform is waited for.
        """
        head = self._heads.setdefault(kind, asyncio.Lock())
        async with head:
            while True:
                ready, token = self._soonest(kind)
                now = self.clock()
                opens = max(ready, self.door.shut_until)
                if self.platform.longest_wait_s < opens - now < math.inf:
                    raise UsedUpError(self.platform.host, opens)
                self.door.tell(opens, now)
                ready = max(ready, self.door.ready_at(now))
                if ready <= now:
                    return self._reserve(token, kind, now)
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if ready == math.inf else ready - now):
                        await self._changed.wait()

    def _soonest(self, kind: str) -> tuple[float, Token | None]:
        if not self.tokens:
            reasons = ", ".join(f"{name}: {why}" for name, why in self.retired.items())
            raise CredentialsError(
                f"no token for {self.platform.host} is left ({reasons})",
                hint=f"likewise auth add {self.platform.name} --host {self.platform.base}",
            )
        now = self.clock()
        first = next(self._turn) % len(self.tokens)
        best: tuple[float, Token | None] = (math.inf, self.tokens[first])
        for token in (*self.tokens[first:], *self.tokens[:first]):
            specs = self.specs(token, kind)
            ready = max((self.bucket(s.key).ready_at(now) for s in specs), default=now)
            if ready <= now:
                return ready, token
            if ready < best[0]:
                best = (ready, token)
        return best

    def _reserve(self, token: Token | None, kind: str, now: float) -> Lease:
        lease = Lease(next(self._tickets), token, self.specs(token, kind), now)
        self.door.enter(now)
        for spec in lease.specs:
            self.bucket(spec.key).reserve(lease.ticket, now)
        self.calls[name_of(token)] = self.calls.get(name_of(token), 0) + 1
        return lease

    async def pace(self, lease: Lease) -> None:
        """Let each bucket's throttler space the call; to be awaited right before sending."""
        for spec in lease.specs:
            await self._buckets[spec.key].pace(self.clock())

    def compare_clocks(self, headers: Mapping[str, str], lease: Lease, received: float) -> float:
        """Learn from an answer how far the server's clock is ahead of ours, in seconds."""
        self.skew.note(headers, lease.started, received)
        for spec in lease.specs:
            self.bucket(spec.key).shift(self.skew.seconds, received)
        return self.skew.seconds

    def settle(self, lease: Lease, corrections: Sequence[Correction] = ()) -> None:
        """The answer has come: free the cells in time, and believe what its headers say."""
        now = self.clock()
        self.door.leave()
        for spec in lease.specs:
            self.bucket(spec.key).settle(lease.ticket, now)
        for correction in corrections:
            self.bucket(correction.key).correct(correction, lease.started, now)
        self._changed.set()

    def release(self, lease: Lease) -> None:
        """The call was never sent."""
        self.door.leave()
        for spec in lease.specs:
            self.bucket(spec.key).release(lease.ticket)
        self._changed.set()

    def block(self, lease: Lease, until: float) -> None:
        """Shut the fullest bucket of a throttled call until then; without any, the host."""
        now = self.clock()
        fullest = min(lease.specs, key=lambda s: self.bucket(s.key).remaining(now), default=None)
        if fullest is not None:
            self.bucket(fullest.key).correct(
                Correction(fullest.key, blocked_until=until), lease.started, now
            )
        self.door.shut(until, now, whole=fullest is None)

    def heard(self, lease: Lease, *, answered: bool) -> None:
        """Whether the host answered a call at all, well or not."""
        if answered:
            self.door.answered(lease.started)
        else:
            self.door.failed(self.clock())
        self._changed.set()

    # -- tokens ---------------------------------------------------------------------------

    def replace(self, old: Token, new: Token) -> None:
        """Go on with a renewed token in place of the old one."""
        self.tokens = [new if t is not None and t.id == old.id else t for t in self.tokens]

    def retire(self, token: Token, reason: str) -> None:
        """Use a token no more; its work goes to the others."""
        self.retired[token.id] = reason
        self.failures[token.id] = self.failures.get(token.id, 0) + 1
        self.tokens = [t for t in self.tokens if t is None or t.id != token.id]
        self._changed.set()


def name_of(token: Token | None) -> str:
    """A token's id; ``anonymous`` for calls without one."""
    return "anonymous" if token is None else token.id
