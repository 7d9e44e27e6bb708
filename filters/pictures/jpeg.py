"""How a JPEG file is built, read to its end, and the lean copy of it that decoders are given.

Decoders stumble over what no pixel needs: profiles in several pieces, headers of another version,
stray bytes, a film behind the picture. And they can do more than was ever checked here: lossless,
arithmetic and hierarchical files. So the markers are walked once, in C speed, and only frames of
the three types that the web serves go on: baseline, extended and progressive, Huffman-coded, with
8 bits a sample. The lean copy holds tables, frame and scans, and of the metadata only what libjpeg
tells colours by.

Source: ITU-T T.81 (1992), annex B; JFIF 1.02; libjpeg's ``jdmarker.c`` for what it does where a
file contradicts itself.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from filters.pictures.errors import PictureError
from filters.pictures.exif import orientation_of

__all__ = ["MAX_SEGMENTS", "Jpeg", "read_jpeg"]

MAX_SEGMENTS = 4096
"""More markers or chunks than this are an attack, not a picture."""

DECODED = frozenset({0xC0, 0xC1, 0xC2})
"""Frame types that decoders see: baseline, extended sequential and progressive DCT, Huffman."""

_KEPT = DECODED | {0xC4, 0xDA, 0xDB, 0xDD}
"""Beside the frame: Huffman tables, scans, quantisation tables, restart interval."""

_PLAIN = frozenset({0x01, *range(0xD0, 0xD8)})
_REFUSED = {
    0xC3: "lossless",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xDE, 0xDF), "hierarchical"),
    0xC8: "an extension of the standard",
    **dict.fromkeys((0xC9, 0xCA, 0xCB), "arithmetic coding"),
    **dict.fromkeys((0xCD, 0xCE, 0xCF), "hierarchical with arithmetic coding"),
    **dict.fromkeys(range(0xF0, 0xFE), "JPEG-LS or another extension"),
}

# A marker is 0xFF and a code that is neither 0 (a stuffed 0xFF) nor 0xFF (filling).
_MARKER = re.compile(rb"\xff([\x01-\xfe])")
# Inside coded data restart markers are part of them.
_MARKER_AFTER_SCAN = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")

_JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
_ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"


class _Component(NamedTuple):
    """A colour channel: its id, sampling factors, and blocks of 8 x 8 coefficients."""

    number: int
    across: int
    down: int
    blocks: int


@dataclass(slots=True)
class Jpeg:
    """What a JPEG file says about itself.

    ``width`` and ``height`` are pixels as stored. ``blocks`` are the 8 x 8 blocks of all channels;
    ``visits`` counts how often a decoder has to come by one, over all scans up to the end of the
    picture (EOI). ``kept`` are the byte ranges of tables, frame and scans.
    """

    width: int = 0
    height: int = 0
    orientation: int = 1
    progressive: bool = False
    scans: int = 0
    visits: int = 0
    components: list[_Component] = field(default_factory=list)
    kept: list[tuple[int, int]] = field(default_factory=list)
    jfif: bool = False
    adobe: int | None = None
    ended: bool = False

    @property
    def blocks(self) -> int:
        """Blocks of all channels."""
        return sum(component.blocks for component in self.components)

    def lean(self, data: bytes) -> bytes:
        """The file as a decoder needs it; its pixels are those of the whole file."""
        view = memoryview(data)
        parts = [view[start:end] for start, end in self.kept]
        return b"".join([b"\xff\xd8", self._colours(), *parts, b"\xff\xd9" if self.ended else b""])

    def _colours(self) -> bytes:
        """The headers by which libjpeg tells YCbCr from RGB and YCCK from CMYK."""
        adobe = b""
        if self.adobe is not None:
            # A code that does not exist means what libjpeg takes it for: YCbCr, or YCCK.
            known = {0, 2} if len(self.components) == 4 else {0, 1}
            usual = 2 if len(self.components) == 4 else 1
            adobe = _ADOBE + bytes([self.adobe if self.adobe in known else usual])
        return (_JFIF if self.jfif else b"") + adobe


def read_jpeg(data: bytes) -> Jpeg:
    """Walk the markers of a file that begins with SOI, up to EOI or to its end.

    Raises:
        PictureError: ``unsupported_format`` for every frame type but the three, for other than 8
            bits a sample and for a height that stands behind the picture; ``truncated`` when it
            ends before the first scan; ``corrupt`` when its markers make no picture.
    """
    found = Jpeg()
    for code, body, start, end in _segments(data):
        if code in _REFUSED:
            raise PictureError("unsupported_format", f"jpeg: {_REFUSED[code]}")
        if code in DECODED:
            _read_frame(found, body, progressive=code == 0xC2)
        elif code == 0xDA:
            _read_scan(found, body)
        elif code == 0xD9:
            found.ended = True
        elif not found.scans:
            _read_application(found, code, body)
        if code in _KEPT:
            found.kept.append((start, end))
    if not found.scans:
        reason = "corrupt" if found.ended else "truncated"
        raise PictureError(reason, "jpeg: it ends before the picture")
    return found


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int, int]]:
    """(code, body, start, end) of each segment; ``end`` of a scan is that of its coded data."""
    position = 2
    for _ in range(MAX_SEGMENTS):
        mark = _MARKER.search(data, position)
        if mark is None:
            return
        code, start, position = mark[1][0], mark.start(), mark.end()
        if code == 0xD9:
            yield code, b"", start, position
            return
        if code in _PLAIN:
            continue
        if code == 0xD8 or code < 0xC0:
            raise PictureError("corrupt", f"jpeg: marker {code:02x} in its middle")
        try:
            length = struct.unpack_from(">H", data, position)[0]
        except struct.error:
            return
        if length < 2:
            raise PictureError("corrupt", f"jpeg: a segment of {length} bytes")
        body, position = data[position + 2 : position + length], position + length
        if position > len(data):
            return
        if code == 0xDA:
            after = _MARKER_AFTER_SCAN.search(data, position)
            position = len(data) if after is None else after.start()
        yield code, body, start, position
    raise PictureError("corrupt", f"jpeg: more than {MAX_SEGMENTS} segments")


def _read_frame(found: Jpeg, body: bytes, *, progressive: bool) -> None:
    if found.components:
        raise PictureError("corrupt", "jpeg: two frames")
    precision, height, width, number = struct.unpack_from(">BHHB", body)
    if precision != 8:
        raise PictureError("unsupported_format", f"jpeg of {precision} bits a sample")
    if not height:
        raise PictureError("unsupported_format", "jpeg: its height stands behind the picture")
    if number not in {1, 3, 4} or not width or len(body) != 6 + 3 * number:
        raise PictureError("corrupt", f"jpeg: {number} components, {width} pixels wide")
    factors = [(body[i], body[i + 1] >> 4, body[i + 1] & 15) for i in range(6, len(body), 3)]
    if not all(1 <= across <= 4 and 1 <= down <= 4 for _, across, down in factors):
        raise PictureError("corrupt", "jpeg: its sampling factors are impossible")
    # Decoders work in units of 8 x 8 blocks for each step of the finest channel.
    columns = -(-width // (8 * max(across for _, across, _ in factors)))
    rows = -(-height // (8 * max(down for _, _, down in factors)))
    found.components = [
        _Component(number, across, down, columns * across * rows * down)
        for number, across, down in factors
    ]
    found.width, found.height, found.progressive = width, height, progressive


def _read_scan(found: Jpeg, body: bytes) -> None:
    if not found.components:
        raise PictureError("corrupt", "jpeg: picture data before the frame header")
    numbers = body[1 : 1 + 2 * body[0] : 2] if body else b""
    found.scans += 1
    found.visits += sum(part.blocks for part in found.components if part.number in numbers)


def _read_application(found: Jpeg, code: int, body: bytes) -> None:
    """What the headers before the first scan say about colours and orientation."""
    if code == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14:
        found.jfif = True
    elif code == 0xE1 and body.startswith(b"Exif\0\0"):
        if found.orientation == 1:  # of several blocks the first that turns the picture counts
            found.orientation = orientation_of(body[6:])
    elif code == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
        found.adobe = body[11]
