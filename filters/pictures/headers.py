"""What the first bytes of a picture say about it, read before any decoder sees the file.

Only the formats that the platforms serve are read (JPEG, PNG, GIF, WebP, AVIF): each further
decoder is a further way in. Nothing here allocates more than the file itself.

Sources: ITU-T T.81 annex B (JPEG markers), PNG 3rd edition 5.3 and 11.2, GIF89a, RFC 9649 (WebP),
ISO/IEC 14496-12 (AVIF boxes), EXIF 2.32 table 4 (orientation).
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from filters.pictures.errors import PictureError
from filters.pictures.exif import orientation_of
from filters.pictures.jpeg import MAX_SEGMENTS, Jpeg, read_jpeg

__all__ = ["Header", "PictureError", "read_header", "sniff"]


@dataclass(frozen=True, slots=True)
class Header:
    """A picture's own account of itself; nothing of it has been decoded yet.

    ``width`` and ``height`` are pixels as stored, before ``orientation`` (EXIF, 1-8) is applied.
    ``components`` is the number of colour channels, each of them twice with 16 bits; ``jpeg`` is
    the walk through a JPEG file, None for the other formats; ``kept`` are the byte ranges of a PNG
    file that pixels depend on.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    animated: bool = False
    components: int = 3
    jpeg: Jpeg | None = field(default=None, repr=False)
    kept: tuple[tuple[int, int], ...] = field(default=(), repr=False)

    def lean(self, data: bytes) -> bytes:
        """The file without what no pixel depends on: what a decoder is given."""
        if self.jpeg is not None:
            return self.jpeg.lean(data)
        view = memoryview(data)
        return b"".join(view[start:end] for start, end in self.kept) if self.kept else data

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
    (b"\xff\xd8", "jpeg"),
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
    found = read_jpeg(data)
    return Header(
        "jpeg",
        found.width,
        found.height,
        found.orientation,
        components=len(found.components),
        jpeg=found,
    )


# -- PNG ----------------------------------------------------------------------------------

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
"""Chunks that pixels depend on; texts and profiles, broken or enormous, are not looked at."""


def _png(data: bytes) -> Header:
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    if data[12:16] != b"IHDR" or colour not in _PNG_CHANNELS or depth not in {1, 2, 4, 8, 16}:
        raise PictureError("corrupt", "png: its header is broken")
    orientation, animated = 1, False
    kept: list[tuple[int, int]] = [(0, 8)]
    for kind, start, end in _png_chunks(data):
        if kind in _PNG_KEPT:
            whole = kept[-1][1] == start
            kept[-1:] = [(kept[-1][0], end)] if whole else [kept[-1], (start, end)]
        elif kind == b"acTL" and end - start >= 20:
            animated = struct.unpack_from(">I", data, start + 8)[0] > 1
        elif kind == b"eXIf":
            orientation = orientation_of(data[start + 8 : end - 4])
    components = _PNG_CHANNELS[colour] * (2 if depth == 16 else 1)
    return Header("png", width, height, orientation, animated, components, kept=tuple(kept))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of each chunk up to IEND; the last one may be cut short."""
    position, others = 8, 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = min(position + 12 + length, len(data))
        yield kind, position, end
        others += kind != b"IDAT"
        if others > MAX_SEGMENTS:
            raise PictureError("corrupt", f"png: more than {MAX_SEGMENTS} chunks beside the pixels")
        if kind == b"IEND":
            return
        position = end


# -- GIF, WebP, AVIF ----------------------------------------------------------------------


_GIF_BLOCK = re.compile(rb"[!,;]")


def _gif(data: bytes) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    frames = 0
    # Readers pass over bytes that begin no block; whoever stopped there would miss a larger frame.
    while frames < 2 and (block := _GIF_BLOCK.search(data, position)):
        position = block.start()
        if block[0] == b"!":
            position = _gif_blocks(data, position + 2)
        elif block[0] == b";":
            break
        else:
            frames += 1
            left, top, across, down, frame_flags = struct.unpack_from("<HHHHB", data, position + 1)
            # A frame may reach over the screen's edge: the picture then grows.
            width, height = max(width, left + across), max(height, top + down)
            table = 3 << ((frame_flags & 7) + 1) if frame_flags & 0x80 else 0
            position = _gif_blocks(data, position + 11 + table)
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
            return orientation_of(block.removeprefix(b"Exif\0\0"))
        position += 8 + length + (length & 1)
    return 1


def _avif(data: bytes) -> Header:
    from PIL import AvifImagePlugin

    try:
        with AvifImagePlugin.AvifImageFile(io.BytesIO(data)) as image:
            block = image.info.get("exif", b"")
            orientation = orientation_of(bytes(block).removeprefix(b"Exif\0\0"))
            animated = bool(getattr(image, "is_animated", False))
            return Header("avif", image.width, image.height, orientation, animated, 4)
    except (OSError, SyntaxError, ValueError, RuntimeError, MemoryError) as error:
        raise PictureError("corrupt", f"avif: {error}") from error


_READERS = {"jpeg": _jpeg, "png": _png, "gif": _gif, "webp": _webp, "avif": _avif}
