"""Failures say what they are: cause, mend and exit code, also through the command line."""

from __future__ import annotations

import socket
import sqlite3
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme
from test_bad_input import http
from test_chain_ends import once
from test_dialects import MASTODON
from test_other_platforms import in_thread

from collectors.crawling.journal import Journal
from collectors.crawling.journal.trouble import explained
from likewise.cli import run
from likewise.errors import StudyError

Command = Callable[[Path], str]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """What ``likewise collect STUDY`` says on standard error; its exit code must be 3."""

    def collect(study: Path) -> str:
        code = run(["collect", str(study)])
        said = " ".join(capsys.readouterr().err.split())
        assert code == 3, said
        assert "Traceback" not in said and "a bug" not in said
        return said

    return collect


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def test_nothing_listens(tmp_path: Path, closed_port: int, command: Command) -> None:
    once(tmp_path, f"http://127.0.0.1:{closed_port}", "mastodon", tags=["x"])
    said = command(tmp_path)
    assert "refused" in said and "nothing listens there" in said


def test_a_name_that_is_not_known(tmp_path: Path, command: Command) -> None:
    once(tmp_path, "https://no-such-server.invalid", "mastodon", tags=["x"])
    said = command(tmp_path)
    assert "no-such-server.invalid" in said and "dns" in said and "name server" in said


@pytest.fixture
def untrusted() -> Iterator[str]:
    class Silent(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    class Quiet(HTTPServer):
        def handle_error(self, *_: object) -> None: ...

    server = Quiet(("127.0.0.1", 0), Silent)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_certificate_that_nobody_knows(tmp_path: Path, untrusted: str, command: Command) -> None:
    once(tmp_path, untrusted, "mastodon", tags=["x"])
    said = command(tmp_path)
    assert "certificate" in said and "(TLS)" in said


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http(b"", status="308 X", Location="https://new.example/api/v2/instance?token=hush"),
         ["http_308", "https://new.example/api/v2/instance", "points to"]),
        (http({"error": "You are not welcome"}, status="403 X"),
         ["You are not welcome", "ask its operators"]),
        (http(b"<html>Attention required</html>", status="403 X", Content_Type="text/html"),
         ["http_403", "ask its operators"]),
        (http(b"oops", status="500 X"), ["http_500", "out of order"]),
        (http(b"<!doctype html>maintenance", Content_Type="text/html"),
         ["html", "stands before the server"]),
    ],
    ids=["308", "403 in words", "403 of a firewall", "500", "html"],
)  # fmt: skip
def test_the_instance_page_that_refuses(
    tmp_path: Path, answer: bytes, words: list[str], command: Command
) -> None:
    with in_thread(lambda *_: answer) as server:  # type: ignore[attr-defined]
        once(tmp_path, server.url, "mastodon", tags=["x"])
        said = command(tmp_path)
    assert all(word in said for word in words), said
    assert "hush" not in said


def test_one_server_that_is_down_does_not_stop_another(
    tmp_path: Path, closed_port: int, command: Command
) -> None:
    from likewise.config import render
    from likewise.study import Study

    def script(path: str, headers: dict[str, str]) -> bytes:
        return http(MASTODON if "/instance" in path else [])

    with in_thread(script) as server:  # type: ignore[attr-defined]
        common = {"platform": "mastodon", "permission": "p", "tags": ["x"]}
        hosts = [f"http://127.0.0.1:{closed_port}", server.url]
        section = {"sources": [{**common, "host": h} for h in hosts], "max_attempts": 1}
        (tmp_path / "likewise.toml").write_text(render({"collect": section}))
        said = command(tmp_path)
        assert any("timelines" in path for path in server.asked)
    assert f"127.0.0.1:{closed_port}" in said
    assert Study.open(tmp_path).manifest("posts") is not None


# -- the disk and the journal -----------------------------------------------------------------


def test_a_full_disk_is_no_damaged_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with Journal(path) as journal:
        pages = journal.db.execute("PRAGMA page_count").fetchone()[0]
        journal.db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(sqlite3.OperationalError) as caught:
            journal.db.execute("INSERT INTO meta VALUES ('x', ?)", ("y" * 100_000,))
        told = explained(path, caught.value)
    assert isinstance(told, StudyError)
    assert "disk is full" in str(told) and "free some space" in (told.hint or "")
    assert "move the file away" not in (told.hint or "")


async def test_a_disk_that_fills_up_while_writing_is_told(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.sqlite") as journal:
        pages = journal.db.execute("PRAGMA page_count").fetchone()[0]
        journal.db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StudyError, match="disk is full"):
            await journal.run(journal.set_meta, "x", "y" * 100_000)


async def test_a_damaged_journal_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with Journal(path) as journal:
        for number in range(300):
            journal.set_meta(str(number), "y" * 300)
    raw = bytearray(path.read_bytes())
    raw[4096:] = b"\xff" * (len(raw) - 4096)
    path.write_bytes(raw)
    with pytest.raises(StudyError, match="damaged") as caught, Journal(path) as journal:
        await journal.run(journal.set_meta, "150", "z")
    assert "move it away to start the crawl anew" in (caught.value.hint or "")


def test_a_journal_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot be opened") as caught:
        Journal(tmp_path / "none" / "journal.sqlite")
    assert "move the file away" not in (caught.value.hint or "")


def test_journals_of_earlier_versions_get_what_they_lack(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    db = sqlite3.connect(path)
    db.execute(
        "CREATE TABLE chains (id INTEGER PRIMARY KEY, platform TEXT NOT NULL, host TEXT NOT NULL, "
        "kind TEXT NOT NULL, value TEXT NOT NULL, lo INTEGER, hi INTEGER, cursor TEXT, "
        "state TEXT NOT NULL DEFAULT 'open', reason TEXT, pages INTEGER NOT NULL DEFAULT 0, "
        "mark TEXT, steps INTEGER NOT NULL DEFAULT 0, span INTEGER NOT NULL DEFAULT 1, "
        "fresh INTEGER NOT NULL DEFAULT 0)"
    )
    db.execute("INSERT INTO chains (platform, host, kind, value) VALUES ('m', 'h', 'tag', 'x')")
    db.commit()
    db.close()
    with Journal(path) as journal:
        [row] = journal.db.execute("SELECT told, seen, lost FROM chains").fetchall()
    assert row == (None, 0, "")
