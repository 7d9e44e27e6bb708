"""Copies: the hash against imagehash, pairs against brute force, kinds against planted copies."""

from __future__ import annotations

from pathlib import Path

import imagehash
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import encoded, scene
from PIL import Image, ImageEnhance

from filters.pictures.copies import canonical, copies, originals, phash
from filters.pictures.decode import decode_rgb, inspect
from filters.pictures.hamming import near_pairs

CODES = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=60)


def bits_apart(one: int, other: int) -> int:
    return ((one ^ other) & (2**64 - 1)).bit_count()


def theirs(image: Image.Image) -> int:
    """imagehash's 64 bits as a signed integer."""
    return int(np.uint64(int(str(imagehash.phash(image)), 16)).view(np.int64))


@pytest.mark.parametrize("seed", range(12))
def test_hash_is_that_of_imagehash(seed: int) -> None:
    image = scene(seed, (300 + 20 * seed, 500 - 20 * seed))
    assert phash(np.asarray(image)) == theirs(image)


def test_hash_of_the_reduced_picture_agrees_with_imagehash_on_photographs(shared: Path) -> None:
    files = sorted((shared / "images" / "coco128").rglob("*.jpg"))
    apart = []
    for path in files:
        found = inspect(path.read_bytes())
        if found.phash is not None:
            apart.append(bits_apart(found.phash, theirs(Image.open(path))))
    assert len(apart) > 100
    assert np.median(apart) <= 1
    assert np.quantile(apart, 0.99) <= 4


def test_hash_survives_what_copiers_do_and_tells_pictures_apart(shared: Path) -> None:
    files = sorted((shared / "images" / "coco128").rglob("*.jpg"))[:40]
    codes, copied = [], []
    for path in files:
        image = Image.open(path).convert("RGB")
        codes.append(phash(decode_rgb(path.read_bytes())))
        smaller = image.resize((image.width * 2 // 3, image.height * 2 // 3))
        brighter = ImageEnhance.Brightness(smaller).enhance(1.1)
        copied.append(phash(decode_rgb(encoded(brighter, quality=60))))
    same = [bits_apart(one, other) for one, other in zip(codes, copied, strict=True)]
    others = [bits_apart(codes[i], codes[j]) for i in range(40) for j in range(i)]
    assert np.median(same) <= 2
    assert np.quantile(same, 0.9) <= 6
    assert min(others) > 6


@given(CODES, st.integers(0, 20))
@settings(deadline=None, max_examples=60)
def test_pairs_are_those_of_brute_force(values: list[int], radius: int) -> None:
    spread = values + [value ^ (1 << index % 63) for index, value in enumerate(values)]
    codes = np.unique(np.array(spread, np.int64))
    bits = codes.view(np.uint64)
    near = np.bitwise_count(bits[:, None] ^ bits[None, :]) <= radius
    wanted = np.nonzero(np.triu(near, 1))
    found = near_pairs(codes, radius)
    assert np.array_equal(found[0], wanted[0]) and np.array_equal(found[1], wanted[1])


def test_planted_pairs_among_many() -> None:
    rng = np.random.default_rng(3)
    codes = rng.integers(-(2**63), 2**63 - 1, 50_000)
    for bit in rng.integers(0, 63, (4, 5_000)):
        codes[-5_000:] = (codes[:5_000] if (codes[-5_000:] != 0).all() else codes[-5_000:]) ^ (
            np.int64(1) << bit
        )
    left, right = near_pairs(np.unique(codes), 4)
    unique = np.unique(codes).view(np.uint64)
    assert (np.bitwise_count(unique[left] ^ unique[right]) <= 4).all()
    assert len(left) >= 5_000


def test_radius_outside_the_code_is_refused() -> None:
    with pytest.raises(ValueError, match="radius is 65"):
        near_pairs(np.arange(3), 65)


@given(CODES, st.integers(0, 8))
@settings(deadline=None, max_examples=60)
def test_who_goes_lies_near_one_who_stays(values: list[int], radius: int) -> None:
    codes = np.array(values + values[::2], np.int64)
    owner = originals(codes, radius)
    stays = owner == np.arange(len(codes))
    for row, source in enumerate(owner):
        assert stays[source] and source <= row
        assert bits_apart(int(codes[row]), int(codes[source])) <= radius
    kept = codes[stays]
    left, _ = near_pairs(kept, radius) if len(kept) else (np.zeros(0), None)
    assert len(left) == 0


ROWS = [
    # post, author, file, hash
    ("1", "anna", "f1", 0b0000),
    ("2", "anna", "f1", 0b0000),
    ("3", "bert", "f1", 0b0000),
    ("4", "anna", "f2", 0b0001),
    ("5", "bert", "f3", 0b0011),
    ("6", "cleo", "f4", 0b1111 << 40),
    ("7", "cleo", "f3", 0b0011),
]


def table(order: list[int] | None = None) -> pa.Table:
    rows = [ROWS[index] for index in order or range(len(ROWS))]
    return pa.table(
        {
            "platform": ["mastodon"] * len(rows),
            "host": ["h"] * len(rows),
            "post_id": [row[0] for row in rows],
            "media_index": pa.array([0] * len(rows), pa.int32()),
            "author_id": [row[1] for row in rows],
            "picture_id": [row[2] for row in rows],
            "phash": pa.array([row[3] for row in rows], pa.int64()),
        }
    )


@pytest.mark.parametrize("order", [None, [6, 5, 4, 3, 2, 1, 0], [2, 0, 6, 1, 5, 3, 4]])
def test_reposts_and_copies_by_others_are_told_apart(order: list[int] | None) -> None:
    found = copies(table(order), radius=2).to_pylist()
    assert [(row["post_id"], row["kind"], row["copy_of"]) for row in found] == [
        ("1", "original", "f1"),
        ("2", "exact, same author", "f1"),
        ("3", "exact, other author", "f1"),
        ("4", "near, same author", "f1"),
        ("5", "near, other author", "f1"),
        ("6", "original", "f4"),
        ("7", "exact, other author", "f1"),
    ]


def test_canonical_row_is_the_one_with_the_smallest_key() -> None:
    for order in (None, [6, 5, 4, 3, 2, 1, 0]):
        kept = canonical(table(order))
        assert kept["post_id"].to_pylist() == ["1", "4", "5", "6"]
    assert canonical(table(), ["picture_id"]).column_names == ["picture_id"]
    assert canonical(table().slice(0, 0)).num_rows == 0
