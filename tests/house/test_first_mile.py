"""The first mile: init refuses what collecting would, doctor names why a server is not reached."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme

import likewise
from likewise.cli import run
from likewise.config import load, parse, render

HOST = ["--host", "https://pixelfed.example"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--platform", "mastodonn", *HOST, "--tag", "x"], "did you mean 'mastodon'"),
        (["--platform", "friendster"], "there is no platform 'friendster'"),
        (["--host", "ftp://pixelfed.example", "--tag", "x"], "is no server"),
        (["--host", "https://", "--tag", "x"], "is no server"),
        (["--host", "https://pixelfed.example:port", "--tag", "x"], "Port"),
        (["--host", "https://pixelfed.example/about", "--tag", "x"], "a server's name alone"),
        (["--host", "my server", "--tag", "x"], "a server's name alone"),
        ([*HOST, "--tag", "two words"], "expected one word"),
        ([*HOST, "--tag", "#"], "expected one word"),
        ([*HOST, "--account", "https://pixelfed.example/me"], "expected one word"),
        (["--tag", "x"], "without --host"),
        (["--host", "mastodon.social", "--tag", "x", "--permission", "me"], "terms"),
    ],
)
def test_init_refuses_what_collecting_would_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    study = tmp_path / "mine"
    assert run(["init", str(study), *options]) == 2
    assert words in capsys.readouterr().err
    assert not study.exists()


@pytest.mark.parametrize("options", [[], [*HOST, "--tag", "me"], ["--platform", "bluesky"]])
def test_the_file_always_shows_an_example_source(tmp_path: Path, options: list[str]) -> None:
    assert run(["init", str(tmp_path / "mine"), *options]) == 0
    text = (tmp_path / "mine" / "likewise.toml").read_text(encoding="utf-8")
    example = text[text.index("## [[collect.sources]]") :].split("\n\n")[0]
    live = parse("\n".join(line.removeprefix("## ") for line in example.splitlines()))
    assert live.collect.sources[0].permission


def test_a_platform_of_one_server_needs_no_host(tmp_path: Path) -> None:
    from collectors import platforms

    found = {name: platforms.get(name).usual_host for name in platforms.NAMES}
    usual = {name: host for name, host in found.items() if host}
    assert usual
    for name, host in usual.items():
        made = likewise.init(tmp_path / name, values=None)
        assert run(["init", str(tmp_path / f"{name}2"), "--platform", name, "--tag", "x"]) == 0
        assert load(tmp_path / f"{name}2" / "likewise.toml").collect.sources[0].host == host
        assert made.config.collect.sources == []


class Answers(BaseHTTPRequestHandler):
    status, headers_more = 200, {"X": "y"}

    def do_GET(self) -> None:
        self.send_response(self.status)
        for name, value in self.headers_more.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server on loopback: a status to answer with, or ``untrusted`` or ``plain`` TLS."""
    kind = request.param
    handler = type("H", (Answers,), {})
    if isinstance(kind, int):
        handler.status = kind
        handler.headers_more = {"Location": "https://new.example/"} if kind == 308 else {}
    httpd = HTTPServer(("127.0.0.1", 0), handler)
    scheme = "http"
    if kind == "untrusted":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
        httpd.handle_error = lambda *_: None  # type: ignore[method-assign]
    if kind in {"untrusted", "plain"}:
        scheme = "https"
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"{scheme}://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def server_check(tmp_path: Path, host: str) -> likewise.checkup.Check:
    source = {"platform": "mastodon", "host": host, "tags": ["x"], "permission": "mine"}
    study = tmp_path / "study"
    study.mkdir()
    (study / "likewise.toml").write_text(render({"collect": {"sources": [source]}}), "utf-8")
    (found,) = [check for check in likewise.doctor(study) if check.name == "server"]
    return found


@pytest.mark.parametrize(
    ("server", "state", "words", "mend"),
    [
        (200, "ok", "answers", ""),
        (308, "warning", "has moved", "https://new.example/"),
        (401, "warning", "wants a login", "likewise auth add mastodon --host http://127.0.0.1:"),
        (503, "warning", "has trouble", "later"),
        ("untrusted", "broken", "certificate is not valid (TLS)", "SSL_CERT_FILE"),
        ("plain", "broken", "does not speak TLS", "http://"),
    ],
    indirect=["server"],
)
def test_doctor_says_what_a_server_answers(
    tmp_path: Path, server: str, state: str, words: str, mend: str
) -> None:
    found = server_check(tmp_path, server)
    assert (found.state, words in found.detail, mend in found.mend) == (state, True, True), found


def test_doctor_tells_a_refusal_from_a_name_that_is_nowhere(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    refused = server_check(tmp_path / "one", f"http://127.0.0.1:{port}")
    assert refused.state == "broken" and "connection refused" in refused.detail
    nowhere = server_check(tmp_path / "two", "https://nowhere.invalid")
    assert nowhere.state == "broken" and "DNS" in nowhere.detail and "spelling" in nowhere.mend
