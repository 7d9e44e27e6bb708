"""What the first bytes of a picture say about it, read before any decoder sees the file.

Only the formats that the platforms serve are read (JPEG, PNG, GIF, WebP, AVIF): each further
decoder is a further way in. Nothing here allocates more than the file itself.

Sources: ITU-T T.81 annex B (JPEG markers), PNG 3rd edition 5.3 and 11.2, GIF89a, RFC 9649 (WebP),
ISO/IEC 14496-12 (AVIF boxes), EXIF 2.32 table 4 (orientation).
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

from likewise.errors import DataError

__all__ = ["Header", "PictureError", "read_header", "sniff"]

MAX_SEGMENTS = 4096
"""More markers or chunks than this before the picture data are an attack, not a picture."""

_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_ORIENTATION = 0x0112


class PictureError(DataError):
    """A picture cannot be used; ``error_class`` is the named reason that funnels count."""

    def __init__(self, error_class: str, detail: str = "") -> None:
        super().__init__(f"{error_class}: {detail}" if detail else error_class)
        self.error_class = error_class


@dataclass(frozen=True, slots=True)
class Header:
    """A picture's own account of itself; nothing of it has been decoded yet.

    ``width`` and ``height`` are pixels as stored, before ``orientation`` (EXIF, 1-8) is applied.
    ``scans`` counts the passes over the whole picture (progressive JPEG, interlaced PNG);
    ``components`` is the number of colour channels; ``buffered`` tells that the decoder keeps all
    coefficients in memory.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    animated: bool = False
    components: int = 3
    scans: int = 1
    buffered: bool = False

    @property
    def pixels(self) -> int:
        """Pixels of one frame."""
        return self.width * self.height

    @property
    def upright(self) -> tuple[int, int]:
        """(width, height) after orientation."""
        turned = self.orientation >= 5
        return (self.height, self.width) if turned else (self.width, self.height)


def sniff(data: bytes) -> str:
    """Name of the format by its signature, whatever the server called it.

    Raises:
        PictureError: ``empty``, ``html``, ``not_a_picture`` or ``unsupported_format``.
    """
    if not data:
        raise PictureError("empty", "the file has no bytes")
    head = data[:32]
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp" and b"avi" in data[8 : 8 + 64]:
        return "avif"
    for signature, name in _REFUSED:
        if signature in head[:16]:
            raise PictureError("unsupported_format", name)
    if data[:1024].lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise PictureError("html", "a page was sent in place of a picture")
    raise PictureError("not_a_picture", f"it begins with {head[:8].hex()}")


_SIGNATURES = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
)

_REFUSED = (
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"8BPS", "psd"),
    (b"\0\0\1\0", "ico"),
    (b"%!PS", "eps"),
    (b"\xc5\xd0\xd3\xc6", "eps"),
    (b"%PDF", "pdf"),
    (b"ftyp", "an ISO base media file (HEIC, MP4, ...)"),
    (b"jP  ", "jpeg2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000"),
    (b"\xff\x0a", "jpegxl"),
    (b"JXL ", "jpegxl"),
    (b"BLP", "blp"),
)


def read_header(data: bytes) -> Header:
    """Format, size, orientation and cost of a picture, without decoding it.

    Raises:
        PictureError: it is none of the read formats, or its header is broken.
    """
    name = sniff(data)
    try:
        header = _READERS[name](data)
    except (struct.error, IndexError) as error:
        raise PictureError("truncated", f"{name}: the header ends early") from error
    if not header.width or not header.height:
        raise PictureError("corrupt", f"{name}: {header.width} x {header.height} pixels")
    return header


# -- JPEG ---------------------------------------------------------------------------------


def _jpeg(data: bytes) -> Header:
    orientation, position = 1, 2
    for _ in range(MAX_SEGMENTS):
        position = _next_marker(data, position)
        marker = data[position]
        if marker in _FRAME_MARKERS:
            return _jpeg_frame(data, position, orientation)
        if marker in {0xD9, 0xDA}:
            raise PictureError("corrupt", "jpeg: picture data before the frame header")
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 1
            continue
        length = struct.unpack_from(">H", data, position + 1)[0]
        if marker == 0xE1 and data[position + 3 : position + 9] == b"Exif\0\0":
            orientation = _exif_orientation(data[position + 9 : position + 1 + length])
        position += 1 + max(length, 2)
    raise PictureError("corrupt", f"jpeg: more than {MAX_SEGMENTS} segments before the picture")


def _next_marker(data: bytes, position: int) -> int:
    """Index of the next marker's code; fill bytes and stray bytes are passed over."""
    position = data.find(b"\xff", position)
    if position < 0:
        raise PictureError("truncated", "jpeg: it ends before the frame header")
    while data[position] == 0xFF:
        position += 1
    return position


def _jpeg_frame(data: bytes, position: int, orientation: int) -> Header:
    marker = data[position]
    precision, height, width, components = struct.unpack_from(">BHHB", data, position + 3)
    if precision != 8:
        raise PictureError("unsupported_format", f"jpeg of {precision} bits a sample")
    if components not in {1, 3, 4}:
        raise PictureError("corrupt", f"jpeg: {components} components")
    # In coded data 0xFF is always followed by 0, so that each FFDA is the start of a scan.
    scans = data.count(b"\xff\xda", position)
    progressive = marker in _PROGRESSIVE
    return Header(
        "jpeg",
        width,
        height,
        orientation,
        components=components,
        scans=max(scans, 1),
        buffered=progressive or scans > 1,
    )


def _exif_orientation(tiff: bytes) -> int:
    """EXIF orientation 1-8 of a TIFF block; 1 when there is none or it is broken."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    try:
        if order is None:
            return 1
        start = struct.unpack_from(f"{order}I", tiff, 4)[0]
        count = struct.unpack_from(f"{order}H", tiff, start)[0]
        for entry in range(start + 2, start + 2 + 12 * min(count, 512), 12):
            tag, kind, _n, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == _ORIENTATION and kind == 3:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


# -- PNG ----------------------------------------------------------------------------------

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def _png(data: bytes) -> Header:
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if data[12:16] != b"IHDR" or colour not in _PNG_CHANNELS or depth not in {1, 2, 4, 8, 16}:
        raise PictureError("corrupt", "png: its header is broken")
    orientation, animated, position = 1, False, 8
    for _ in range(MAX_SEGMENTS):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"acTL":
            animated = struct.unpack_from(">I", data, position + 8)[0] > 1
        elif kind == b"eXIf":
            orientation = _exif_orientation(data[position + 8 : position + 8 + length])
        elif kind in {b"IDAT", b"IEND"}:
            break
        position += 12 + length
    else:
        raise PictureError("corrupt", f"png: more than {MAX_SEGMENTS} chunks before the picture")
    components = _PNG_CHANNELS[colour] * (2 if depth == 16 else 1)
    return Header("png", width, height, orientation, animated, components, 1 + 6 * bool(interlaced))


# -- GIF, WebP, AVIF ----------------------------------------------------------------------


def _gif(data: bytes) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    frames = 0
    while frames < 2 and position < len(data):
        kind = data[position]
        if kind == 0x21:
            position = _gif_blocks(data, position + 2)
        elif kind == 0x2C:
            frames += 1
            left, top, across, down, frame_flags = struct.unpack_from("<HHHHB", data, position + 1)
            # A frame may reach over the screen's edge: the picture then grows.
            width, height = max(width, left + across), max(height, top + down)
            table = 3 << ((frame_flags & 7) + 1) if frame_flags & 0x80 else 0
            position = _gif_blocks(data, position + 11 + table)
        else:
            break
    return Header("gif", width, height, animated=frames > 1, components=1)


def _gif_blocks(data: bytes, position: int) -> int:
    """Position after a chain of sub-blocks."""
    while position < len(data) and data[position]:
        position += 1 + data[position]
    return position + 1


def _webp(data: bytes) -> Header:
    kind = data[12:16]
    if kind == b"VP8X":
        flags = data[20]
        size = int.from_bytes(data[24:27], "little"), int.from_bytes(data[27:30], "little")
        orientation = _webp_orientation(data) if flags & 0x08 else 1
        return Header("webp", size[0] + 1, size[1] + 1, orientation, bool(flags & 0x02), 4)
    if kind == b"VP8 ":
        if data[23:26] != b"\x9d\x01\x2a":
            raise PictureError("corrupt", "webp: its frame header is broken")
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("webp", width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return Header("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, components=4)
    raise PictureError("corrupt", "webp: its first chunk is unknown")


def _webp_orientation(data: bytes) -> int:
    position = 12
    for _ in range(MAX_SEGMENTS):
        if position + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            block = data[position + 8 : position + 8 + length]
            return _exif_orientation(block.removeprefix(b"Exif\0\0"))
        position += 8 + length + (length & 1)
    return 1


def _avif(data: bytes) -> Header:
    from PIL import AvifImagePlugin

    try:
        with AvifImagePlugin.AvifImageFile(io.BytesIO(data)) as image:
            block = image.info.get("exif", b"")
            orientation = _exif_orientation(bytes(block).removeprefix(b"Exif\0\0"))
            animated = bool(getattr(image, "is_animated", False))
            return Header("avif", image.width, image.height, orientation, animated, 4)
    except (OSError, SyntaxError, ValueError, RuntimeError, MemoryError) as error:
        raise PictureError("corrupt", f"avif: {error}") from error


_READERS = {"jpeg": _jpeg, "png": _png, "gif": _gif, "webp": _webp, "avif": _avif}
