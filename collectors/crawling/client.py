"""One call, with everything that can go wrong with it: retries, throttling, expired tokens."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from collectors.budgets.door import TOLD_FROM_S, waiting_line
from collectors.budgets.pool import Lease, Pool, UsedUpError
from collectors.crawling.breaker import Breaker
from collectors.crawling.failures import USED_UP, CallError, detail_of
from collectors.crawling.proxies import Proxies
from collectors.crawling.unreachable import trouble
from collectors.platforms.base import Answer, Outcome, Platform, Request, Verdict
from collectors.platforms.fields import plain
from collectors.tokens.sentences import quiet, said
from collectors.tokens.store import Token, TokenStore
from likewise import __version__
from likewise.errors import CredentialsError, LikewiseError
from likewise.progress import note

if TYPE_CHECKING:
    from collectors.budgets.buckets import Correction
    from collectors.crawling.journal import Journal

__all__ = ["CallError", "Client", "Limits", "open_session"]

MAX_BODY = 32 * 1024 * 1024
RENEW_BEFORE_S = 14 * 86400.0
LIFE_S = 60 * 86400.0
"""What long-lived tokens of 60 days are renewed for, and how long before their end."""
LONG_PAUSE_S = 5.0
"""A busy server that asks for this much means every call, not the one that it refused."""
LONGEST_BLOCK_S = 2 * 86400.0
"""Platforms count by the day at most; a reset later than this is a mistake (milliseconds, say)."""

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_TLS = {"tls", "certificate"}


@dataclass(frozen=True, slots=True)
class Limits:
    """Patience of a client: tries of a call, seconds of one try and of the longest pause."""

    attempts: int = 6
    timeout_s: float = 30.0
    longest_pause_s: float = 60.0
    first_pause_s: float = 0.5


def open_session(concurrency: int, limits: Limits, contact: str) -> aiohttp.ClientSession:
    """A session for all hosts: one connection pool, no cookies, a truthful User-Agent."""
    about = f"; {plain(contact)}" if plain(contact) else ""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=concurrency, ttl_dns_cache=300),
        timeout=aiohttp.ClientTimeout(total=limits.timeout_s),
        headers={"User-Agent": f"likewise/{__version__} (research collector{about})"},
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    # aiohttp would repeat a GET on a lost connection by itself: a call that no budget knows of.
    session._retry_connection = False
    return session


class Client:
    """Calls to one host, within the budgets of its pool and a number of slots for all hosts."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        pool: Pool[Platform],
        slots: asyncio.Semaphore,
        journal: Journal | None = None,
        limits: Limits | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        self.session = session
        self.pool = pool
        self.platform = pool.platform
        self.slots = slots
        self.journal = journal
        self.limits = limits or Limits()
        self.breaker = breaker or Breaker()
        self.counters: Counter[str] = Counter()
        self._proxies = Proxies()
        self._renewing: dict[str, asyncio.Lock] = {}

    async def _replayed(self, request: Request) -> Answer:
        answer = await asyncio.to_thread(self.platform.replay, request)
        self.counters["files"] += 1
        self._count_repair(answer)
        verdict = self.verdict(answer)
        if verdict.outcome in {Outcome.OK, Outcome.GONE}:
            return answer
        self.counters[verdict.reason] += 1
        raise CallError(verdict.reason, request.path, detail=detail_of(answer))

    def _count_repair(self, answer: Answer) -> None:
        if answer.repaired is not None:
            self.counters[f"odd:{answer.repaired}"] += 1

    async def call(self, request: Request) -> Answer:
        """The answer to a request, OK or GONE.

        Raises:
            CallError: refused, or still failing after the last attempt.
            CredentialsError: no token is left.
            CircuitOpenError: nearly every call fails for the same reason.
        """
        if self.platform.offline:
            return await self._replayed(request)
        failures = refusals = 0
        renewals: Counter[str] = Counter()
        while True:
            answer, verdict, lease = await self._once(request)
            if verdict.outcome is not Outcome.THROTTLED:
                self.pool.heard(lease, answered=verdict.outcome is not Outcome.RETRY)
            if verdict.outcome in {Outcome.OK, Outcome.GONE}:
                self.breaker.note("ok")
                return answer
            self.counters[verdict.reason] += 1
            if verdict.outcome is Outcome.THROTTLED:
                refusals += 1
                self._throttled(lease, verdict, refusals)
                continue
            if verdict.outcome is Outcome.TOKEN and lease.token is not None:
                renewals[lease.token.id] += 1
                why = self._in_its_words(verdict, answer, lease.token)
                await self._renew(lease.token, why, last=renewals[lease.token.id] > 2)
                continue
            failures += 1
            if verdict.outcome is not Outcome.RETRY or failures >= self.limits.attempts:
                self.breaker.note(verdict.reason)
                raise self._failed(request, answer, verdict)
            await asyncio.sleep(self._pause(failures, verdict))

    @staticmethod
    def _in_its_words(verdict: Verdict, answer: Answer, token: Token | None) -> str:
        """The name of a failure and the server's own sentence, without the token."""
        secrets = () if token is None else token.secret.values()
        sentence = quiet(said(answer.body, answer.text), *secrets)
        return f"{verdict.reason}: {sentence}" if sentence else verdict.reason

    def _failed(self, request: Request, answer: Answer, verdict: Verdict) -> LikewiseError:
        why = self._in_its_words(verdict, answer, None)
        what = f"{self.platform.host} {request.path}"
        if verdict.outcome is Outcome.TOKEN:
            return CredentialsError(
                f"{what}: a token is needed ({why})",
                hint=f"likewise auth add {self.platform.name} --host {self.platform.base}",
            )
        mend = answer.mend or None
        return CallError(verdict.reason, what, detail=detail_of(answer), mend=mend)

    def _throttled(self, lease: Lease, verdict: Verdict, refusals: int) -> None:
        now = self.pool.clock()
        until = self._plausible(verdict.until)
        whole = max((spec.period for spec in lease.specs), default=1.0)
        if until is None:
            until = now + whole
        elif until <= now:
            # The window has turned while the answer was under way. Should that not be true, the
            # pauses double up to a whole window, so that a wrong header costs few refused calls.
            until = now + min(whole, self.limits.first_pause_s * 2.0 ** min(refusals - 1, 60))
        self.pool.block(lease, until)
        self._remember()

    def _remember(self) -> None:
        """Note what is shut, so that a restart does not ask before the time."""
        if self.journal is not None:
            now = self.pool.clock()
            for key, until in self.pool.shut().items():
                self.journal.budgets.note_shut(key, until, now)

    def _pause(self, failures: int, verdict: Verdict) -> float:
        """Full jitter: uniform between 0 and a limit that doubles; a Retry-After is the least.

        A server that asks for a longer pause is left alone by every call, and after a restart.
        """
        now = self.pool.clock()
        most = min(self.limits.longest_pause_s, self.limits.first_pause_s * 2 ** (failures - 1))
        least = min(max(0.0, (verdict.until or 0.0) - now), 10 * self.limits.longest_pause_s)
        if least >= LONG_PAUSE_S:
            self.pool.door.shut(now + least, now, whole=True)
            self.pool.door.tell(now + least, now)
            self._remember()
        return least + random.uniform(0.0, most)

    # -- one attempt ----------------------------------------------------------------------

    async def _once(self, request: Request) -> tuple[Answer, Verdict, Lease]:
        try:
            lease = await self.pool.acquire(request.kind)
        except UsedUpError as error:
            self.counters[USED_UP] += 1
            what = f"{self.platform.host} {request.path}"
            raise CallError(USED_UP, what, detail=f"no more calls until {error.when}") from error
        try:
            await self.slots.acquire()
        except asyncio.CancelledError:
            self.pool.release(lease)
            raise
        try:
            await self.pool.pace(lease)
            lease.started = self.pool.clock()
            call_id = self.journal.budgets.call_started(lease) if self.journal else 0
            self.counters["calls"] += 1
            answer = await self._send(request, lease.token)
        except BaseException:
            self.pool.settle(lease)
            raise
        finally:
            self.slots.release()
        answer.received = self.pool.clock()
        self._count_repair(answer)
        answer.skew = self.pool.compare_clocks(answer.headers, lease, answer.received)
        if answer.skew:
            self.counters["clocks_differ"] = 1
        corrections = self._believed(self.platform.corrections(answer, lease.specs))
        self.pool.settle(lease, corrections)
        if any(correction.blocked_until is not None for correction in corrections):
            self._remember()
        if self.journal:
            self.journal.budgets.call_ended(call_id, answer.received)
        return answer, self.verdict(answer), lease

    def _believed(self, corrections: list[Correction]) -> list[Correction]:
        """Corrections without moments that no rate limit has."""
        return [
            replace(
                c, reset=self._plausible(c.reset), blocked_until=self._plausible(c.blocked_until)
            )
            for c in corrections
        ]

    def _plausible(self, moment: float | None) -> float | None:
        """The moment, unless it is so far away that a bucket would stay shut for ever."""
        if moment is None or moment - self.pool.clock() < LONGEST_BLOCK_S:
            return moment
        self.counters["reset_implausible"] += 1
        return None

    def verdict(self, answer: Answer) -> Verdict:
        """What an answer means; without any answer there is something to try again."""
        if answer.status == 0:
            # A certificate does not become good by asking again.
            outcome = Outcome.REFUSED if answer.problem in _TLS else Outcome.RETRY
            return Verdict(outcome, answer.problem or "no_answer")
        return self.platform.judge(answer)

    def _check_way(self, address: URL, proxy: URL | None) -> None:
        """Plain http stays within this machine when it carries a token."""
        if address.host not in _LOOPBACK:
            raise CredentialsError(
                f"{self.platform.base} is not encrypted: no token is sent there",
                hint="write https:// before the host",
            )
        if proxy is not None and proxy.host not in _LOOPBACK:
            raise CredentialsError(
                f"{self.platform.base} would be asked through the proxy {proxy.host}, and is not "
                "encrypted: no token is sent there",
                hint=f"set NO_PROXY={address.host}",
            )

    async def _send(self, request: Request, token: Token | None) -> Answer:
        request = self.platform.address(request, token)
        address = URL(self.platform.base + request.path)
        headers, form = self.platform.sign(request, token)
        proxy = self._proxies.of(address)
        if (headers or form) and address.scheme == "http":
            self._check_way(address, proxy)
        try:
            async with self.session.request(
                request.method,
                address,
                params=request.params or None,
                data=[*request.data, *form] or None,
                json=dict(request.json) or None,
                headers=headers,
                allow_redirects=False,
                proxy=proxy,
            ) as response:
                return await read_answer(response, self.platform.decode)
        except (TimeoutError, aiohttp.ClientError, ssl.SSLError, ValueError) as error:
            why = trouble(error)
            return Answer(0, {}, problem=why.reason, detail=why.what, mend=why.mend)

    # -- tokens ---------------------------------------------------------------------------

    async def renew_due(self) -> None:
        """Renew tokens that expire soon, while they can still be renewed.

        One that cannot be renewed is used as long as it holds.
        """
        now = self.pool.clock()
        for token in [t for t in self.pool.tokens if t is not None]:
            if token.expires_at is None or token.expires_at - now >= RENEW_BEFORE_S:
                continue
            if self.platform.renewal(token) is None:
                continue
            try:
                refused = await self._replace(token)
            except CallError:
                refused = True
            self.counters["token_renewal_refused"] += int(refused)

    async def _renew(self, token: Token, reason: str, *, last: bool = False) -> None:
        """Renew a token once, whoever notices first; retire it when that does not help.

        Raises:
            CallError: the server is busy or down, which says nothing about the token.
        """
        async with self._renewing.setdefault(token.id, asyncio.Lock()):
            current = [t for t in self.pool.tokens if t is not None and t.id == token.id]
            if not current or current[0].secret != token.secret:
                return
            if await self._replace(token, ask=not last):
                self.counters["token_retired"] += 1
                self.pool.retire(token, reason)

    async def _replace(self, token: Token, *, ask: bool = True) -> bool:
        """Put what another process or the platform gives in a token's place; True if refused.

        Without ``ask`` only what another process was given counts. Nobody else renews meanwhile:
        a refresh token that is used twice revokes the whole grant.
        """
        store = TokenStore()
        async with store.renewing(token.id) as stored:
            if await asyncio.to_thread(store.withdrawn, token.id):
                return True
            if stored is not None and stored.secret != token.secret:
                self.counters["token_renewed_elsewhere"] += 1
                self.pool.replace(token, stored)
                return False
            fresh = await self._ask_renewal(token) if ask else None
            if fresh is None:
                return True
            expires_at = None if token.expires_at is None else self.pool.clock() + LIFE_S
            self.counters["token_renewed"] += 1
            kept = await asyncio.to_thread(store.update, token, fresh, expires_at)
            if await asyncio.to_thread(store.withdrawn, token.id):
                # Taken back while the platform was asked: what it gave must not stay good.
                with contextlib.suppress(CredentialsError):
                    await asyncio.to_thread(self.platform.revoke, kept)
                return True
            self.pool.replace(token, kept)
            return False

    async def _ask_renewal(self, token: Token) -> dict[str, str] | None:
        """Fresh secrets, None when they are refused; a busy server is waited for."""
        renewal = self.platform.renewal(token)
        failures = 0
        while renewal is not None:
            answer = await self._send(renewal, None)
            answer.received = self.pool.clock()
            verdict = self.verdict(answer)
            if verdict.outcome not in {Outcome.THROTTLED, Outcome.RETRY}:
                return self.platform.renewed(token, answer)
            self.counters[f"renewal_{verdict.reason}"] += 1
            failures += 1
            if failures >= self.limits.attempts:
                self.breaker.note(verdict.reason)
                raise CallError(verdict.reason, f"{self.platform.host}: renewing token {token.id}")
            pause = self._pause(failures, verdict)
            if pause > TOLD_FROM_S:
                note(waiting_line(self.platform.host, self.pool.clock() + pause))
            await asyncio.sleep(pause)
        return None


async def read_answer(
    response: aiohttp.ClientResponse, decode: Callable[[int, dict[str, str], bytes], Answer]
) -> Answer:
    """Status, headers and decoded body of a response, or the name of what is wrong with it."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    # A list may be spread over several lines (RFC 9110, section 5.3); Link is the one read here.
    if "link" in headers:
        headers["link"] = ", ".join(response.headers.getall("Link"))
    chunks, size = [], 0
    async for chunk in response.content.iter_chunked(1 << 16):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY:
            response.close()
            return Answer(response.status, headers, problem="body_too_large")
    return decode(response.status, headers, b"".join(chunks))
