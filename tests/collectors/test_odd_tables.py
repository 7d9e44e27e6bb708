"""Odd values from the server to the tables: what is strange but true arrives unharmed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from test_bad_input import Free, http, status
from test_other_platforms import in_thread, study_of

from collectors.budgets.pool import Clock
from collectors.collect import collect_from

CAPTIONS = {
    "quotes": "she said \"no\" \\ and 'yes'",
    "lines": "one\ntwo\n\nthree",
    "separators": "a\u2028b\u2029c",
    "emoji": "\U0001f469\u200d\U0001f52c \U0001f1eb\U0001f1f7 e\u0301",
    "rtl": "שלום مرحبا",
    "json": '{"likes": -1}\n[null]',
    "word": "null",
    "number": "1e309",
    "time": "2026-01-02T03:04:05Z",
}
IDS = ("99999999999999999991", "00017", "18446744073709551616")
LARGEST = 2**63 - 1


def test_strange_but_true_values_arrive_in_the_tables(tmp_path: Path) -> None:
    posts = [status(name, content=text) for name, text in CAPTIONS.items()]
    posts += [status(number, favourites_count=LARGEST) for number in IDS]

    def script(path: str, headers: dict[str, str]) -> bytes:
        return http(posts if "timelines" in path and "max_id" not in path else [])

    with in_thread(script) as server:  # type: ignore[attr-defined]
        study = study_of(
            tmp_path, platform="mastodon", host=server.url, tags=["x"], permission="a test"
        )
        collect_from(study, [Free(source) for source in study.config.collect.sources])
    rows = {row["post_id"]: row for row in study.read("posts").to_pylist()}
    assert {name: rows[name]["text"] for name in CAPTIONS} == CAPTIONS
    assert {number: rows[number]["likes"] for number in IDS} == dict.fromkeys(IDS, LARGEST)
    assert len(rows) == len(posts)


@pytest.mark.parametrize("jump", [-1e9, -3600.0, 3600.0, 1e9])
def test_our_clock_does_not_jump_within_a_run(jump: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    before, wall = clock(), time.time()
    monkeypatch.setattr(time, "time", lambda: wall + jump)
    assert 0 <= clock() - before < 60
