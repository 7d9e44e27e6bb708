"""What can go wrong on purpose: latency, server errors, resets, cut and dripping bodies."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, fields
from enum import Enum

from likewise.errors import UsageError

__all__ = ["Fault", "Faults"]


class Fault(Enum):
    """One thing that goes wrong with an answer."""

    ERROR = "error"
    RESET = "reset"
    TRUNCATE = "truncate"
    DRIP = "drip"
    EXPIRED = "expired"


@dataclass
class Faults:
    """Switches of the sandbox's faults. All may be changed while the server runs.

    Attributes:
        latency_s: every answer waits this long, seconds.
        jitter_s: and up to this much longer.
        errors: share of calls answered with a 500, 502, 503 or 504.
        resets: share of calls whose connection is reset.
        truncated: share of answers cut in the middle.
        drips: share of answers sent ``drip_bytes`` every ``drip_every_s``.
        expire_after: a token is refused as expired after this many calls; 0 is never.
        paths: only calls whose path starts with one of these suffer; empty is all.
        seed: of the draws, so that a run can be repeated.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    errors: float = 0.0
    resets: float = 0.0
    truncated: float = 0.0
    drips: float = 0.0
    drip_bytes: int = 64
    drip_every_s: float = 0.25
    expire_after: int = 0
    paths: tuple[str, ...] = ()
    seed: int = 1
    _next: list[tuple[str, Fault, int]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, int | float) and value < 0:
                raise UsageError(f"sandbox: {item.name} = {value}, expected at least 0")
        total = self.errors + self.resets + self.truncated + self.drips
        if total > 1:
            raise UsageError(f"sandbox: the shares of faults add up to {total:g}, above 1")
        self._random = random.Random(self.seed)

    def once(self, path: str, fault: Fault, times: int = 1) -> None:
        """Let the next ``times`` calls whose path starts with ``path`` fail in this way."""
        self._next += [(path, fault, times)]

    def wait(self) -> float:
        """Seconds to wait before the next answer."""
        return self.latency_s + (self._random.random() * self.jitter_s if self.jitter_s else 0.0)

    def status(self) -> int:
        """Status of an answer that is a server error."""
        return self._random.choice((500, 502, 503, 504))

    def draw(self, path: str) -> Fault | None:
        """What goes wrong with this call, if anything."""
        for place, (prefix, fault, times) in enumerate(self._next):
            if path.startswith(prefix):
                self._next[place : place + 1] = [(prefix, fault, times - 1)] if times > 1 else []
                return fault
        if self.paths and not path.startswith(self.paths):
            return None
        shares = (
            (Fault.ERROR, self.errors),
            (Fault.RESET, self.resets),
            (Fault.TRUNCATE, self.truncated),
            (Fault.DRIP, self.drips),
        )
        if not any(share for _, share in shares):
            return None
        point = self._random.random()
        for fault, share in shares:
            if point < share:
                return fault
            point -= share
        return None
