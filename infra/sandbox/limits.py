"""Mastodon's rate limits: fixed windows aligned to the wall clock, counted per user, token and IP.

The rules are those of Mastodon's ``config/initializers/rack_attack.rb`` that concern reading:

=====================  ========  ==========  ==================================================
rule                   requests  window      counted per
=====================  ========  ==========  ==================================================
user                   1500      5 minutes   user, calls below ``/api``
token                  300       5 minutes   access token, calls below ``/api``
address                300       5 minutes   IP, calls below ``/api`` without a user
pages of a user        300       15 minutes  user, calls with a cursor
pages of an address    300       15 minutes  IP, calls with a cursor and without a user
registrations          5         10 minutes  IP, ``POST /api/v1/apps``
=====================  ========  ==========  ==================================================

An application's own token has no user, so its calls count against the address as well. Refused
calls count too. The headers describe the bucket nearest to exhaustion; a 429 has no Retry-After.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from likewise.errors import UsageError

__all__ = ["CURSORS", "REGISTRATIONS", "RULES", "Limiter", "Rule", "Verdict"]

CURSORS = ("page", "min_id", "max_id", "since_id")
"""Query parameters that make a call a paged one."""


@dataclass(frozen=True, slots=True)
class Rule:
    """At most ``limit`` calls in each window of ``period`` seconds, for each key."""

    name: str
    limit: int
    period: float


RULES = (
    Rule("user", 1500, 300),
    Rule("token", 300, 300),
    Rule("address", 300, 300),
    Rule("user pages", 300, 900),
    Rule("address pages", 300, 900),
)
"""What Mastodon holds against reading."""

REGISTRATIONS = Rule("registrations", 5, 600)
"""What it holds against new applications; ``likewise sandbox`` adds it, a test may."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a call may pass, and the rate-limit headers to answer with."""

    allowed: bool
    headers: Mapping[str, str]


@dataclass
class Limiter:
    """Counts calls against the rules.

    Attributes:
        limits_factor: every limit is multiplied by this (at least 1 call stays).
        period_factor: every window is multiplied by this, so that tests need not wait.
        clock: seconds since 1970; windows start at multiples of their length.
        enabled: without it nothing is counted and no header is sent.
    """

    limits_factor: float = 1.0
    period_factor: float = 1.0
    clock: Callable[[], float] = time.time
    enabled: bool = True
    rules: tuple[Rule, ...] = RULES
    _counts: dict[tuple[str, str, int], int] = field(default_factory=dict, init=False)
    _swept: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        if self.limits_factor <= 0 or self.period_factor <= 0:
            raise UsageError("sandbox: the factors of limits and windows must be above 0")
        self._rules = {
            rule.name: Rule(
                rule.name,
                max(1, round(rule.limit * self.limits_factor)),
                rule.period * self.period_factor,
            )
            for rule in self.rules
        }

    def check(
        self,
        *,
        address: str,
        user: str | None,
        token: str | None,
        api: bool,
        paged: bool,
        registers: bool = False,
    ) -> Verdict:
        """Count one call and say whether it passes."""
        if not self.enabled:
            return Verdict(True, {})
        now = self.clock()
        self._sweep(now)
        tightest: tuple[int, Rule] | None = None
        buckets = self._buckets(address, user, token, api=api, paged=paged)
        if registers and REGISTRATIONS.name in self._rules:
            buckets.append((REGISTRATIONS.name, _network(address)))
        for name, key in buckets:
            rule = self._rules.get(name)
            if rule is None:
                continue
            place = (name, key, int(now // rule.period))
            count = self._counts[place] = self._counts.get(place, 0) + 1
            left = rule.limit - count
            if left < 0:
                return Verdict(False, _headers(rule, 0, now))
            if tightest is None or left < tightest[0]:
                tightest = (left, rule)
        return Verdict(True, _headers(tightest[1], tightest[0], now) if tightest else {})

    @staticmethod
    def _buckets(
        address: str, user: str | None, token: str | None, *, api: bool, paged: bool
    ) -> list[tuple[str, str]]:
        """Rules that concern a call and their keys, in the order in which Mastodon asks them."""
        found: list[tuple[str, str]] = []
        if api and user is not None:
            found.append(("user", user))
        if api and token is not None:
            found.append(("token", token))
        if api and user is None:
            found.append(("address", _network(address)))
        if paged:
            key = ("user pages", user) if user is not None else None
            found.append(key or ("address pages", _network(address)))
        return found

    def _sweep(self, now: float) -> None:
        """Forget windows that have passed."""
        longest = max((rule.period for rule in self._rules.values()), default=0.0)
        if now - self._swept > longest:
            self._swept = now
            self._counts = {
                place: count
                for place, count in self._counts.items()
                if (place[2] + 1) * self._rules[place[0]].period > now
            }


def _network(address: str) -> str:
    """The address itself for IPv4, its /64 for IPv6."""
    if ":" not in address:
        return address
    bare, _, _ = address.partition("%")
    return str(ipaddress.ip_network((bare, 64), strict=False).network_address)


def _headers(rule: Rule, left: int, now: float) -> dict[str, str]:
    # Mastodon adds whole seconds to the present, so its reset keeps the present's microseconds
    # and lies up to a second after the window's end. Short windows of tests get the exact end.
    if rule.period >= 1 and float(rule.period).is_integer():
        reset = now + (rule.period - int(now) % rule.period)
    else:
        reset = (now // rule.period + 1) * rule.period
    at = dt.datetime.fromtimestamp(reset, dt.UTC).isoformat(timespec="microseconds")
    return {
        "X-RateLimit-Limit": str(rule.limit),
        "X-RateLimit-Remaining": str(left),
        "X-RateLimit-Reset": at.replace("+00:00", "Z"),
    }
