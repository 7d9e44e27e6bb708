"""The decoder: colours and orientation against Pillow, bounds, and files that are broken."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import bomb_png, encoded, jpeg_of_many_scans, scene
from PIL import Image, ImageDraw, ImageOps

from filters.pictures.decode import Hygiene, PictureError, decode_rgb, inspect
from filters.pictures.headers import read_header

WHITE = (255, 255, 255)


def differs(one: np.ndarray, other: Any) -> float:
    """Mean absolute difference, levels of 255."""
    return float(np.abs(one.astype(int) - np.asarray(other).astype(int)).mean())


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "webp", "avif"])
def test_formats(kind: str) -> None:
    data = encoded(scene(1), kind)
    pixels = decode_rgb(data)
    truth = Image.open(io.BytesIO(data)).convert("RGB")
    assert pixels.shape == (300, 400, 3) and pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert differs(pixels, truth) < (0.6 if kind == "jpeg" else 0.01)
    assert read_header(data).format == kind


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_orientation_is_applied(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(scene(2), kind, exif=exif.tobytes())
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert read_header(data).orientation == orientation
    assert read_header(data).upright == upright.size
    assert differs(decode_rgb(data), upright) < 0.6
    assert differs(decode_rgb(data), decode_rgb(encoded(scene(2), kind))[:1, :1]) > 1


def test_orientation_of_real_files(shared: Path) -> None:
    folder = shared / "hostile" / "exif_orientation"
    files = sorted(folder.glob("*.jpg"))
    assert len(files) >= 16
    for path in files:
        truth = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        assert differs(decode_rgb(path.read_bytes()), truth) < 1.0, path.name


def test_grey_is_repeated() -> None:
    grey = scene(3).convert("L")
    for kind in ("jpeg", "png"):
        pixels = decode_rgb(encoded(grey, kind))
        assert (pixels == pixels[..., :1]).all()
        assert differs(pixels[..., 0], grey) < 3


def test_sixteen_bits_keep_the_upper_eight() -> None:
    levels = np.linspace(0, 65535, 300 * 400).astype(np.uint16).reshape(300, 400)
    file = cv2.imencode(".png", levels)[1].tobytes()
    assert (decode_rgb(file)[..., 1] == levels >> 8).all()
    colour = np.dstack([levels, levels[::-1], levels[:, ::-1]])
    file = cv2.imencode(".png", colour)[1].tobytes()
    assert (decode_rgb(file)[..., ::-1] == colour >> 8).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_alpha_is_laid_on_white(mode: str) -> None:
    image = scene(4).convert("RGBA")
    alpha = Image.linear_gradient("L").resize(image.size)
    image.putalpha(alpha)
    image = image.quantize(64) if mode == "P" else image.convert(mode)
    over = image.convert("RGBA")
    truth = Image.new("RGB", image.size, WHITE)
    truth.paste(over.convert("RGB"), mask=over.getchannel("A"))
    assert differs(decode_rgb(encoded(image, "png")), truth) < 0.6


def test_transparent_colour_is_laid_on_white() -> None:
    data = encoded(Image.new("RGB", (300, 300), (9, 9, 9)), "png", transparency=(9, 9, 9))
    assert (decode_rgb(data) == 255).all()


def test_cmyk() -> None:
    image = scene(5).convert("CMYK")
    pixels = decode_rgb(encoded(image, quality=95))
    ink = np.asarray(image).astype(int)
    wanted = 255 - np.minimum(255, ink[..., :3] + ink[..., 3:])
    assert differs(pixels, wanted) < 4
    assert decode_rgb(encoded(image), min_side=64).shape[0] < 300


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "gif"])
@pytest.mark.parametrize("side", [30, 64, 100, 224, 299, 300, 301, 5000])
def test_reduced_decode_keeps_the_short_side(kind: str, side: int) -> None:
    data = encoded(scene(6), kind)
    pixels = decode_rgb(data, min_side=side)
    height, width = pixels.shape[:2]
    assert min(height, 300) >= min(side, 300) and height <= 300
    assert width / height == pytest.approx(4 / 3, rel=0.1)
    truth = Image.fromarray(decode_rgb(data)).resize((width, height), Image.Resampling.BOX)
    assert differs(pixels, truth) < 6


# -- bounds -------------------------------------------------------------------------------


def test_a_bomb_is_refused_by_its_header() -> None:
    bombs = [bomb_png(60_000, 60_000), bomb_png(2**31 - 1, 2**31 - 1)]
    tracemalloc.start()
    for data in bombs:
        with pytest.raises(PictureError) as refused:
            decode_rgb(data)
        assert refused.value.error_class == "too_many_pixels"
        assert inspect(data).error_class == "too_many_pixels"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_max_pixels_is_the_callers() -> None:
    data = encoded(scene(7))
    assert decode_rgb(data, max_pixels=120_000).size == 360_000
    with pytest.raises(PictureError, match="too_many_pixels"):
        decode_rgb(data, max_pixels=119_999)


def test_many_scans_are_refused() -> None:
    data = jpeg_of_many_scans(2000, 500)
    assert len(data) < 100_000
    with pytest.raises(PictureError) as refused:
        decode_rgb(data)
    assert refused.value.error_class == "too_costly"
    ten_passes = encoded(scene(7, (2000, 2000)), progressive=True)
    assert decode_rgb(ten_passes).shape == (2000, 2000, 3)


def test_many_segments_are_refused() -> None:
    data = encoded(scene(8))
    comments = b"\xff\xfe\0\2" * 100_000
    assert inspect(data[:2] + comments + data[2:]).error_class == "corrupt"


# -- broken files -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\0" * 100, "not_a_picture"),
        (b"<!DOCTYPE html><html></html>", "html"),
        (b"  \n<HTML><body>sign in", "html"),
        (b"%PDF-1.7 ...", "unsupported_format"),
        (b"BM" + bytes(100), "unsupported_format"),
        (b"II*\0" + bytes(100), "unsupported_format"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "unsupported_format"),
        (b"\xff\xd8\xff", "truncated"),
        (b"\xff\xd8\xff\xd9", "corrupt"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"GIF89a", "truncated"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "corrupt"),
    ],
)
def test_what_is_no_picture_has_a_name(data: bytes, reason: str) -> None:
    with pytest.raises(PictureError) as refused:
        decode_rgb(data)
    assert refused.value.error_class == reason
    assert inspect(data).error_class == reason
    assert inspect(data).status == "failed"


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "gif", "avif"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_cut_files_fail(kind: str, share: float) -> None:
    data = encoded(scene(9, (600, 600)), kind)
    cut = data[: int(len(data) * share)]
    found = inspect(cut)
    assert found.status == "failed"
    assert found.error_class in {"truncated", "corrupt"}


def test_bytes_after_the_end_do_no_harm() -> None:
    data = encoded(scene(10))
    assert inspect(data + b"trailing bytes").status == "ok"


def _files() -> dict[str, bytes]:
    small = scene(11, (90, 70))
    return {
        "jpeg": encoded(small),
        "progressive": encoded(small, progressive=True),
        "png": encoded(small, "png"),
        "gif": encoded(small, "gif"),
        "webp": encoded(small, "webp"),
        "avif": encoded(small, "avif"),
    }


FILES = _files()


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
    st.integers(0, 10**6),
)
def test_damaged_bytes_never_raise_anything_unnamed(
    name: str, changes: list[tuple[int, int]], length: int
) -> None:
    data = bytearray(FILES[name])
    for position, value in changes:
        data[position % len(data)] = value
    cut = bytes(data[: 1 + length % len(data)])
    for file in (bytes(data), cut):
        found = inspect(file, Hygiene(min_side=1))
        assert found.status in {"ok", "rejected", "failed"}
        assert (found.error_class is None) == (found.status == "ok")
        with contextlib.suppress(PictureError):
            decode_rgb(file)


# -- hygiene ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((224, 224), None),
        ((223, 900), "too_small"),
        ((900, 223), "too_small"),
        ((224, 896), None),
        ((224, 897), "too_long"),
        ((1200, 250), "too_long"),
    ],
)
def test_sizes(size: tuple[int, int], reason: str | None) -> None:
    assert inspect(encoded(scene(12, size))).error_class == reason


def test_size_and_shape_are_those_of_the_upright_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = inspect(encoded(scene(13, (500, 300)), exif=exif.tobytes()))
    assert (found.width, found.height, found.orientation) == (300, 500, 6)


@pytest.mark.parametrize("kind", ["gif", "png", "webp"])
def test_animations_are_rejected_and_stills_are_not(kind: str) -> None:
    frames = [scene(seed) for seed in range(3)]
    film = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    assert inspect(film).error_class == "animated"
    assert inspect(film).status == "rejected"
    assert inspect(encoded(frames[0], kind)).status == "ok"
    assert decode_rgb(film).shape == (300, 400, 3)


@pytest.mark.parametrize("colour", [(0, 0, 0), WHITE, (200, 30, 90)])
def test_uniform_pictures_are_rejected(colour: tuple[int, int, int]) -> None:
    plain = Image.new("RGB", (400, 300), colour)
    assert inspect(encoded(plain)).error_class == "uniform"
    half = plain.copy()
    half.paste((120, 120, 120), (0, 0, 200, 300))
    assert inspect(encoded(half)).status == "ok"


def test_equal_brightness_is_not_uniform() -> None:
    """Red beside a green of the same brightness: uniform in grey, not to an eye."""
    picture = Image.new("RGB", (400, 300), (200, 0, 0))
    picture.paste((0, 102, 0), (0, 0, 200, 300))
    assert np.asarray(picture.convert("L")).std() < 1.0
    assert inspect(encoded(picture, "png")).status == "ok"


def page(lines: int) -> Image.Image:
    """A white page with lines of small print."""
    image = Image.new("RGB", (600, 800), (253, 253, 250))
    draw = ImageDraw.Draw(image)
    for number in range(lines):
        draw.text((60, 100 + 40 * number), "of pictures and words", fill=(40, 40, 40))
    return image


def test_near_white_pages_are_a_rule_of_the_study() -> None:
    data = encoded(page(1), "png")
    found = inspect(data)
    assert (found.status, found.error_class) == ("rejected", "near_white")
    kept = inspect(data, Hygiene(keep_near_white=True))
    assert kept.status == "ok" and kept.phash is not None
    empty = encoded(page(0), "png")
    assert inspect(empty, Hygiene(keep_near_white=True)).error_class == "uniform"


# -- what no pixel depends on -------------------------------------------------------------


def with_chunk(kind: bytes, body: bytes, *, crc: int | None = None) -> bytes:
    """A PNG file with one more chunk behind its header."""
    data = encoded(scene(14), "png")
    check = zlib.crc32(kind + body) if crc is None else crc
    more = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)
    return data[:33] + more + data[33:]


@pytest.mark.parametrize(
    "data",
    [
        with_chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"a" * 3_000_000)),
        with_chunk(b"iTXt", b"xmp\0\1\0\0\0" + zlib.compress(b"a" * 3_000_000)),
        with_chunk(b"iCCP", b"broken\0\0not deflated"),
        with_chunk(b"tEXt", b"damaged\0text", crc=1),
        with_chunk(b"acTL", b""),
    ],
    ids=["long text", "long xmp", "broken profile", "wrong checksum", "cut animation"],
)
def test_png_metadata_refuses_no_picture(data: bytes) -> None:
    good = encoded(scene(14), "png")
    assert (decode_rgb(data + b"a tail") == decode_rgb(good)).all()
    assert inspect(data).status == "ok"


def test_many_small_pieces_of_a_png_are_one_picture() -> None:
    """Writers cut the pixels into pieces of any size: they are not counted as headers."""
    data = encoded(scene(15), "png")
    start = data.index(b"IDAT") - 4
    length = struct.unpack_from(">I", data, start)[0]
    body = data[start + 8 : start + 8 + length]
    pieces = b"".join(
        struct.pack(">I", len(body[i : i + 9]))
        + b"IDAT"
        + body[i : i + 9]
        + struct.pack(">I", zlib.crc32(b"IDAT" + body[i : i + 9]))
        for i in range(0, len(body), 9)
    )
    assert len(pieces) > 12 * 4096
    cut = data[:start] + pieces + data[start + 12 + length :]
    assert (decode_rgb(cut) == decode_rgb(data)).all()


@pytest.mark.parametrize("junk", [b"", b"\0", b"junk"])
def test_a_frame_larger_than_the_screen_is_seen_behind_junk(junk: bytes) -> None:
    """Readers enlarge the picture to its first frame, and pass over what begins no block."""
    good = encoded(scene(16).quantize(16), "gif")
    at = good.index(b"\x2c\0\0\0\0")
    frame = b"\x2c" + struct.pack("<HHHH", 12_000, 0, 400, 300) + good[at + 9 :]
    header = read_header(good[:at] + junk + frame)
    assert (header.width, header.height) == (12_400, 300)
    tall = b"\x2c" + struct.pack("<HHHH", 60_000, 60_000, 400, 300) + good[at + 9 :]
    assert inspect(good[:at] + junk + tall).error_class == "too_many_pixels"


def test_a_picture_larger_than_its_header_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(scene(17), "webp")
    small = dataclasses.replace(read_header(data), width=10, height=10)
    monkeypatch.setattr("filters.pictures.decode.read_header", lambda _: small)
    with pytest.raises(PictureError) as refused:
        decode_rgb(data)
    assert refused.value.error_class == "corrupt"
