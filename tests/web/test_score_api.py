"""Scoring over REST: equal to ``likewise score``, item by item, within its limits, and unhurt."""

from __future__ import annotations

import concurrent.futures
import http.server
import io
import json
import os
import signal
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psutil
import pytest
from page_server import Running, index_now
from PIL import Image
from scored_study import make_scored

from likewise.study import Study
from training.pictures.thumbnails import picture_bytes
from training.score import score
from web.scoring.limits import Clients, Once
from web.settings import Settings

SCORE = "/api/v1/score"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_scored(tmp_path_factory.mktemp("scored") / "likes")


@pytest.fixture(scope="module")
def running(study: Study) -> Iterator[Running]:
    index_now(study.root)
    running = Running(Settings((study.root,), workers=1, scores_per_minute=100_000))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def pictures(study: Study) -> list[bytes]:
    ids = sorted(study.read("labels", ["picture_id"])["picture_id"].to_pylist())
    found = [data for _, data in picture_bytes(study, ids[:6])]
    png = io.BytesIO()
    Image.effect_noise((300, 260), 90).convert("RGB").save(png, "PNG")
    return [*found, png.getvalue()]


def sent(running: Running, *data: bytes, status: int = 200, **fields: Any) -> Any:
    files = [("files", (f"p{n}.jpg", one)) for n, one in enumerate(data)]
    with running.client() as client:
        answer = client.post(SCORE, files=files, data=fields)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_rest_says_what_the_command_says(
    running: Running, study: Study, pictures: list[bytes]
) -> None:
    expected = score(study, pictures, author="person1", neighbours=2)
    found = sent(running, *pictures, author="person1", neighbours="2")
    assert found["base_rate"] == pytest.approx(expected.base_rate)
    assert found["models"] == ["linear-svc"] and found["study"] == "likes"
    alone = [sent(running, one)["items"][0] for one in pictures]
    for row, item, single in zip(expected, found["items"], alone, strict=True):
        told = row.to_dict()
        [a], [b], [c] = told["opinions"], item["opinions"], single["opinions"]
        for name in ("score", "probability", "low", "high"):
            # None of 8 authors is held out often enough for an interval: both say so.
            wanted = None if a[name] is None else pytest.approx(a[name], abs=1e-6)
            assert b[name] == wanted, name
            assert c[name] == wanted, name  # whatever batch it came in
        for name in ("liked", "unliked"):
            assert [n["picture_id"] for n in item[name]] == [n["picture_id"] for n in told[name]]
        assert item["distance"] == pytest.approx(told["distance"], abs=1e-5)
        assert item["abstained"] == told["abstained"]
        assert item["stands_out"] == list(told["stands_out"])
        assert item["author"]["share"] == told["author"]["share"]
        assert len(item["liked"]) == 2 and len(single["liked"]) == 3


def test_many_clients_at_once_get_their_own_answers(
    running: Running, pictures: list[bytes]
) -> None:
    wanted = [sent(running, one)["items"][0]["opinions"][0]["score"] for one in pictures]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(
                lambda n: sent(running, pictures[n % 7])["items"][0]["opinions"][0]["score"],
                range(28),
            )
        )
    assert found == [pytest.approx(wanted[n % 7], abs=1e-6) for n in range(28)]
    counts = running.app.state.scoring.counts
    assert counts["batches"] < counts["scored"]  # some were scored together


def png_of(width: int, height: int, body: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        made = struct.pack(">I", len(data)) + kind + data
        return made + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


BAD = {
    "huge": (png_of(10_000, 10_000, zlib.compress(bytes(3 * 10**6))), "too_many_pixels"),
    "bomb": (png_of(9_000, 9_000, zlib.compress(bytes(2**20), 9) * 40), None),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", None),
    "zip": (b"PK\x03\x04" + bytes(200), "not_a_picture"),
    "html": (b"<!doctype html><p>hello", "html"),
    "text": (b"x" * 1000, "not_a_picture"),
}


def test_a_bad_picture_costs_the_others_nothing(running: Running, pictures: list[bytes]) -> None:
    bad = [data for data, _ in BAD.values()]
    items = sent(running, pictures[0], *bad, pictures[1][:2000], b"", pictures[1])["items"]
    assert items[0]["error"] is None and items[-1]["error"] is None
    for item, (name, (_, reason)) in zip(items[1:], BAD.items(), strict=False):
        assert item["error"] and item["opinions"] == [], name
        assert reason is None or item["error"] == reason, name
    assert items[-3]["error"] == "truncated" and items[-2]["error"] == "empty"
    assert [item["name"] for item in items] == [f"p{n}.jpg" for n in range(len(items))]


def test_what_cannot_be_asked_is_refused_with_words(
    running: Running, pictures: list[bytes]
) -> None:
    good = pictures[0]
    assert "model" in sent(running, good, status=404, models="none-such")["detail"]
    assert "no author" in sent(running, good, status=422, author="nobody")["detail"]
    assert "neighbours" in sent(running, good, status=422, neighbours="many")["detail"]
    assert "at most 4" in sent(running, good, status=422, models="a,b,c,d,e")["detail"]
    assert sent(running, *[b"x"] * 1000, status=400)["detail"].startswith("Too many files")
    with running.client() as client:
        for content, kind, status in (
            (b"{}", "application/json", 422),
            (b"{" * 100, "application/json", 422),
            (b'{"urls": ["http://x/"], "more": 1}', "application/json", 422),
            (b"x" * 70_000, "application/json", 413),
            (b"x", "text/plain", 415),
            (b"--x\r\n\r\nbroken", "multipart/form-data; boundary=x", 400),
            (b"--x\r\n", "multipart/form-data", 400),
        ):
            answer = client.post(SCORE, content=content, headers={"content-type": kind})
            assert answer.status_code == status, (content[:30], answer.text)
            assert answer.headers["content-type"] == "application/problem+json"


def test_an_idempotency_key_is_one_answer(running: Running, pictures: list[bytes]) -> None:
    def post(key: str, data: bytes) -> httpx.Response:
        with running.client() as client:
            files = [("files", ("a.jpg", data))]
            return client.post(SCORE, files=files, headers={"Idempotency-Key": key})

    before = running.app.state.scoring.counts["scored"]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: post("k1", pictures[2]), range(4)))
    assert {answer.text for answer in answers} == {answers[0].text}
    assert running.app.state.scoring.counts["scored"] == before + 1
    assert post("k1", pictures[3]).status_code == 422
    assert post("k2", pictures[3]).status_code == 200


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(running: Running, pictures: list[bytes]) -> None:
    sent(running, pictures[0])
    [child] = [
        one
        for one in psutil.Process().children()
        if one.status() != psutil.STATUS_ZOMBIE  # other tests' children that nobody waits for
        and any("web.scoring.worker" in word for word in one.cmdline())
    ]
    stop = threading.Event()

    def kill() -> None:
        time.sleep(0.02)
        os.kill(child.pid, signal.SIGKILL)
        stop.set()

    thread = threading.Thread(target=kill)
    thread.start()
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        items = list(pool.map(lambda n: sent(running, pictures[n])["items"][0], range(6)))
    thread.join()
    assert stop.is_set() and not child.is_running()
    assert [item["error"] for item in items] == [None] * 6
    assert running.app.state.scoring.counts["lost"] >= 1


@pytest.fixture
def elsewhere(pictures: list[bytes]) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/inside":
                self.send_response(302)
                self.send_header("Location", "http://169.254.169.254/latest/")
                self.end_headers()
                return
            data = pictures[0] if self.path == "/good.jpg" else b"<!doctype html>"
            self.send_response(200 if self.path != "/none" else 404)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()


def test_addresses_go_through_the_guard(
    running: Running,
    study: Study,
    elsewhere: str,
    pictures: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    urls = [f"{elsewhere}/good.jpg", "file:///etc/passwd", "http://[::1]:1/", "not an address"]
    with running.client() as client:
        refused = client.post(SCORE, json={"urls": urls}).json()["items"]
    assert [item["error"] for item in refused][:3] == [
        "refused_address",
        "refused_scheme",
        "refused_address",
    ]
    assert refused[3]["error"]
    # Where the study allows the host, its pictures are fetched; a redirect inside is not.
    snapshot, config = running.app.state.shelf.get("likes").newest, study.config
    hosts = {"allow_hosts": [elsewhere.removeprefix("http://")]}
    allowed = config.model_copy(update={"download": config.download.model_copy(update=hosts)})
    versions = snapshot.study.versions
    monkeypatch.setattr(snapshot, "study", Study.open(Study(study.root, allowed), at=versions))
    urls = [f"{elsewhere}/{name}" for name in ("good.jpg", "none", "inside", "page")]
    with running.client() as client:
        items = client.post(SCORE, json={"urls": urls}).json()["items"]
    assert [item["error"] for item in items] == [None, "http_404", "refused_address", "html"]
    [one], [other] = items[0]["opinions"], score(study, pictures[0])[0].opinions
    assert one["score"] == pytest.approx(other.score, abs=1e-6)


def test_a_client_has_a_share_and_no_more(
    running: Running, pictures: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(running.app.state._state, "score_clients", Clients(3))
    sent(running, *pictures[:3])
    with running.client() as client:
        answer = client.post(SCORE, files=[("files", ("a", pictures[0]))])
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 61


def test_a_read_only_server_scores(study: Study, run_server: Callable[..., Running]) -> None:
    with run_server(study.root, read_only=True).client() as client:
        answer = client.post(SCORE, files=[("files", ("a", b""))])  # nothing is changed by it
    assert answer.status_code == 200 and answer.json()["items"][0]["error"] == "empty"


def test_a_full_queue_says_when_to_come_again(
    running: Running, pictures: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.scoring.service.QUEUED", 0)
    with running.client() as client:
        answer = client.post(SCORE, files=[("files", ("a", pictures[0]))])
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1


def test_a_slow_body_is_given_up(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.api.score.READING_S", 0.3)
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as slow:
        head = f"POST {SCORE} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n"
        slow.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n".encode())
        assert b" 408 " in slow.recv(200)


def test_the_document_tells_both_kinds_of_bodies(running: Running) -> None:
    with running.client() as client:
        document = client.get("/api/v1/openapi.json").json()
    body = document["paths"][SCORE]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "application/json"}
    assert "$defs" not in json.dumps(body)


def test_a_share_is_counted_by_the_minute() -> None:
    now = [0.0]
    clients = Clients(10, now=lambda: now[0])
    assert clients.wait("a", 8) == 0
    assert 55 < clients.wait("a", 3) < 65
    assert clients.wait("b", 10) == 0
    assert clients.wait("a", 2) == 0
    now[0] = 61.0
    assert clients.wait("a", 10) == 0


async def test_a_failure_is_not_kept() -> None:
    once: Once[int] = Once()
    calls: list[int] = []

    def make(fail: bool) -> Callable[[], Any]:
        async def run() -> int:
            calls.append(1)
            if fail:
                raise ValueError("no")
            return len(calls)

        return run

    with pytest.raises(ValueError, match="no"):
        await once.answer("k", "d", make(True))
    assert await once.answer("k", "d", make(False)) == 2
    assert await once.answer("k", "d", make(False)) == 2
