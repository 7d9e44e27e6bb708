"""The one bounded decoder of pictures, and the hygiene rules that decide which may stay.

Colours become 8-bit RGB in one stated way: grey is repeated, a palette is looked up, of 16 bits
the upper eight count, CMYK is turned by ``255 - min(255, ink + black)`` as Pillow does, alpha is
laid on white; colour profiles are not applied. EXIF orientation is applied, so that arrays are
upright. Of an animation the first frame is taken.

Every place that decodes comes through ``decode_rgb`` or ``inspect``: no decoder sees a file whose
header was not read, and it sees a lean copy without metadata. Bounds, checked on the header before
any pixel is decoded: pixels (``max_pixels``), decoder memory (``MAX_MEMORY``) and the time that
coded data may take (``MAX_SECONDS``).
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from filters.pictures.copies import phash
from filters.pictures.errors import PictureError
from filters.pictures.headers import Header, read_header
from likewise.hygiene import MAX_ASPECT, MAX_PIXELS, MIN_CONTRAST, MIN_SIDE

__all__ = ["Hygiene", "Inspection", "PictureError", "decode_rgb", "inspect"]

MAX_MEMORY = 560_000_000
"""Bytes that a decoder may need for one picture, its result included."""

MAX_SECONDS = 1.2
"""Processor seconds that the coded data of one JPEG may take, as estimated before decoding."""

_VISIT_SECONDS, _BYTE_SECONDS = 45e-9, 30e-9
# Measured with libjpeg-turbo 3 on one core at 2.9 GHz: a block that a scan comes by without any
# bits of its own costs 36 to 40 ns (the most of all kinds of scans), a byte of refinement bits 29.

MAX_RAW = 200_000_000
"""Bytes that a PNG file may unpack to (two bytes a sample where it has 16 bits)."""

LOOK = 64
"""Short side in pixels of the reduced picture that hygiene and hash look at."""

WHITE, MARK = 240, 8
"""Levels of 255: mean of a near-white page, and how much darker what stands on it must be."""

STRIP = 256
"""Rows converted at once, so that conversions need little memory beside the picture."""

_BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    Image.DecompressionBombError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What Pillow's readers raise on broken files."""

# libjpeg warns of bytes between coded data and the next marker. Behind the last scan no viewer
# misses them, and a few before other segments neither. Many there, or any before a restart marker
# (0xd0 to 0xd7), are picture data that got lost. A baseline scan's spectral range means nothing.
_HARMLESS = re.compile(
    r"extraneous bytes before marker 0xd9"
    r"|\b\d{1,2} extraneous bytes before marker 0x(?!d[0-7])"
    r"|SOS parameters for sequential"
)


@dataclass(frozen=True, slots=True)
class Hygiene:
    """Which pictures may stay. Lengths in pixels, contrast in levels of 255.

    Of the pictures below ``min_contrast`` those that are white with something on it (pages of text,
    line drawings) are ``near_white``, and a study may keep them; the others are ``uniform``.
    """

    min_side: int = MIN_SIDE
    max_aspect: float = MAX_ASPECT
    max_pixels: int = MAX_PIXELS
    min_contrast: float = MIN_CONTRAST
    keep_near_white: bool = False


@dataclass(frozen=True, slots=True)
class Inspection:
    """What ``inspect`` found: ``status`` is ``ok``, ``rejected`` or ``failed``.

    ``width`` and ``height`` are pixels after orientation, None when the header is unreadable;
    ``phash`` is a signed 64-bit integer, None unless the picture was decoded.
    """

    status: str
    error_class: str | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    orientation: int | None = None
    phash: int | None = None


def decode_rgb(
    data: bytes, *, max_pixels: int = MAX_PIXELS, min_side: int | None = None
) -> NDArray[np.uint8]:
    """Decode a JPEG, PNG, GIF, WebP or AVIF file.

    Args:
        data: The whole file.
        max_pixels: Larger pictures are refused before anything is decoded.
        min_side: When given, the picture may come back smaller (JPEG by reduced DCT, the others
            by averaging blocks), as long as its short side keeps at least this many pixels.

    Returns:
        Array of shape (H, W, 3), RGB, upright, contiguous.

    Raises:
        PictureError: with ``error_class`` one of ``empty``, ``html``, ``not_a_picture``,
            ``unsupported_format``, ``truncated``, ``corrupt``, ``too_many_pixels``, ``too_costly``.
    """
    header = read_header(data)
    _check_bounds(header, max_pixels, min_side)
    return _upright(_decode(data, header, min_side), header.orientation)


def inspect(data: bytes, rules: Hygiene | None = None) -> Inspection:
    """Check one file: is it a whole picture, and may it stay? Never raises for bad files."""
    rules = rules or Hygiene()
    try:
        header = read_header(data)
    except PictureError as error:
        return Inspection("failed", error.error_class)
    width, height = header.upright
    reason = _reason_to_reject(header, rules)
    status, code = ("rejected", None) if reason else ("ok", None)
    if reason is None:
        try:
            _check_bounds(header, rules.max_pixels, LOOK)
            look = _upright(_decode(data, header, LOOK), header.orientation)
        except PictureError as error:
            status = "rejected" if error.error_class.startswith("too_") else "failed"
            reason = error.error_class
        else:
            reason = _reason_to_call_empty(look, rules)
            if reason is None:
                code = phash(look)
            else:
                status = "rejected"
    return Inspection(status, reason, header.format, width, height, header.orientation, code)


def _reason_to_reject(header: Header, rules: Hygiene) -> str | None:
    short, long = sorted((header.width, header.height))
    if header.pixels > rules.max_pixels:
        return "too_many_pixels"
    if header.animated:
        return "animated"
    if short < rules.min_side:
        return "too_small"
    return "too_long" if long > rules.max_aspect * short else None


def _reason_to_call_empty(look: NDArray[np.uint8], rules: Hygiene) -> str | None:
    """Whether too little stands on the reduced picture, by its channels' levels of 255."""
    counts = np.array(Image.fromarray(look).histogram(), np.float64).reshape(3, 256)
    shares = counts / counts[0].sum()
    mean = shares @ _LEVELS
    spread = np.sqrt(np.maximum(shares @ _LEVELS**2 - mean**2, 0)).max()
    if spread >= rules.min_contrast:
        return None
    if mean.min() < WHITE or np.flatnonzero(counts.sum(axis=0))[0] > mean.min() - MARK:
        return "uniform"
    return None if rules.keep_near_white else "near_white"


_LEVELS = np.arange(256.0)


# -- bounds -------------------------------------------------------------------------------


def _check_bounds(header: Header, max_pixels: int, min_side: int | None) -> None:
    if header.pixels > max_pixels:
        raise PictureError(
            "too_many_pixels", f"{header.width} x {header.height}, the limit is {max_pixels:,}"
        )
    need = _memory_needed(header, min_side)
    if need > MAX_MEMORY:
        raise PictureError("too_costly", f"decoding would need {need / 1e6:.0f} MB of memory")
    if header.format == "png" and header.pixels * header.components > MAX_RAW:
        raise PictureError("too_costly", f"it unpacks to more than {MAX_RAW / 1e6:.0f} MB")
    if header.jpeg is not None:
        coded = sum(end - start for start, end in header.jpeg.kept)
        seconds = _VISIT_SECONDS * header.jpeg.visits + _BYTE_SECONDS * coded
        if seconds > MAX_SECONDS:
            raise PictureError(
                "too_costly", f"{header.jpeg.scans} scans would take about {seconds:.1f} s"
            )


def _memory_needed(header: Header, min_side: int | None) -> int:
    """Bytes that the decoder and its result take at their peak, by the decoders' own layouts."""
    result = 3 * header.pixels
    if min_side is not None:
        result //= _reduction(header, min_side) ** 2
    if header.jpeg is not None:
        # A decoder that sees several scans keeps all coefficients, two bytes each.
        buffered = header.jpeg.progressive or header.jpeg.scans > 1
        coefficients = 128 * header.jpeg.blocks if buffered else 0
        pillow = 5 * header.pixels if header.components == 4 else 0
        return result + coefficients + pillow
    frames = {"webp": 12, "avif": 10, "gif": 6}.get(header.format, 4)
    return result + frames * header.pixels


def _reduction(header: Header, min_side: int) -> int:
    """Whole factor by which the picture may shrink and still keep ``min_side``."""
    return max(1, min(header.width, header.height) // min_side)


# -- decoding -----------------------------------------------------------------------------


def _decode(data: bytes, header: Header, min_side: int | None) -> NDArray[np.uint8]:
    data = header.lean(data)
    try:
        if header.format == "jpeg" and header.components != 4:
            pixels = _decode_jpeg(data, header, min_side or 0)
            if pixels is not None:
                return pixels
        image = _open(data, header)
        if image.width * image.height > header.pixels:
            raise PictureError("corrupt", f"{header.format}: it is larger than its header says")
        if header.format == "jpeg" and min_side:
            factor = _reduction(header, min_side)
            image.draft(None, (header.width // factor, header.height // factor))
        image.load()
        return _to_rgb(image, 1 if min_side is None else _reduction_of(image, min_side))
    except MemoryError as error:
        raise PictureError("too_costly", "no memory for the picture") from error
    except _BROKEN as error:
        cut = any(word in str(error) for word in ("truncated", "remature end"))
        reason = "truncated" if cut or isinstance(error, EOFError) else "corrupt"
        raise PictureError(reason, f"{header.format}: {error}") from error


def _decode_jpeg(data: bytes, header: Header, side: int) -> NDArray[np.uint8] | None:
    """Pixels by TurboJPEG; None for the rare sampling factors that it does not know."""
    pixels: NDArray[np.uint8]
    try:
        pixels = simplejpeg.decode_jpeg(data, min_height=side, min_width=side)
    except ValueError as error:
        if "subsampling" in str(error):
            return None
        whole = header.jpeg is not None and header.jpeg.ended
        if not (whole and _HARMLESS.search(str(error))):
            raise
        pixels = simplejpeg.decode_jpeg(data, min_height=side, min_width=side, strict=False)
    return pixels


def _open(data: bytes, header: Header) -> Image.Image:
    """The reader of one format, named outright: Pillow's guessing would open others too."""
    file = io.BytesIO(data)
    if header.format == "jpeg":
        return JpegImagePlugin.JpegImageFile(file)
    if header.format == "gif":
        return GifImagePlugin.GifImageFile(file)
    if header.format == "webp":
        return WebPImagePlugin.WebPImageFile(file)
    if header.format == "avif":
        return AvifImagePlugin.AvifImageFile(file)
    return PngImagePlugin.PngImageFile(file)


def _reduction_of(image: Image.Image, min_side: int) -> int:
    return max(1, min(image.size) // min_side)


def _to_rgb(image: Image.Image, factor: int) -> NDArray[np.uint8]:
    """8-bit RGB of a loaded Pillow image, by strips, each reduced by ``factor``."""
    width, height = image.size
    out = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
    rows = max(1, STRIP // factor) * factor
    for top in range(0, height, rows):
        strip = _strip_rgb(image.crop((0, top, width, min(top + rows, height))))
        if factor > 1:
            strip = strip.reduce(factor)
        out[top // factor : top // factor + strip.height] = np.asarray(strip)
    return out


def _strip_rgb(strip: Image.Image) -> Image.Image:
    if strip.mode.startswith("I"):
        levels = np.asarray(strip).astype(np.int64)
        strip = Image.fromarray((levels.clip(0, 65535) >> 8).astype(np.uint8), "L")
    if strip.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in strip.info:
        over = strip.convert("RGBA")
        white = Image.new("RGBA", over.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, over).convert("RGB")
    return strip.convert("RGB")


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Apply an EXIF orientation (1-8)."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
