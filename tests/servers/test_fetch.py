"""One request against servers that misbehave: a named reason for each, within the time limit."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import given
from hypothesis import strategies as st
from misbehaving import Misbehaving, picture

from collectors.downloading.address import as_given, joined
from collectors.downloading.fetch import RETRYABLE, Answer, Limits, open_fetcher
from collectors.downloading.guard import AddressGuard
from collectors.downloading.response_headers import declined, seconds_to_wait

LIMITS = Limits(timeout_s=1.0, max_bytes=300_000)


@pytest.fixture(autouse=True)
def nothing_blocks() -> Iterator[BlockBuster]:
    with blockbuster_ctx() as watcher:
        yield watcher


async def ask(url: str, guard: AddressGuard | None = None, **options: Any) -> Answer:
    guard = guard or AddressGuard(["127.0.0.1"])
    async with open_fetcher(options.pop("limits", LIMITS), guard, **options) as fetcher:
        return await fetcher.fetch(url)


async def test_whole_file(server: Misbehaving) -> None:
    answer = await ask(server.url("/ok/5"))
    assert answer == Answer(None, 200, picture(5))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/status/404", "http_404"),
        ("/status/403", "http_403"),
        ("/status/500", "http_500"),
        ("/status/520", "http_520"),
        ("/status/206", "http_206"),
        ("/drip", "timeout"),
        ("/hold", "timeout"),
        ("/reset", "cut_short"),
        ("/close", "reset"),
        ("/longer", "cut_short"),
        ("/garbage", "bad_http"),
        ("/headers", "bad_http"),
        ("/gzip", "content_encoding"),
        ("/endless", "too_large"),
        ("/large", "too_large"),
        ("/loop", "redirect_loop"),
        ("/deeper/x", "redirect_loop"),
        ("/never", "http_429"),
    ],
)
async def test_named_reason(server: Misbehaving, path: str, reason: str) -> None:
    started = time.monotonic()
    answer = await ask(server.url(path))
    assert answer.error_class == reason
    assert answer.body == b""
    assert time.monotonic() - started < 5


async def test_wrong_type_does_not_matter(server: Misbehaving) -> None:
    assert (await ask(server.url("/text"))).body == picture(6)


async def test_closed_port_and_unknown_name() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert (await ask(f"http://127.0.0.1:{port}/")).error_class == "connect"
    assert (await ask("http://nobody.invalid/", resolver=Answers([]))).error_class == "dns"


@pytest.mark.parametrize("url", ["", "nonsense", "http://", "http://[::1", "//x"])
async def test_addresses_that_are_none(url: str) -> None:
    assert (await ask(url)).error_class in {"bad_url", "refused_scheme"}


async def test_untrusted_certificate(tls_server: Misbehaving) -> None:
    assert (await ask(tls_server.url("/ok/1"))).error_class == "tls"


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("noai", "robots_noai"),
        ("noindex, noimageai", "robots_noimageai"),
        ("likewise: noindex", "robots_noindex"),
        ("otherbot: noai", None),
        ("all", None),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST", None),
        ("noindex, unavailable_after: 25 Jun 2010 15:00:00 PST", "robots_noindex"),
        ("unavailable_after: Friday, 25 Jun 2010 15:00:00 PST, noai", "robots_noai"),
        ("max-image-preview: none", None),
        ("max-image-preview:large, max-snippet:-1, NoAI", "robots_noai"),
        ("googlebot: nofollow, noai", "robots_noai"),
        ("otherbot: noindex, nofollow", None),
        ("otherbot: noindex, likewise: noimageindex", "robots_noimageindex"),
        ("otherbot: noarchive, *: none", "robots_none"),
        ("likewise/1.0: noai", "robots_noai"),
        ("noarchive; noimageai", "robots_noimageai"),
        ("noarchive noai", "robots_noai"),
        ("noairplanes, indexnone, noindexing", None),
        (",, :,", None),
    ],
)
async def test_robots_tag(server: Misbehaving, tag: str, reason: str | None) -> None:
    answer = await ask(server.url(f"/robots?{quote(tag)}"))
    assert answer.error_class == reason
    assert answer.manners is (reason is not None)
    assert bool(answer.body) is (reason is None)


async def test_one_connection_serves_many(server: Misbehaving) -> None:
    async with open_fetcher(LIMITS, AddressGuard(["127.0.0.1"])) as fetcher:
        for number in range(5):
            assert (await fetcher.fetch(server.url(f"/ok/{number}"))).error_class is None
    assert len({seen.headers["host"] for seen in server.seen}) == 1
    assert {seen.headers["accept-encoding"] for seen in server.seen} == {"identity"}
    assert all(seen.headers["user-agent"].startswith("likewise/") for seen in server.seen)


async def test_several_lines_of_a_header_are_one_list(server: Misbehaving) -> None:
    tags = quote("otherbot: noindex\r\nX-Robots-Tag: noarchive, noai")
    assert (await ask(server.url(f"/robots?{tags}"))).error_class == "robots_noai"


@pytest.mark.parametrize(
    ("coding", "reason"),
    [
        ("identity", None),
        ("", None),
        ("none", None),
        ("UTF-8", None),
        ("aws-chunked", None),
        ("binary, identity", None),
        ("gzip", "content_encoding"),
        ("X-GZIP", "content_encoding"),
        ("identity, br", "content_encoding"),
    ],
)
async def test_codings_that_change_nothing(
    server: Misbehaving, coding: str, reason: str | None
) -> None:
    assert (await ask(server.url(f"/coded?{quote(coding)}"))).error_class == reason


def test_gateway_troubles_may_pass() -> None:
    assert {f"http_{status}" for status in range(520, 531)} <= RETRYABLE


# -- the wait that a server asks for ----------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("\u00b2", None),
        ("\u0661\u0662", None),
        ("1e3", None),
        ("-5", None),
        ("1.5", None),
        ("9" * 400, float("inf")),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 9999 07:28:00 -2359", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    got = seconds_to_wait(value)
    assert got == seconds or (seconds is None and value is not None and "9999" in value)


@given(st.one_of(st.text(), st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ [\d:]+ .{0,6}")))
def test_any_retry_after_is_a_wait_or_nothing(value: str) -> None:
    got = seconds_to_wait(value)
    assert got is None or got >= 0


@given(st.text(alphabet="noaindexmg,:;* -_", max_size=40), st.text(alphabet="abc, :;", max_size=9))
def test_a_wish_counts_wherever_it_stands(before: str, after: str) -> None:
    """Whatever stands around it, unless the name of another agent stands right before it."""
    assert declined([f"{before}, noai, {after}"]) is not None
    assert declined([before, "noai", after]) is not None


# -- addresses on the wire --------------------------------------------------------------------

AS_GIVEN = [
    "/same/%7Ex/a%2Fb?sig=%2B%2f%2F==&x=+%20",
    "/same/~x/(1)!$'*,;:@&=",
    "/same/..%2F../a/./b//c?q",
    '/same/[1]|{2}^`?q=[]{}|<>"\\',
    "/same/%zz%?%",
    "/same?url=http://b.example/?x%3Dy",
]


@pytest.mark.parametrize("path", AS_GIVEN)
async def test_addresses_go_over_the_wire_as_given(server: Misbehaving, path: str) -> None:
    assert (await ask(server.url(path) + "#part")).error_class is None
    assert server.seen[-1].path == path
    for place in (server.url(path), path):
        through = server.url(f"/to?url={quote(place, safe='')}")
        assert (await ask(through)).error_class is None
        assert server.seen[-1].path == path


@given(
    st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"))
)
def test_printable_paths_are_never_rewritten(path: str) -> None:
    url = as_given(f"http://a.example/{path}")
    assert url.raw_path_qs == f"/{path}" or path.endswith("?")
    assert str(joined(url, "http://b.example:81/" + path)) == "http://b.example:81/" + path


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_none(text: str) -> None:
    for address in (text, f"http://a.example/{text}", f"http://{text}/"):
        with contextlib.suppress(ValueError):
            line = as_given(address).raw_path_qs
            assert line.isascii() and not set(line) & set(" \r\n\t\0")


async def test_what_cannot_be_sent_is_percent_encoded(server: Misbehaving) -> None:
    await ask(server.url("/same/\u00fc a\x07?q=\u65e5 "))
    assert server.seen[-1].path == "/same/%C3%BC%20a%07?q=%E6%97%A5"
    await ask(server.url("/same/a\r\nX-Evil:%201"))
    assert server.seen[-1].path == "/same/aX-Evil:%201"
    assert as_given("http://B\u00dcCHER.example?x=1").host == "b\u00fccher.example"
    assert str(as_given("http://B\u00dcCHER.example?x=1")) == "http://xn--bcher-kva.example/?x=1"


async def test_the_host_behind_a_redirect_is_named(server: Misbehaving) -> None:
    there = f"http://localhost:{server.port}"
    guard = AddressGuard(["127.0.0.1", "localhost"])
    answer = await ask(server.url(f"/to?url={there}/never"), guard)
    assert (answer.error_class, answer.host, answer.retry_after) == ("http_429", "localhost", 0.0)
    answer = await ask(server.url(f"/to?url={there}/hold"), guard)
    assert (answer.error_class, answer.host) == ("timeout", "localhost")


# -- the guard ----------------------------------------------------------------------------

INSIDE = [
    "http://10.0.0.1/",
    "http://192.168.1.1/admin",
    "http://172.16.0.9:8080/",
    "http://127.0.0.2/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f.0.0.1/",
    "http://0/",
    "http://localhost/",
    "http://LOCALHOST./",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[fe80::1]/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://169.254.169.254/latest/meta-data/",
    "http://168.63.129.16/machine",
    "http://100.100.100.200/latest",
    "http://192.0.0.192/opc/v2/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://metadata.google.internal/",
]
OTHER = ["file:///etc/passwd", "ftp://example.org/x", "gopher://x/", "data:image/png;base64,AAAA"]


class Recording(AddressGuard):
    """Notes what would be connected to; only the test's own server is really reached."""

    def __init__(self, server: Misbehaving, *, broken: bool = False) -> None:
        super().__init__([f"127.0.0.1:{server.port}"])
        self.mine = ("127.0.0.1", server.port)
        self.broken = broken
        self.opened: list[tuple[str, int]] = []

    def check_url(self, url: Any) -> None:
        if not self.broken:
            super().check_url(url)

    def check_answer(self, host: str, port: int, addresses: Any) -> None:
        if not self.broken:
            super().check_answer(host, port, addresses)

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        self.opened.append(info[4][:2])
        if info[4][:2] == self.mine:
            return socket.socket(*info[:3])
        if not self.broken:
            super().open_socket(info).close()
        raise OSError("recorded, not connected")


class Answers(AbstractResolver):
    """A resolver that gives one list of addresses after another; the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not addresses:
            raise OSError("no such host")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None: ...


@pytest.mark.parametrize("url", INSIDE + OTHER)
async def test_inside_addresses_are_refused(server: Misbehaving, url: str) -> None:
    guard = Recording(server)
    names = {"http://metadata.google.internal/": ["169.254.169.254"]}
    resolver = Answers(names.get(url, ["127.0.0.1"]))
    direct = await ask(url, guard, resolver=resolver)
    through = await ask(server.url(f"/to?url={quote(url)}"), guard, resolver=resolver)
    for answer in (direct, through):
        assert answer.error_class in {"refused_address", "refused_scheme", "bad_url"}
    assert set(guard.opened) <= {guard.mine}


async def test_recorder_sees_what_a_broken_guard_lets_through(server: Misbehaving) -> None:
    guard = Recording(server, broken=True)
    answer = await ask(server.url("/to?url=http://169.254.169.254/latest"), guard)
    assert answer.error_class == "connect"
    assert guard.opened[-1] == ("169.254.169.254", 80)


async def test_rebinding_between_two_answers(server: Misbehaving) -> None:
    guard = Recording(server)
    resolver = Answers(["93.184.215.14"], ["127.0.0.1"])
    url = f"http://rebind.example:{server.port}/ok/1"
    reasons = [(await ask(url, guard, resolver=resolver)).error_class for _ in range(2)]
    assert reasons[1] == "refused_address"
    assert guard.opened == [("93.184.215.14", server.port)]


async def test_one_bad_address_among_good_ones_refuses_the_host(server: Misbehaving) -> None:
    guard = Recording(server)
    resolver = Answers(["93.184.215.14", "10.0.0.1"])
    answer = await ask("http://mixed.example/", guard, resolver=resolver)
    assert answer.error_class == "refused_address"
    assert guard.opened == []


async def test_the_socket_is_checked_although_the_answers_were_not(server: Misbehaving) -> None:
    class Careless(Recording):
        def check_answer(self, host: str, port: int, addresses: Any) -> None: ...

    guard = Careless(server)
    answer = await ask("http://inside.example/", guard, resolver=Answers(["10.1.2.3"]))
    assert answer.error_class == "refused_address"


async def test_allowed_port_only(server: Misbehaving) -> None:
    guard = Recording(server)
    assert (await ask(server.url("/ok/1"), guard)).error_class is None
    assert (await ask("http://127.0.0.1:9/", guard)).error_class == "refused_address"


async def test_user_names_in_addresses_are_refused(server: Misbehaving) -> None:
    url = server.url("/ok/1").replace("//", "//me:secret@")
    assert (await ask(url)).error_class == "bad_url"
    assert not server.seen


async def test_cancelling_is_not_swallowed(server: Misbehaving) -> None:
    task = asyncio.create_task(ask(server.url("/hold")))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
