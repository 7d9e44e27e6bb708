"""The one EXIF tag that pixels depend on. Source: EXIF 2.32, table 4; TIFF 6.0, section 2."""

from __future__ import annotations

import struct

__all__ = ["orientation_of"]

_ORIENTATION = 0x0112


def orientation_of(tiff: bytes) -> int:
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
