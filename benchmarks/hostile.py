"""A server under hostile uploads: its memory, its processes, and what honest clients notice.

``python -m benchmarks.hostile [--seconds S]`` prints what each kind of upload was answered, the
memory of the server and its children over time, and how many good requests were answered and when.

Six clients send, one after the other and without rest: a PNG of 10,000 x 10,000 pixels, a PNG that
inflates to 240 MB, cut files, empty files, text that calls itself a JPEG, SVG, 1,000 parts, a JSON
list of addresses inside this machine, and a body that comes a byte at a time. Two honest clients
score one picture each and look at a page of the gallery meanwhile.
"""

from __future__ import annotations

import argparse
import itertools
import os
import socket
import struct
import tempfile
import threading
import time
import zlib
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil

from benchmarks.serve_score import OURS, make_study, picture, served

ATTACKERS, HONEST = 6, 2
SCORE = "/api/v1/score"


def png(width: int, height: int, body: bytes) -> bytes:
    """A PNG whose pixels are whatever ``body`` inflates to."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        made = struct.pack(">I", len(data)) + kind + data
        return made + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def hostile() -> dict[str, list[bytes]]:
    """Kinds of uploads: the files of one request of each."""
    whole = picture(1)
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    return {
        "10,000 x 10,000 PNG": [png(10_000, 10_000, zlib.compress(bytes(3 * 10**6)))],
        "PNG that inflates to 240 MB": [png(8_900, 8_900, zlib.compress(bytes(240 * 10**6), 9))],
        "cut JPEGs": [whole[: 500 + 2_000 * n] for n in range(20)],
        "empty files": [b""] * 20,
        "text called JPEG": [b"not a picture " * 1000],
        "SVG": [svg],
        "1,000 parts": [b"x"] * 1000,
        "30 MB of noise": [os.urandom(30 * 10**6)],
    }


class Course:
    """What happened: answers by kind, waits of honest requests, and memory over time."""

    def __init__(self) -> None:
        self.answers: dict[str, Counter[str]] = {}
        self.waits: dict[str, list[float]] = {"score": [], "page": []}
        self.refused: Counter[int] = Counter()
        self.memory: list[tuple[float, float, int]] = []
        self._lock = threading.Lock()

    def told(self, kind: str, answer: str) -> None:
        with self._lock:
            self.answers.setdefault(kind, Counter())[answer] += 1


def attack(url: str, course: Course, until: float, first: int) -> None:
    """Send every kind in turn, beginning with another one than the other clients."""
    kinds = list(hostile().items())
    with httpx.Client(base_url=url, timeout=60) as client:
        for name, files in itertools.islice(itertools.cycle(kinds), first, None):
            if time.monotonic() > until:
                return
            try:
                sent = [("files", (f"{n}.jpg", one)) for n, one in enumerate(files)]
                answer = client.post(SCORE, files=sent)
                errors = {str(one["error"]) for one in answer.json().get("items", [])}
                course.told(name, f"{answer.status_code} {', '.join(sorted(errors))}".strip())
            except httpx.HTTPError as error:
                course.told(name, type(error).__name__)
            address = {"urls": ["http://169.254.169.254/latest", "file:///etc/passwd"]}
            answer = client.post(SCORE, json=address)
            course.told("addresses inside", str(answer.status_code))


def drip(url: str, course: Course, until: float) -> None:
    """A body that comes a byte at a time."""
    place = urlsplit(url)
    while time.monotonic() < until:
        with socket.create_connection((place.hostname, place.port), timeout=60) as slow:
            head = f"POST {SCORE} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 9999999\r\n"
            part = 'Content-Disposition: form-data; name="files"; filename="a.jpg"'
            body = f"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n{part}\r\n\r\n"
            slow.sendall(f"{head}{body}".encode())
            slow.settimeout(0.5)
            answer = b""
            while not answer and time.monotonic() < until:
                try:
                    slow.sendall(b"-")
                    answer = slow.recv(100)
                except TimeoutError:
                    continue
                except OSError:
                    break
            course.told("a byte at a time", answer[9:12].decode() or "still open at the end")


def honest(url: str, course: Course, until: float, seed: int) -> None:
    """Score a good picture and look at the first page, as a person would."""
    data = picture(seed)
    with httpx.Client(base_url=url, timeout=60) as client:
        while time.monotonic() < until:
            for name in ("score", "page"):
                started = time.perf_counter()
                if name == "score":
                    answer = client.post(SCORE, files=[("files", ("good.jpg", data))])
                    good = answer.is_success and answer.json()["items"][0]["error"] is None
                else:
                    answer = client.get("/api/v1/rankings?limit=60")
                    good = answer.is_success
                if good:
                    course.waits[name].append(time.perf_counter() - started)
                else:
                    course.refused[answer.status_code] += 1
            time.sleep(0.2)


def watch(process: psutil.Process, course: Course, until: float) -> None:
    """Private memory of the server and its children, every two seconds."""
    began = time.monotonic()
    while time.monotonic() < until:
        total = 0
        family = [process, *process.children(recursive=True)]
        for one in family:
            try:
                total += one.memory_full_info().uss
            except psutil.Error:
                continue
        course.memory.append((time.monotonic() - began, total / 1e6, len(family)))
        time.sleep(2)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    given = parser.parse_args()
    course = Course()
    with tempfile.TemporaryDirectory() as folder:
        study = make_study(Path(folder) / "study", 500)
        with served(OURS, str(study.root), "16") as (url, process):
            with httpx.Client(base_url=url, timeout=120) as client:
                while client.post(SCORE, files=[("files", ("a.jpg", picture(0)))]).is_error:
                    time.sleep(1)
            until = time.monotonic() + given.seconds
            work = [
                *(threading.Thread(target=attack, args=(url, course, until, n))
                  for n in range(ATTACKERS)),
                *(threading.Thread(target=honest, args=(url, course, until, n))
                  for n in range(HONEST)),
                threading.Thread(target=drip, args=(url, course, until)),
                threading.Thread(target=watch, args=(process, course, until)),
            ]  # fmt: skip
            for one in work:
                one.start()
            for one in work:
                one.join()
            with httpx.Client(base_url=url, timeout=60) as client:
                alive = client.get("/healthz").status_code
    print(f"load {os.getloadavg()[0]:.1f}; {given.seconds:.0f} s; /healthz afterwards: {alive}\n")
    print("| Sent | Times | Answers |\n|---|---|---|")
    for kind, answers in sorted(course.answers.items()):
        said = "; ".join(f"{answer} ({n})" for answer, n in answers.most_common(4))
        print(f"| {kind} | {answers.total()} | {said} |")
    for name, waits in course.waits.items():
        p50, p95, worst = np.percentile(waits, [50, 95, 100])
        print(f"honest {name}: {len(waits)} answered, p50 {p50:.2f} s, p95 {p95:.2f} s, worst "
              f"{worst:.2f} s")  # fmt: skip
    print(f"honest requests refused: {dict(course.refused)}")
    quarter = max(1, len(course.memory) // 4)
    megabytes = [one[1] for one in course.memory]
    print(f"private memory: median of the first quarter {np.median(megabytes[:quarter]):.0f} MB, "
          f"of the last {np.median(megabytes[-quarter:]):.0f} MB, most {max(megabytes):.0f} MB; "
          f"processes {course.memory[0][2]} to {course.memory[-1][2]}")  # fmt: skip


if __name__ == "__main__":
    main()
