"""Picture files made by Pillow, and by hand where Pillow refuses to make such a thing."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["bomb_png", "encoded", "jpeg_of_many_scans", "scene"]


def scene(seed: int = 0, size: tuple[int, int] = (400, 300)) -> Image.Image:
    """A smooth random RGB picture; ``size`` is (width, height)."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "jpeg", **options: Any) -> bytes:
    """The file that Pillow makes of a picture."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bomb_png(width: int, height: int) -> bytes:
    """A small PNG file that says it is large, and is."""
    squeeze = zlib.compressobj(1)
    row = b"\0" + bytes(min(3 * width, 10**6))
    rows = height if height < 10_000 else 100
    body = b"".join(squeeze.compress(row) for _ in range(rows)) + squeeze.flush()
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", size), (b"IDAT", body), (b"IEND", b""))
    )


def jpeg_of_many_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated: small on the wire, long in the decoder."""
    data = encoded(Image.new("L", (side, side), 7), progressive=True, quality=50)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + b"\xff\xd9"
