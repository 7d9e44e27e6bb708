"""Exact quantiles of Spark columns against NumPy, where intervals and stand-ins are needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from filters.quantiles import quantile
from spark_jobs import quantiles


@pytest.mark.parametrize("kind", ["distinct", "tied"])
def test_quantiles_are_exact(spark: Any, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(quantiles, "SMALL", 100)
    rng = np.random.default_rng(8)
    values = rng.lognormal(0, 2, 20_000)
    if kind == "tied":
        values = np.where(rng.random(20_000) < 0.55, 0.0, np.round(values, 1))
    asked = [0.3, 0.5, 0.7]
    frame = spark.createDataFrame(pa.table({"ratio": values})).repartition(5)
    found, counts = quantiles.value_counts(frame, "ratio", asked, rows=len(values))
    assert counts.sum() == len(values)
    assert len(found) < len(values) / 2
    for q in asked:
        assert quantile(found, counts, q) == np.quantile(values, q)
