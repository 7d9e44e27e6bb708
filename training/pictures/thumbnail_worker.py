"""The process that makes thumbnails of unknown bytes; ``GuardedPool`` starts it.

Each request is the long side in pixels (4 bytes, little-endian) and the file; the answer is the
WebP file as base64 under ``webp``, or the reason why there is none under ``error``.
"""

from __future__ import annotations

import base64
import struct

from filters.pictures.decode import PictureError, decode_rgb
from filters.pictures.inspect_worker import limited_seconds, serve
from training.pictures.thumbnails import encode, shrink

__all__ = ["answer", "main"]


def answer(request: bytes) -> dict[str, object]:
    """The thumbnail of one file."""
    (side,) = struct.unpack("<I", request[:4])
    with limited_seconds():
        try:
            rgb = decode_rgb(request[4:], min_side=side)
        except PictureError as error:
            return {"error": error.error_class}
        except MemoryError:
            return {"error": "too_costly"}
        return {"webp": base64.b64encode(encode(shrink(rgb, side))).decode()}


def main() -> None:
    """Answer until standard input ends."""
    serve(answer)
