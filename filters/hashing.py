"""XXH64 of keys, whole columns at a time.

Yann Collet's 64-bit xxHash (the specification is xxHash's ``doc/xxhash_spec.md``), chained over the
columns of a key as Spark's ``xxhash64`` does: the hash of one column seeds the next and nulls are
left out. So a key hashed here and the same key hashed in a Spark expression agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["key_hashes", "mixed", "xxhash64"]

Words = NDArray[np.uint64]

SEED = 42  # that of Spark's expression
CHECK_SEED = 0x9E3779B9

P1, P2, P3, P4, P5 = (
    np.array([prime], np.uint64)
    for prime in (
        0x9E3779B185EBCA87,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0x85EBCA77C2B2AE63,
        0x27D4EB2F165667C5,
    )
)


def key_hashes(columns: Sequence[pa.Array]) -> tuple[Words, NDArray[np.uint32]]:
    """Two independent hashes of a text key, 64 and 32 bits, each of shape (n,).

    Two keys agree in both by chance once in 2**96: never, for any number of rows that this program
    will see.
    """
    rows, short = len(columns[0]), [_shortened(column) for column in columns]
    wide, check = (_broadcast(_hashed(short, seed), rows) for seed in (SEED, CHECK_SEED))
    return wide, check.astype(np.uint32)


def xxhash64(columns: Sequence[pa.Array], seed: int = SEED) -> Words:
    """XXH64 of a key of text columns, shape (n,); columns are string arrays of equal length n."""
    return _broadcast(_hashed([_shortened(column) for column in columns], seed), len(columns[0]))


def mixed(values: NDArray[np.int64], seed: int = SEED) -> Words:
    """XXH64 of each integer's eight bytes, shape (n,)."""
    state = np.full(values.size, seed, np.uint64) + P5 + np.uint64(8)
    return _final(_word(state, values.view(np.uint64)))


def _shortened(column: pa.Array) -> pa.Array:
    """The first value for a column of equal ones, as platform and host mostly are."""
    import pyarrow.compute as pc

    if len(column) > 1 and column.null_count == 0 and pc.all(pc.equal(column, column[0])).as_py():
        return column[:1]
    return column


def _broadcast(state: Words, rows: int) -> Words:
    return np.broadcast_to(state, rows) if state.size == 1 else state


def _hashed(columns: Sequence[pa.Array], seed: int) -> Words:
    """Hashes of columns, each of n values or of one that stands for all; shape (n,) or (1,)."""
    state = np.array([seed], np.uint64)
    for column in columns:
        answer = _texts(column, state)
        if column.null_count:
            valid = column.is_valid().to_numpy(zero_copy_only=False)
            answer = np.where(valid, answer, state)
        state = answer
    return state


def _texts(column: pa.Array, seed: Words) -> Words:
    """Hash of each value under ``seed``; either may be of shape (1,)."""
    import pyarrow as pa

    text = column.cast(pa.string())
    _, ends, data = text.buffers()
    offsets = np.frombuffer(ends, np.int32)[text.offset : text.offset + len(text) + 1]
    octets = np.frombuffer(data or b"", np.uint8)
    if len(text) == 1:
        return _of_length(octets, offsets[:1], int(offsets[1] - offsets[0]), seed)
    lengths = np.diff(offsets)
    answer = np.empty(lengths.size, np.uint64)
    for length in np.flatnonzero(np.bincount(lengths)).tolist():
        rows = np.flatnonzero(lengths == length)
        own = seed if seed.size == 1 else seed[rows]
        answer[rows] = _of_length(octets, offsets[rows], length, own)
    return answer


def _of_length(octets: NDArray[np.uint8], at: NDArray[np.int32], length: int, seed: Words) -> Words:
    """XXH64 of the ``length`` bytes that begin at each of ``at``; a single seed or text is all."""
    words = _unaligned(octets, np.uint64)
    stripes = length - length % 32
    state = _striped(words, at, stripes, seed) if stripes else seed + P5
    state = state + np.uint64(length)
    for offset in range(stripes, length - 7, 8):
        state = _word(state, words[at + offset])
    done = length - length % 8
    if length - done >= 4:
        half = _unaligned(octets, np.uint32)[at + done].astype(np.uint64)
        state = _rotated(state ^ half * P1, 23) * P2 + P3
        done += 4
    for offset in range(done, length):
        state = _rotated(state ^ octets[at + offset].astype(np.uint64) * P5, 11) * P1
    return _final(state)


def _unaligned(octets: NDArray[np.uint8], kind: type[np.unsignedinteger]) -> NDArray[np.uint64]:
    """The little-endian word that begins at every byte."""
    size = np.dtype(kind).itemsize
    count = max(octets.size - size + 1, 0)
    little = np.dtype(kind).newbyteorder("<")
    return np.ndarray((count,), little, octets if count else b"", strides=(1,))


def _striped(words: Words, at: NDArray[np.int32], stripes: int, seed: Words) -> Words:
    """Keys of 32 bytes and more: four lanes of words, merged."""
    lanes = [seed + P1 + P2, seed + P2, seed + np.uint64(0), seed - P1]
    for offset in range(0, stripes, 32):
        lanes = [_round(lane, words[at + offset + 8 * k]) for k, lane in enumerate(lanes)]
    state = sum(
        (_rotated(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True)),
        start=np.zeros(1, np.uint64),
    )
    for lane in lanes:
        state = (state ^ _round(np.zeros(1, np.uint64), lane)) * P1 + P4
    return state


def _round(lane: Words, word: Words) -> Words:
    return _rotated(lane + word * P2, 31) * P1


def _word(state: Words, word: Words) -> Words:
    return _rotated(state ^ _round(np.zeros(1, np.uint64), word), 27) * P1 + P4


def _final(state: Words) -> Words:
    state = (state ^ (state >> np.uint64(33))) * P2
    state = (state ^ (state >> np.uint64(29))) * P3
    return state ^ (state >> np.uint64(32))


def _rotated(x: Words, bits: int) -> Words:
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))
