"""Schemas: documentation, checks, buckets and the generated pages."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.documentation import configuration_page, glossary_page, tables_page
from likewise.errors import DataError
from likewise.tables import POSTS, TABLES, bucket_of, check_schema

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", TABLES)
def test_every_column_is_documented_and_every_key_is_a_required_column(name: str) -> None:
    spec = TABLES[name]
    for field in spec.schema:
        assert field.metadata[b"doc"].endswith(b"."), f"{name}.{field.name}"
    for key in spec.key if name != "comparison" else ():  # a baseline has neither layer nor set
        assert not spec.schema.field(key).nullable


@pytest.mark.parametrize(
    ("page", "make"),
    [
        ("tables.md", tables_page),
        ("configuration.md", configuration_page),
        ("glossary.md", glossary_page),
    ],
)
def test_the_generated_pages_are_up_to_date(page: str, make: object) -> None:
    assert (DOCS / page).read_text(encoding="utf-8") == make(), "run: make docs"  # type: ignore[operator]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataError, match=r"column 'likes' .* is missing"):
        check_schema(
            POSTS.schema.remove(POSTS.schema.get_field_index("likes")), POSTS.schema, "posts"
        )


def test_a_column_of_another_type_is_named() -> None:
    index = POSTS.schema.get_field_index("likes")
    wrong = POSTS.schema.set(index, pa.field("likes", pa.string()))
    with pytest.raises(DataError, match="column 'likes' is string, expected int64"):
        check_schema(wrong, POSTS.schema, "posts")


@given(st.text(), st.integers(1, 4096))
def test_buckets_are_in_range(key: str, n: int) -> None:
    assert 0 <= bucket_of(key, n) < n


def test_buckets_are_even() -> None:
    counts = [0] * 16
    for number in range(16_000):
        counts[bucket_of(f"mastodon/host/{number}/0", 16)] += 1
    # Binomial(16000, 1/16) has a standard deviation of 31; 6 of them never happen by chance.
    assert all(abs(count - 1000) < 186 for count in counts)
