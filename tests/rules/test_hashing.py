"""XXH64 over columns: published values; agreement with Spark stands in tests/spark/test_work.py."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from filters.hashing import key_hashes, xxhash64


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        ("", 0xEF46DB3751D8E999),
        ("a", 0xD24EC4F1A98C6E5B),
        ("abc", 0x44BC2CF5AD770999),
        ("Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1),
    ],
)
def test_published_values(text: str, digest: int) -> None:
    assert xxhash64([pa.array([text])], seed=0).tolist() == [digest]
    assert xxhash64([pa.array(["other", text, "", text])], seed=0)[[1, 3]].tolist() == [digest] * 2


def test_a_column_of_equal_values_is_hashed_as_any_other() -> None:
    columns = [pa.array(["p", "p", "q"]), pa.array(["h", None, "h"]), pa.array(["1", "2", "2"])]
    whole = key_hashes(columns)
    for row in range(3):
        alone = key_hashes([column.slice(row, 1) for column in columns])
        twice = key_hashes([pa.concat_arrays([c.slice(row, 1)] * 2) for c in columns])
        for one, two, of_all in zip(alone, twice, whole, strict=True):
            assert one[0] == two[0] == two[1] == of_all[row]


def test_no_two_of_a_million_keys_agree() -> None:
    ids = pa.array(np.arange(1_000_000).astype(str))
    wide, check = key_hashes([ids])
    assert np.unique(wide).size == 1_000_000
    # 32 bits: about n^2 / 2^33 = 116 pairs agree by chance (standard deviation 11).
    assert 50 < 1_000_000 - np.unique(check).size < 190
