"""What every platform adapter offers to the crawl, and the small types they share.

An adapter is pure: it builds requests and reads answers. It never waits, sends or stores.
"""

# ruff: noqa: ARG002 - not every adapter needs every argument of the interface
from __future__ import annotations

import datetime as dt
import enum
import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, ClassVar

from collectors.budgets.buckets import BucketSpec, Correction
from collectors.platforms.hosts import authority, canonical
from collectors.platforms.records import Author, Oddities, Post
from collectors.tokens.sentences import about_tokens
from likewise.errors import CredentialsError

if TYPE_CHECKING:
    from collectors.tokens.oauth import Flow, Question
    from collectors.tokens.store import Token
    from likewise.config import Source

__all__ = [
    "Answer",
    "Chain",
    "Outcome",
    "Page",
    "Platform",
    "Request",
    "Signature",
    "Verdict",
    "decode_json",
    "error_texts",
    "header_time",
    "sound",
]


@dataclass(frozen=True, slots=True)
class Request:
    """One call. ``kind`` chooses the rate buckets; ``params`` may repeat a name."""

    path: str
    params: tuple[tuple[str, str], ...] = ()
    kind: str = "call"
    method: str = "GET"
    data: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    json: tuple[tuple[str, str], ...] = field(default=(), repr=False)


Signature = tuple[dict[str, str], tuple[tuple[str, str], ...]]
"""Headers and form fields that carry a token."""


@dataclass(slots=True)
class Answer:
    """What came back. ``problem`` names why there is no body, or none that can be read.

    Header names are lower case. ``skew`` is the server's clock minus ours, in seconds. ``repaired``
    names what had to be mended before the body could be read; ``detail`` is what the network
    said about a failure, and ``mend`` what to do about it, for people.
    """

    status: int
    headers: Mapping[str, str]
    body: Any = None
    problem: str | None = None
    received: float = 0.0
    skew: float = 0.0
    repaired: str | None = None
    detail: str = ""
    mend: str = ""
    text: str = ""
    """The start of a body that is neither JSON nor a page: servers say things in plain text."""

    def on_our_clock(self, moment: float | None) -> float | None:
        """A moment that the server told (epoch seconds), by our clock."""
        return None if moment is None else moment - self.skew


class Outcome(enum.Enum):
    """What an answer means for the call that asked."""

    OK = "ok"
    THROTTLED = "throttled"
    TOKEN = "token"  # noqa: S105
    RETRY = "retry"
    REFUSED = "refused"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The meaning of an answer; ``until`` is when a throttled bucket opens (epoch seconds)."""

    outcome: Outcome
    reason: str = ""
    until: float | None = None


OK = Verdict(Outcome.OK)


@dataclass(frozen=True, slots=True)
class Chain:
    """Pages that follow each other: one tag or account, within ``[lo, hi)`` in microseconds.

    None for ``lo`` or ``hi`` means that the chain is open on that side.
    """

    kind: str
    value: str
    lo: int | None = None
    hi: int | None = None

    def covers(self, at: int) -> bool:
        """Whether a moment, or the rank of a search's result, lies within the chain."""
        return (self.lo is None or at >= self.lo) and (self.hi is None or at < self.hi)


@dataclass(slots=True)
class Page:
    """What one page of a chain held; ``cursor`` None is the end of the chain.

    ``lost`` tells what the chain will not bring although the platform has it: name -> sentence.
    ``total`` is how many posts the platform says the whole chain has, ``account`` the id of the
    account that the chain follows, where the page tells them.
    """

    posts: list[Post] = field(default_factory=list)
    authors: list[Author] = field(default_factory=list)
    cursor: str | None = None
    dropped: Oddities = field(default_factory=Oddities)
    oddities: Oddities = field(default_factory=Oddities)
    lost: dict[str, str] = field(default_factory=dict)
    total: int | None = None
    account: str | None = None


class Platform(ABC):
    """An adapter for one host of one platform."""

    name: ClassVar[str]
    needs_permission: ClassVar[bool] = False
    requires_token: bool = False
    usual_host: ClassVar[str] = ""
    """The platform's one server, where there is only one."""
    offline: ClassVar[bool] = False
    authors_per_call: int = 0
    counts_per_call: int = 0
    counted: ClassVar[frozenset[str]] = frozenset({"likes", "comments", "shares"})
    """Columns that ``counts`` reads."""
    results_per_page: ClassVar[int] = 1
    """Results of one page of a search."""
    read_again_after_s: ClassVar[float] = 0.0
    """Posts that were read less than this ago are not read again: where a day's calls are few."""
    longest_wait_s: ClassVar[float] = math.inf
    """A budget that opens later than this ends the run, which says when it can go on."""
    most_likes_calls: ClassVar[int] = 0
    """Posts of which a run may ask the likes one by one, where the pages left them out."""
    environment: ClassVar[Mapping[str, str]] = {}
    """Environment variable -> field of the token that it fills."""

    def __init__(self, source: Source) -> None:
        self.source = source.model_copy(
            update={"tags": [tag.strip().lstrip("#") for tag in source.tags]}
        )
        self.base = canonical(source.host)
        self.host = authority(self.base)
        self.results = dict.fromkeys(source.keywords, source.results)
        """Keyword -> how many results of its search are to be read."""

    # -- searches -------------------------------------------------------------------------

    @property
    def searches(self) -> dict[str, str]:
        """Name of each search, which tells the licences as well -> its keyword."""
        licences = ", ".join(sorted(self.source.licences))
        return {f"{keyword} ({licences})": keyword for keyword in self.source.keywords}

    def plan_searches(self, most: int) -> list[Chain]:
        """A chain for each search: the results ``[0, n)`` by rank, n at most ``most``.

        Ranks stand in the place of times, so a search that is read further later on goes on
        where it ended.
        """
        return [
            Chain("search", name, 0, min(self.results[keyword], most))
            for name, keyword in self.searches.items()
            if self.results[keyword]
        ]

    def number_of(self, chain: Chain, cursor: str | None) -> int:
        """Page of a search whose cursor is the page, from 1; without one that of its first rank."""
        return int(cursor or (chain.lo or 0) // self.results_per_page + 1)

    # -- what to ask ----------------------------------------------------------------------

    def probe(self) -> Request | None:
        """A call that tells what the server is and allows; None when nothing is left to ask."""
        return None

    def learn(self, answer: Answer) -> None:  # noqa: B027 - most adapters have nothing to learn
        """Take in the answer to ``probe``; called with an error answer too."""

    @abstractmethod
    def plan(self, lo: int | None, hi: int) -> list[Chain]:
        """Chains that cover the source's tags and accounts within ``[lo, hi)`` microseconds."""

    @abstractmethod
    def page(self, chain: Chain, cursor: str | None) -> Request:
        """The request for the next page of a chain."""

    def start(self, account: str) -> str | None:
        """The cursor from which an account of known id is followed, whatever its name is now."""
        return None

    def follows(self, chain: Chain) -> bool:
        """Whether the source still asks for what a chain brings."""
        names = {
            "tag": self.source.tags,
            "account": self.source.accounts,
            "search": self.searches,
        }
        return chain.value in names.get(chain.kind, [chain.value])

    @abstractmethod
    def read_page(self, chain: Chain, cursor: str | None, answer: Answer) -> Page:
        """Posts, authors and the next cursor of an answer that was judged OK."""

    def authors(self, ids: Sequence[str]) -> Request:
        """The request for at most ``authors_per_call`` authors."""
        raise NotImplementedError(self.name)

    def read_authors(self, ids: Sequence[str], answer: Answer) -> list[Author]:
        """Authors of an answer; those that the platform left out are left out."""
        raise NotImplementedError(self.name)

    def wants(self, author: Author) -> bool:
        """Whether an embedded author's figures are missing or implausible."""
        return self.authors_per_call > 0 and not author.followers

    def counts(self, ids: Sequence[str]) -> Request:
        """The request that reads at most ``counts_per_call`` posts again."""
        raise NotImplementedError(self.name)

    def read_counts(self, ids: Sequence[str], answer: Answer) -> Page:
        """The posts of the answer. Which of the others were deleted, ``refresh`` finds out."""
        raise NotImplementedError(self.name)

    def likes(self, post_id: str) -> Request:
        """The request for the likes of one post that came without them."""
        raise NotImplementedError(self.name)

    def read_likes(self, answer: Answer) -> int | None:
        """The likes in an answer; None when it does not tell them."""
        raise NotImplementedError(self.name)

    # -- limits and tokens ----------------------------------------------------------------

    @abstractmethod
    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        """The rate buckets that one call of this kind with this token draws from."""

    def corrections(self, answer: Answer, specs: Sequence[BucketSpec]) -> list[Correction]:
        """What the answer's headers say about those buckets."""
        return []

    def sign(self, request: Request, token: Token | None) -> Signature:
        """Headers and form fields that carry the token. Tokens never go into an address."""
        if request.headers or token is None or "access_token" not in token.secret:
            return dict(request.headers), ()
        return {"Authorization": f"Bearer {token.secret['access_token']}"}, ()

    def address(self, request: Request, token: Token | None) -> Request:
        """The request with what depends on whose token carries it."""
        return request

    def replay(self, request: Request) -> Answer:
        """The recorded answer to a request; adapters with ``offline`` set have one."""
        raise NotImplementedError(self.name)

    def decode(self, status: int, headers: Mapping[str, str], raw: bytes) -> Answer:
        """An answer from bytes; a body that cannot be read has a named problem."""
        return decode_json(status, headers, raw)

    def renewal(self, token: Token) -> Request | None:
        """The request that renews an expired token; None when it cannot be renewed."""
        return None

    def renewed(self, token: Token, answer: Answer) -> dict[str, str] | None:
        """Secrets after a renewal; None when it was refused."""
        return None

    grants: ClassVar[str] = ""
    """What the permission would allow beyond what likewise does with it, for who gives it."""
    left_to_do: ClassVar[str] = ""
    """What only the person can do after a token was taken back; empty when nothing is left."""
    questions: ClassVar[tuple[Question, ...]] = ()
    """What a person types before ``login`` can start."""

    def login(self, answers: Mapping[str, str], redirect_uri: str) -> Flow:
        """How a person gives a token for this host.

        Raises:
            CredentialsError: the platform knows no logins, or refuses the application.
        """
        raise CredentialsError(f"{self.name} has no logins: it replays recorded answers")

    def app_token(self) -> Token:
        """A token of the application itself, where the platform gives such tokens."""
        raise CredentialsError(f"{self.name} gives no tokens to applications alone")

    def revoke(self, token: Token) -> bool:
        """Tell the platform that the token is withdrawn; False where it cannot be told."""
        return False

    def own_error(self, answer: Answer) -> bool:
        """Whether an error answer has the form of the platform's own, not of a proxy before it."""
        body = answer.body
        if not isinstance(body, dict) or not isinstance(body.get("error"), str):
            return False
        # Gateways add a path, a status or a time.
        return body.keys() <= {"error", "error_description", "message"}

    def refuses_token(self, answer: Answer) -> bool:
        """Whether an error speaks of the token or of its scopes, whatever dress it wears."""
        challenge = answer.headers.get("www-authenticate", "")
        texts = (*error_texts(answer.body), answer.text, challenge.partition("error=")[2])
        return answer.status == 401 or any(about_tokens(text) for text in texts)

    def judge(self, answer: Answer) -> Verdict:
        """What an answer means. Adapters name their platform's own errors first."""
        if answer.status in {400, 401, 403} and self.refuses_token(answer):
            return Verdict(Outcome.TOKEN, f"http_{answer.status}")
        if answer.status == 429:
            return Verdict(Outcome.THROTTLED, "http_429", retry_after(answer))
        if answer.status >= 500 and answer.status != 501:
            return Verdict(Outcome.RETRY, f"http_{answer.status}", retry_after(answer))
        if answer.status == 408:
            return Verdict(Outcome.RETRY, "http_408")
        if answer.status in {404, 410}:
            # A proxy's page says nothing about the record: only the platform's own error does.
            own = self.own_error(answer)
            outcome, of = (Outcome.GONE, "") if own else (Outcome.REFUSED, "_of_a_proxy")
            return Verdict(outcome, f"http_{answer.status}{of}")
        if answer.status >= 300:
            return Verdict(Outcome.REFUSED, f"http_{answer.status}")
        if answer.problem is not None:
            return Verdict(Outcome.RETRY, answer.problem)
        return OK


def sound(answer: Answer, verdict: Verdict) -> Verdict:
    """The verdict, unless an answer that seems OK is no JSON object, or one with an error in it."""
    if verdict.outcome is not Outcome.OK:
        return verdict
    if not isinstance(answer.body, dict):
        return Verdict(Outcome.RETRY, "not_an_object")
    return Verdict(Outcome.RETRY, "error_in_200") if "error" in answer.body else verdict


def retry_after(answer: Answer) -> float | None:
    """When a ``Retry-After`` header (seconds from now, or an HTTP date) ends, by our clock."""
    text = answer.headers.get("retry-after", "").strip()
    if not text:
        return None
    # float() would take "1e9", "inf" and digits of other scripts, which no server means.
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", text):
        return answer.received + float(text)
    return answer.on_our_clock(header_time(text))


def header_time(text: str) -> float | None:
    """Epoch seconds of an ISO 8601 or HTTP date; None when it is neither."""
    for parse in (dt.datetime.fromisoformat, parsedate_to_datetime):
        try:
            when = parse(text)
        except (ValueError, TypeError):
            continue
        return (when if when.tzinfo else when.replace(tzinfo=dt.UTC)).timestamp()
    return None


def decode_json(status: int, headers: Mapping[str, str], raw: bytes) -> Answer:
    """An answer with a JSON body, or the name of what stands in its place.

    Raw control characters and bytes that are no UTF-8 are left out or replaced, and named in
    ``repaired``: one caption must not cost a page.
    """
    try:
        body, repaired = _loaded(raw)
        problem = None if isinstance(body, dict | list) else "not_an_object"
        return Answer(status, headers, body, problem, repaired=repaired)
    except (ValueError, RecursionError):
        start = raw[:200].lstrip().lower()
        html = start.startswith((b"<!doctype", b"<html")) or "html" in headers.get(
            "content-type", ""
        )
        problem = "empty_body" if not raw.strip() else "html" if html else "broken_json"
        text = "" if html else raw[:400].decode(errors="replace")
        return Answer(status, headers, problem=problem, text=text)


def _loaded(raw: bytes) -> tuple[Any, str | None]:
    try:
        return json.loads(raw), None
    except ValueError:
        encoding = json.detect_encoding(raw)
        text = raw.decode(encoding, "replace")
        body = json.loads(RAW_CONTROLS.sub("", text), strict=False)
        whole = text.encode(encoding, "surrogatepass") == raw
        return body, "raw_control_characters" if whole else "undecodable_bytes"


RAW_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""What neither JSON nor XML allows anywhere."""


def error_texts(body: Any) -> list[str]:
    """Every text of a small JSON error body, lower case, for tests on its wording."""
    if isinstance(body, dict):
        return [text for value in body.values() for text in error_texts(value)]
    return [body.lower()] if isinstance(body, str) else []
