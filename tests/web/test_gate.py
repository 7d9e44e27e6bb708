"""Who is let in, and what every answer carries."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from page_server import PASSWORD, Running

from likewise.errors import UsageError
from likewise.study import Study
from web.security import passwords
from web.settings import Settings


def token_of(page: str) -> str:
    found = re.search(r'name="csrf" content="(\w+)"', page)
    assert found
    return found[1]


def test_the_first_page_shows_the_study_and_carries_its_armour(server: Running) -> None:
    with server.client() as client:
        answer = client.get("/")
    assert answer.status_code == 200
    assert "Test study" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert re.search(r"<[^>]+ style=|<style|<script(?![^>]+src=)", answer.text) is None


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::1"])
def test_another_host_is_refused(server: Running, host: str) -> None:
    with server.client() as client:
        answer = client.get("/", headers={"Host": host})
    assert answer.status_code in {400, 403}
    assert "Test study" not in answer.text


def test_another_site_changes_nothing(server: Running) -> None:
    with server.client() as client:
        page = client.get("/", headers={"Accept": "text/html"})
        token = token_of(page.text)
        right = {"X-CSRF-Token": token}
        assert client.post("/logout").status_code == 403
        assert client.post("/logout", headers={"X-CSRF-Token": "0" * 32}).status_code == 403
        foreign = {**right, "Origin": "https://evil.example"}
        assert client.post("/logout", headers=foreign).status_code == 403
        foreign = {**right, "Sec-Fetch-Site": "cross-site"}
        assert client.post("/logout", headers=foreign).status_code == 403
        assert client.post("/logout", headers={**right, "Origin": server.url}).status_code == 303


def test_another_address_needs_a_password_or_a_token(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="password or a token"):
        Settings((tmp_path,), host="0.0.0.0")
    Settings((tmp_path,), host="0.0.0.0", token="t" * 20)


def test_only_people_of_the_file_come_in(
    ranked_study: Study, run_server: Callable[..., Running], tmp_path: Path
) -> None:
    file = tmp_path / "people"
    passwords.add(file, "ada", PASSWORD)
    assert file.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in file.read_text()
    running = run_server(ranked_study.root, passwords=file, token="secret-token")
    with running.client() as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/metrics").status_code == 401
        assert client.get("/api/v1/snapshot").status_code == 401
        page = client.get("/", headers={"Accept": "text/html"})
        assert page.status_code == 303 and page.headers["location"] == "/login"
        form = client.get("/login", headers={"Accept": "text/html"})
        wrong = {"csrf": token_of(form.text), "name": "ada", "password": "guess guess"}
        assert client.post("/login", data=wrong).status_code == 401
        right = {**wrong, "password": PASSWORD}
        assert client.post("/login", data={**right, "csrf": "x"}).status_code == 403
        before = client.cookies["likewise"]
        assert client.post("/login", data=right).status_code == 303
        assert client.cookies["likewise"] != before
        assert "ada" in client.get("/").text
    with running.client(headers={"Authorization": "Bearer secret-token"}) as program:
        assert program.get("/api/v1/snapshot").json()["study"] == "likes"
    with running.client(headers={"Authorization": "Bearer wrong"}) as program:
        assert program.get("/api/v1/snapshot").status_code == 401


def test_a_forged_session_is_none(ranked_study: Study, run_server: Callable[..., Running]) -> None:
    running = run_server(ranked_study.root, token="secret-token")
    with running.client(cookies={"likewise": "eyJpZCI6IngifQ.x.y"}) as client:
        assert client.get("/api/v1/snapshot").status_code == 401


def test_a_read_only_server_takes_nothing(
    ranked_study: Study, run_server: Callable[..., Running]
) -> None:
    running = run_server(ranked_study.root, read_only=True)
    with running.client() as client:
        answer = client.post("/api/v1/reviews", json={})
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_that_is_too_long_is_refused(server: Running) -> None:
    with server.client() as client:
        assert client.post("/login", content=b"x" * (2 << 20)).status_code == 413

        form = {"Content-Type": "application/x-www-form-urlencoded"}

        def drops() -> object:
            for _ in range(40):
                yield b"x" * (64 << 10)

        assert client.post("/login", content=drops(), headers=form).status_code == 413


def test_who_leaves_during_an_upload_is_no_bug(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    head = f"POST /api/v1/score HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n"
    kind = "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as leaving:
        leaving.sendall(f"{head}{kind}".encode())
    with server.client() as client:
        until = time.monotonic() + 20
        while 'status="499"' not in client.get("/metrics").text:
            assert time.monotonic() < until
            time.sleep(0.05)
    assert not [one for one in caplog.records if one.name == "likewise.web"]


def test_what_is_not_there_is_a_problem_for_programs_and_a_page_for_people(
    server: Running,
) -> None:
    with server.client() as client:
        program = client.get("/api/v1/nothing")
        assert program.status_code == 404 and program.json()["status"] == 404
        person = client.get("/nothing", headers={"Accept": "text/html"})
        assert person.status_code == 404 and "To the overview" in person.text
