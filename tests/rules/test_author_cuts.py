"""Authors' labelled and good pictures, against pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from filters.author_cuts import RATIO, own_authors, pooled_authors
from filters.labels import Cut


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    n = 3000
    return pd.DataFrame(
        {
            "key": rng.integers(2**63, 2**63 + 300, n, dtype=np.uint64),
            "ratio": np.round(rng.lognormal(-3, 1, n), 3),
            "post": rng.integers(0, 40, n, dtype=np.uint64),
        }
    )


def records(frame: pd.DataFrame) -> np.ndarray:
    return frame.astype({"post": "uint64"}).to_records(index=False).astype(RATIO)


def test_one_cut_for_all(frame: pd.DataFrame) -> None:
    found = pooled_authors(records(frame), Cut(0.03, 0.05, 0.07, 0.1))
    stays = frame[(frame.ratio <= 0.03) | (frame.ratio > 0.07)]
    expected = stays.assign(good=stays.ratio > 0.07).groupby("key").good.agg(["size", "sum"])
    some = found[found["n"] > 0]
    assert some["key"].tolist() == expected.index.tolist()
    assert some["n"].tolist() == expected["size"].tolist()
    assert some["good"].tolist() == expected["sum"].tolist()
    assert found["key"].tolist() == sorted(frame.key.unique())


@pytest.mark.parametrize("margin", [0.0, 0.15])
def test_each_author_its_own_cut(frame: pd.DataFrame, margin: float) -> None:
    found = own_authors(records(frame), margin, 9)
    own = frame.groupby("key")
    low, high = own.ratio.quantile(0.5 - margin), own.ratio.quantile(0.5 + margin)
    assert found["low"] == pytest.approx(low.to_numpy(), rel=1e-12)
    assert found["high"] == pytest.approx(high.to_numpy(), rel=1e-12)
    enough = own.post.nunique() >= 9
    assert found["enough"].tolist() == enough.tolist() and 0 < enough.sum() < len(enough)
    good = (frame.ratio > frame.key.map(high)) & frame.key.map(enough)
    bad = (frame.ratio <= frame.key.map(low)) & frame.key.map(enough)
    assert found["n"].tolist() == (good | bad).groupby(frame.key).sum().tolist()
    assert found["good"].tolist() == good.groupby(frame.key).sum().tolist()


def test_no_pictures_no_authors() -> None:
    nothing = np.empty(0, RATIO)
    assert pooled_authors(nothing, Cut(0, 0, 0, 0)).size == own_authors(nothing, 0.0, 1).size == 0
