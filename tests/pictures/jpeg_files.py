"""JPEG files put together from segments, so that each oddity stands alone."""

from __future__ import annotations

import struct

from picture_files import encoded, scene

__all__ = ["EOI", "SOI", "frame", "plain_jpeg", "segment", "segments", "without_jfif"]

SOI, EOI = b"\xff\xd8", b"\xff\xd9"


def segment(code: int, body: bytes = b"") -> bytes:
    """One marker segment."""
    return bytes([0xFF, code]) + struct.pack(">H", len(body) + 2) + body


def frame(code: int, width: int = 320, height: int = 280, *, bits: int = 8, n: int = 3) -> bytes:
    """A frame header; all channels have the same sampling."""
    parts = b"".join(bytes([number + 1, 0x11, 0]) for number in range(n))
    return segment(code, struct.pack(">BHHB", bits, height, width, n) + parts)


def plain_jpeg(seed: int = 0, size: tuple[int, int] = (320, 280), **options: object) -> bytes:
    """A good JPEG file, as Pillow makes it."""
    return encoded(scene(seed, size), **options)


def segments(data: bytes) -> list[bytes]:
    """The segments of a good file behind SOI; the last is the first scan with all that follows."""
    found, position = [], 2
    while data[position + 1] != 0xDA:
        end = position + 2 + struct.unpack_from(">H", data, position + 2)[0]
        found.append(data[position:end])
        position = end
    return [*found, data[position:]]


def without_jfif(data: bytes) -> bytes:
    """The same file without its JFIF header."""
    return SOI + b"".join(part for part in segments(data) if part[1] != 0xE0)
