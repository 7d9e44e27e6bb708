"""Bodies with raw control characters are read and counted; XML that declares things is refused."""

from __future__ import annotations

import json
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_bad_input import http, status
from test_chain_ends import PlainFlickr, gather, once
from test_dialects import counters, free
from test_other_platforms import in_thread

from collectors.platforms.base import Outcome, decode_json
from collectors.platforms.flickr import Flickr
from collectors.platforms.mastodon import Mastodon
from likewise.config import Source

CONTROLS = [chr(n) for n in range(32)]
FLICKR = Flickr(Source(platform="flickr", host="https://api.flickr.com"))


@pytest.mark.parametrize("character", CONTROLS)
def test_a_raw_control_character_in_json(character: str) -> None:
    raw = json.dumps([status("1", content="a@b")]).replace("@", character).encode()
    answer = decode_json(200, {}, raw)
    assert answer.problem is None
    assert answer.body[0]["id"] == "1"
    assert answer.repaired == "raw_control_characters"


@given(st.dictionaries(st.text(string.ascii_letters, max_size=4), st.text(max_size=8), max_size=4))
def test_sound_json_is_read_as_it_stands(body: dict[str, str]) -> None:
    answer = decode_json(200, {}, json.dumps(body).encode("utf-8"))
    assert (answer.body, answer.problem, answer.repaired) == (body, None, None)


def test_bytes_that_are_no_utf_8() -> None:
    answer = decode_json(200, {}, b'[{"text": "caf\xe9"}]')
    assert answer.body == [{"text": "caf\ufffd"}]
    assert answer.repaired == "undecodable_bytes"


@pytest.mark.parametrize("raw", [b"[1,", b"\x00\x01", b"{", b"\xff\xfe[]", b'["a" "b"]'])
def test_what_is_broken_stays_broken(raw: bytes) -> None:
    assert decode_json(200, {}, raw).problem == "broken_json"


def photo(title: str) -> str:
    return (
        '<rsp stat="ok"><photos page="1" pages="1" perpage="500" total="1"><photo id="1" '
        f'owner="2@N01" dateupload="1600000000" count_faves="3" title="{title}" '
        'url_l="https://h.example/1.jpg"/></photos></rsp>'
    )


@pytest.mark.parametrize("inside", [*(c for c in CONTROLS if c not in "\t\n\r"), "&#8;", "&#x1F;"])
def test_a_control_character_in_xml(inside: str) -> None:
    answer = FLICKR.decode(200, {}, photo(f"a{inside}b").encode())
    assert FLICKR.judge(answer).outcome is Outcome.OK
    assert answer.body.find(".//photo").get("title") == "ab"
    assert answer.repaired == "raw_control_characters"


ENTITIES = (
    '<?xml version="1.0" encoding="{0}"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    '<!ENTITY b "&a;&a;&a;">]><rsp stat="ok"><photos>&b;</photos></rsp>'
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "iso-8859-1"])
@pytest.mark.parametrize("mark", [True, False])
def test_declarations_are_refused_in_every_encoding(encoding: str, mark: bool) -> None:
    raw = ENTITIES.format(encoding.removesuffix("-le").removesuffix("-be")).encode(encoding)
    if mark and encoding in {"utf-16-le", "utf-16-be"}:
        raw = "\ufeff".encode(encoding) + raw
    answer = FLICKR.decode(200, {}, raw)
    assert answer.body is None
    assert answer.problem == "broken_xml"


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_raise(raw: bytes) -> None:
    FLICKR.decode(200, {}, raw)
    decode_json(200, {}, raw)


def test_a_chain_goes_on_over_such_pages_and_counts_them(tmp_path: Path) -> None:
    raw = json.dumps([status("8", content="a@b")]).replace("@", "\x0b").encode()

    def mastodon(path: str, headers: dict[str, str]) -> bytes:
        if "/instance" in path:
            return http({"version": "2.7.2 (compatible; Akkoma 3)"})
        return http([] if "max_id" in path else raw)

    with in_thread(mastodon) as server:  # type: ignore[attr-defined]
        (tmp_path / "a").mkdir()
        study = once(tmp_path / "a", server.url, "mastodon", tags=["x"])
        gather(study, free(Mastodon))
    assert counters(study)["odd:raw_control_characters"] == 1
    assert study.manifest("posts").rows == 1
    with in_thread(lambda *_: http(photo("a\x01b").encode())) as server:  # type: ignore[attr-defined]
        (tmp_path / "b").mkdir()
        study = once(tmp_path / "b", server.url, "flickr", tags=["x"])
        gather(study, PlainFlickr)
    assert counters(study)["odd:raw_control_characters"] == 1
    assert study.read("posts")["text"].to_pylist() == ["ab"]
