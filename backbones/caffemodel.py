"""Read the parameters of a ``.caffemodel``, Caffe's binary protocol buffer, without Caffe.

Only what weights need is read. Field numbers are those of BVLC's ``caffe.proto``: NetParameter has
layers in field 100 (``layer``) or, in old files, 2 (``layers``, V1LayerParameter); a layer has its
name and its blobs; a blob has its numbers and its shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_caffemodel"]

_LAYER = {100: (1, 7), 2: (4, 6)}  # field of the net -> fields (name, blobs) of the layer
_BLOB_DATA, _BLOB_SHAPE, _BLOB_OLD_SHAPE = 5, 7, (1, 2, 3, 4)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Field(NamedTuple):
    number: int
    kind: int
    value: int
    body: memoryview


def read_caffemodel(path: Path) -> dict[str, NDArray[np.float32]]:
    """``LAYER.weight`` and ``LAYER.bias`` -> float32 array, for every layer that has blobs.

    Fully connected weights come as (outputs, inputs), convolutions as (outputs, inputs / groups,
    height, width).

    Raises:
        ValueError: the file is truncated or is no caffemodel.
    """
    state: dict[str, NDArray[np.float32]] = {}
    for field in _fields(memoryview(path.read_bytes())):
        if field.number in _LAYER and field.kind == _BYTES:
            state |= _layer(field.body, *_LAYER[field.number])
    if not state:
        raise ValueError("it holds no layer with parameters")
    return state


def _layer(body: memoryview, name_field: int, blobs_field: int) -> dict[str, NDArray[np.float32]]:
    fields = [field for field in _fields(body) if field.kind == _BYTES]
    name = next((bytes(f.body).decode() for f in fields if f.number == name_field), "")
    blobs = [_blob(f.body) for f in fields if f.number == blobs_field]
    kinds = ("weight", "bias")
    return {f"{name}.{kind}": _trim(blob, kind) for kind, blob in zip(kinds, blobs, strict=False)}


def _trim(blob: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """Old files give every blob four axes: a bias is a vector, a matrix has 1 x 1 in front."""
    if kind == "bias":
        return blob.reshape(-1)
    return blob[0, 0] if blob.ndim == 4 and blob.shape[:2] == (1, 1) else blob


def _blob(body: memoryview) -> NDArray[np.float32]:
    shape: list[int] = []
    old: dict[int, int] = {}
    pieces: list[NDArray[np.float32]] = []
    for field in _fields(body):
        if field.number == _BLOB_DATA and field.kind in (_BYTES, _FIXED32):
            pieces.append(np.frombuffer(field.body, "<f4"))
        elif field.number == _BLOB_SHAPE and field.kind == _BYTES:
            shape = _dims(field.body)
        elif field.number in _BLOB_OLD_SHAPE and field.kind == _VARINT:
            old[field.number] = field.value
    data = np.concatenate(pieces) if pieces else np.empty(0, np.float32)
    return data.reshape(shape or [old.get(axis, 1) for axis in _BLOB_OLD_SHAPE]).astype(np.float32)


def _dims(body: memoryview) -> list[int]:
    dims: list[int] = []
    for field in _fields(body):
        if field.kind == _VARINT:
            dims.append(field.value)
            continue
        at = 0
        while at < len(field.body):
            value, at = _varint(field.body, at)
            dims.append(value)
    return dims


def _fields(body: memoryview) -> Iterator[_Field]:
    at = 0
    while at < len(body):
        tag, at = _varint(body, at)
        kind, value = tag & 7, 0
        if kind == _VARINT:
            value, at = _varint(body, at)
            length = 0
        elif kind == _BYTES:
            length, at = _varint(body, at)
        else:
            length = {_FIXED32: 4, _FIXED64: 8}.get(kind, -1)
        if length < 0 or at + length > len(body):
            raise ValueError(f"bad field at byte {at}")
        yield _Field(tag >> 3, kind, value, body[at : at + length])
        at += length


def _varint(body: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(body) or shift > 63:
            raise ValueError(f"ends in the middle of a number at byte {at}")
        byte = body[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
