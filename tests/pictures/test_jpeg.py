"""JPEG files as they come: every frame type, odd headers, tails, and sequences of any segments."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpeg_files import EOI, SOI, frame, plain_jpeg, segment, segments, without_jfif
from picture_files import encoded, scene
from PIL import Image

import filters.pictures.decode as decode_module
from backbones.preprocess import prepare
from backbones.registry import get
from filters.faces.calibration import measure
from filters.faces.detectors import find_faces, load
from filters.pictures.decode import Hygiene, PictureError, decode_rgb, inspect
from filters.pictures.headers import read_header
from training.tuning.canvases import canvas

FRAMES = [code for code in range(0xC0, 0xD0) if code not in {0xC4, 0xC8, 0xCC}]


def reason_of(data: bytes) -> str | None:
    return inspect(data, Hygiene(min_side=1)).error_class


def pixels_of(data: bytes) -> np.ndarray:
    """The truth: OpenCV's own libjpeg, which takes what viewers take."""
    found: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(found[..., ::-1], int)


@pytest.fixture
def no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever decodes anything fails the test."""

    def seen(*_: object, **__: object) -> None:
        pytest.fail("a decoder has seen the file")

    monkeypatch.setattr(decode_module.simplejpeg, "decode_jpeg", seen)
    monkeypatch.setattr(decode_module, "_open", seen)


def doors() -> dict[str, Callable[[bytes], object]]:
    """Every way by which bytes reach a decoder."""
    spec = get("alexnet").preprocess
    return {
        "decode_rgb": decode_rgb,
        "reduced": lambda data: decode_rgb(data, min_side=64),
        "faces": lambda data: find_faces(data, load("dlib-hog"), input_side=480),
        "extract and embed": lambda data: prepare(data, "alexnet"),
        "finetune": lambda data: canvas(data, spec),
    }


@pytest.mark.parametrize("code", FRAMES)
def test_only_three_frame_types_are_decoded(code: int, no_decoder: None) -> None:
    good = plain_jpeg()
    at = good.index(b"\xff\xc0")
    data = good[: at + 1] + bytes([code]) + good[at + 2 :]
    if code in {0xC0, 0xC1, 0xC2}:
        assert read_header(data).jpeg is not None
        return
    assert reason_of(data) == "unsupported_format"
    for name, door in doors().items():
        with pytest.raises(PictureError) as refused:
            door(data)
        assert refused.value.error_class == "unsupported_format", name


@pytest.mark.parametrize("code", [0xC8, 0xDE, 0xDF, 0xF7, 0xC3, 0xC9])
def test_a_foreign_frame_behind_a_good_one_is_refused_too(code: int, no_decoder: None) -> None:
    good = plain_jpeg()
    assert reason_of(good[:-2] + frame(code) + EOI) == "unsupported_format"
    assert reason_of(SOI + frame(code) + good[2:]) == "unsupported_format"


@pytest.mark.parametrize("code", [0xC0, 0xC1, 0xC2])
def test_twelve_bits_and_late_heights_are_refused(code: int, no_decoder: None) -> None:
    for header in (frame(code, bits=12), frame(code, height=0)):
        data = SOI + header + segment(0xDA, bytes(10)) + segment(0xDC, b"\1\x18") + EOI
        assert reason_of(data) == "unsupported_format"


def test_extended_frames_are_decoded() -> None:
    good = plain_jpeg()
    extended = good.replace(b"\xff\xc0", b"\xff\xc1", 1)
    assert (decode_rgb(extended) == decode_rgb(good)).all()


def test_files_that_were_refused(shared: Path) -> None:
    folder = shared / "failing" / "pictures"
    names = {path.name: path.read_bytes() for path in folder.glob("*.jpg")}
    assert reason_of(names.pop("ll320.jpg")) == "unsupported_format"
    assert len(names) >= 4
    for name, data in names.items():
        assert inspect(data).status == "ok", name
        assert np.abs(decode_rgb(data) - pixels_of(data)).mean() < 1, name


def test_calibration_names_what_no_decoder_may_see(shared: Path) -> None:
    path = shared / "failing" / "pictures" / "ll320.jpg"
    best, failed = measure("dlib-hog", [path])
    assert not len(best) and failed == [(path, "unsupported_format")]


# -- headers that say odd things ------------------------------------------------------------


@pytest.mark.parametrize("transform", [0, 1, 2, 3, 200])
@pytest.mark.parametrize("keep", [True, False])
def test_adobe_transforms(transform: int, keep: bool) -> None:
    good = plain_jpeg(1)
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))
    rest = good[2:] if keep else without_jfif(good)[2:]
    data = SOI + adobe + rest
    assert np.abs(decode_rgb(data) - pixels_of(data)).mean() < 1.5
    assert inspect(data).status == "ok"


def test_rgb_without_a_transform_keeps_its_colours() -> None:
    data = encoded(scene(2), keep_rgb=True, quality=95)
    assert np.abs(decode_rgb(data).astype(int) - np.asarray(scene(2), int)).mean() < 2


@pytest.mark.parametrize("transform", [0, 2, 77])
def test_four_channels_with_any_transform(transform: int) -> None:
    data = bytearray(encoded(scene(3).convert("CMYK"), quality=95))
    at = data.index(b"Adobe") + 11
    data[at] = transform
    truth = Image.open(io.BytesIO(bytes(data))).convert("RGB")
    assert np.abs(decode_rgb(bytes(data)).astype(int) - np.asarray(truth, int)).mean() < 1


def test_sampling_that_turbojpeg_does_not_know() -> None:
    """4:1:0, by hand: in the usual tables a block of middle grey is 00 1010, chroma 00 00."""
    tables = [part for part in segments(plain_jpeg()) if part[1] in {0xDB, 0xC4}]
    size = struct.pack(">BHHB", 8, 256, 320, 3) + bytes([1, 0x42, 0, 2, 0x11, 1, 3, 0x11, 1])
    units = (320 // 32) * (256 // 16)
    bits = ("001010" * 8 + "0000" * 2) * units
    body = int(bits, 2).to_bytes(len(bits) // 8, "big")
    scan = segment(0xDA, bytes([3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0])) + body
    data = SOI + b"".join(tables) + segment(0xC0, size) + scan + EOI
    assert (decode_rgb(data) == 128).all() and decode_rgb(data).shape == (256, 320, 3)


ODD = st.one_of(
    st.builds(lambda major: segment(0xE0, b"JFIF\0" + bytes([major, 1, 0, 0, 1, 0, 1, 0, 0])),
              st.integers(0, 255)),
    st.builds(lambda n, m, body: segment(0xE2, b"ICC_PROFILE\0" + bytes([n, m]) + body),
              st.integers(0, 255), st.integers(0, 255), st.binary(max_size=30)),
    st.builds(segment, st.sampled_from([0xE1, 0xE3, 0xED, 0xFE]), st.binary(max_size=40)),
    st.builds(lambda body: b"\0" + body.replace(b"\xff", b"\0"), st.binary(max_size=5)),
    st.just(b"\xff\xff\xff"),
    st.just(b"\xff\0"),
    st.just(b"\xff\xd3"),
)  # fmt: skip

TAIL = st.one_of(
    st.binary(max_size=50),
    st.just(b"\xff\xda" * 500),
    st.just(plain_jpeg(9) * 3),
    st.just(frame(0xC3) + bytes(100)),
)


@settings(deadline=None, max_examples=60)
@given(st.data(), TAIL, st.booleans())
def test_what_no_pixel_needs_changes_no_pixel(data: Any, tail: bytes, progressive: bool) -> None:
    good = plain_jpeg(4, progressive=progressive)
    parts = [
        part for one in segments(good) for part in (*data.draw(st.lists(ODD, max_size=2)), one)
    ]
    odd = SOI + b"".join(parts) + tail
    assert read_header(odd).jpeg.scans == read_header(good).jpeg.scans  # type: ignore[union-attr]
    assert (decode_rgb(odd) == decode_rgb(good)).all()
    assert (decode_rgb(odd, min_side=64) == decode_rgb(good, min_side=64)).all()
    assert inspect(odd).status == "ok"


def test_a_few_bytes_behind_a_scan_do_no_harm_and_many_are_damage() -> None:
    good = plain_jpeg(5, progressive=True)
    second = good.index(b"\xff\xc4", good.index(b"\xff\xda"))
    for n, status in ((3, "ok"), (500, "failed")):
        assert inspect(good[:second] + b"\x55" * n + good[second:]).status == status
    assert inspect(good[:-2] + b"\x55" * 9 + EOI).status == "ok"
    assert reason_of(good[:-2]) == "truncated"


def test_a_baseline_scan_with_an_odd_spectral_range_is_whole() -> None:
    good = plain_jpeg(6)
    at = good.index(b"\xff\xda") + 2 + 12 - 3
    assert good[at : at + 3] == b"\0\x3f\0"
    odd = good[:at] + b"\0\0\0" + good[at + 3 :]
    assert inspect(odd).status == "ok"
    assert (decode_rgb(odd) == decode_rgb(good)).all()


def test_scans_behind_the_end_cost_nothing() -> None:
    good = plain_jpeg(6, (2000, 1500), progressive=True)
    film = b"\xff\xda\0\x0c\3\1\0\2\0\3\0\0\x3f\0" * 20_000
    assert inspect(good + film).status == "ok"
    assert read_header(good + film).lean(good + film) == read_header(good).lean(good)


@pytest.mark.slow
def test_a_large_progressive_file_is_within_the_time_budget() -> None:
    data = plain_jpeg(7, (8000, 6000), progressive=True, quality=90)
    assert read_header(data).jpeg.scans * 48_000_000 > 400_000_000  # type: ignore[union-attr]
    assert inspect(data).status == "ok"
    assert decode_rgb(data, min_side=480).shape[2] == 3


# -- any sequence of segments -----------------------------------------------------------------

SIZE = st.sampled_from([0, 1, 8, 17, 320, 4000, 65535])
FRAME = st.builds(
    lambda code, width, height, bits, n: frame(code, width, height, bits=bits, n=n),
    st.one_of(st.just(0xC0), st.sampled_from([0xC0, 0xC1, 0xC2, *FRAMES, 0xC8, 0xDE])),
    SIZE,
    SIZE,
    st.sampled_from([8, 8, 8, 2, 12, 16]),
    st.sampled_from([1, 3, 3, 4, 2, 0]),
)
TABLE = st.sampled_from(
    segments(plain_jpeg(8))[:-1] + segments(plain_jpeg(8, progressive=True))[:-1]
)
SCAN = st.builds(
    lambda body, data: segment(0xDA, body) + data.replace(b"\xff", b"\xff\0"),
    st.sampled_from([
        bytes([3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0]),
        bytes([1, 1, 0, 0, 63, 0]),
        bytes([1, 1, 0, 1, 63, 0x10]),
        bytes([3, 1, 0, 2, 0x11, 3, 0x11, 0, 0, 1]),
        bytes([1, 9, 0, 0, 63, 0]),
        b"",
    ]),
    st.binary(max_size=300),
)  # fmt: skip
OTHER = st.one_of(
    st.builds(segment, st.sampled_from([0xCC, 0xDC, 0xDD, 0xDF, 0xF7]), st.binary(max_size=6)),
    st.sampled_from([SOI, EOI, b"\xff\x01", b"\xff\xd5", b"\xff\x02", b"\0\0", b"\xff\xc0\0\0"]),
    ODD,
)
SEQUENCE = st.lists(st.one_of(TABLE, TABLE, FRAME, SCAN, SCAN, OTHER), max_size=14)


@settings(deadline=None, max_examples=300)
@given(SEQUENCE)
def test_any_sequence_of_segments_has_a_named_end(parts: list[bytes]) -> None:
    data = SOI + b"".join(parts) + EOI
    whole = parts[: parts.index(EOI)] if EOI in parts else parts
    foreign = any(part[0] == 0xFF and part[1] in set(FRAMES) - {0xC0, 0xC1, 0xC2} for part in whole)
    with _counting_decoders() as calls:
        found = inspect(data, Hygiene(min_side=1, max_aspect=1e9, min_contrast=0))
        with contextlib.suppress(PictureError):
            decode_rgb(data)
    assert found.status in {"ok", "rejected", "failed"}
    assert (found.error_class is None) == (found.status == "ok")
    if foreign:
        assert not calls
        assert found.status == "failed"


@contextlib.contextmanager
def _counting_decoders() -> Iterator[list[str]]:
    calls: list[str] = []
    simple, opened = decode_module.simplejpeg.decode_jpeg, decode_module._open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            decode_module.simplejpeg, "decode_jpeg",
            lambda *a, **k: calls.append("simplejpeg") or simple(*a, **k),
        )  # fmt: skip
        patch.setattr(decode_module, "_open", lambda *a: calls.append("pillow") or opened(*a))
        yield calls
