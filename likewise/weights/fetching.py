"""Fetch a registered file from its official address: resumable, checked before it is used."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from likewise.errors import WeightsError
from likewise.progress import Bar, progress
from likewise.weights.cache import at_hand, cache_folder, check, check_cached, missing
from likewise.weights.known import WeightsFile, entry

__all__ = ["fetch_file", "find"]

CHUNK = 1 << 20
TIMEOUT_S = 30.0


def find(name: str, *, fetch: bool = True) -> Path:
    """Path of a registered file whose hash was checked; fetched when it is not on this machine.

    Raises:
        UsageError: unknown name.
        WeightsError: the file is damaged, or is not here and cannot be fetched; the error says
            where to get it, where to put it, and which backbone needs no download.
    """
    known = entry(name)
    path = at_hand(name)
    if path is None:
        if known.url is None or not fetch:
            raise missing(known)
        return fetch_file(known)
    check_cached(known, path)
    return path


def fetch_file(known: WeightsFile, folder: Path | None = None) -> Path:
    """Download ``known`` into ``folder`` (the cache) and return its path.

    What an interrupted run left in ``FILE.part`` is gone on with. The file gets its name only
    when its hash is right.

    Raises:
        WeightsError: the address does not answer, or what came is another file.
    """
    target = (folder or cache_folder()) / known.file
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    try:
        _download(known, part)
    except (urllib.error.URLError, OSError) as error:
        raise missing(known, f"{known.url}: {error}") from error
    try:
        check(part, known)
    except WeightsError:
        part.unlink()
        raise
    os.replace(part, target)
    return target


def _download(known: WeightsFile, part: Path) -> None:
    assert known.url is not None
    if not known.url.startswith(("https://", "http://")):
        raise OSError(f"not an http address: {known.url}")
    start = part.stat().st_size if part.exists() else 0
    if known.size and start >= known.size:
        return
    headers = {"User-Agent": "likewise", **({"Range": f"bytes={start}-"} if start else {})}
    request = urllib.request.Request(known.url, headers=headers)  # noqa: S310 - checked above
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # the part is as long as the file: the hash decides
            return
        raise
    with answer:
        resumed = answer.status == 206
        total = int(answer.headers.get("Content-Length") or 0) + (start if resumed else 0)
        with part.open("ab" if resumed else "wb") as file, progress(known.file, total) as bar:
            done = _copy(answer, file, bar, start if resumed else 0)
    if done < total:
        raise OSError(f"closed after {done:,} of {total:,} bytes; run it again to go on from there")


def _copy(answer: IO[bytes], file: IO[bytes], bar: Bar, done: int) -> int:
    while chunk := answer.read(CHUNK):
        file.write(chunk)
        done += len(chunk)
        bar.update(done)
    return done
