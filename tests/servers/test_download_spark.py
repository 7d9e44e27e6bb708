"""The same coroutine in Spark partitions: the same rows, and no host is asked more than allowed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept_posts import keep, rows_of
from misbehaving import Misbehaving

from collectors.download import download as download_here
from collectors.downloading.engine import Settings
from collectors.downloading.fetch import Limits
from likewise.errors import CircuitOpenError, PartialError
from likewise.study import Study
from spark_jobs.download import download, lane_of, share_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@given(st.integers(1, 64), st.integers(1, 40), st.integers(1, 400))
def test_limits_hold_over_all_partitions(lanes: int, per_host: int, total: int) -> None:
    lanes = min(lanes, total)
    settings = Settings(limits=Limits(concurrency=total, per_host=per_host))
    mine = share_of(settings, lanes).limits
    assert mine.concurrency >= 1 and mine.concurrency * lanes <= total
    used = defaultdict(set)
    for number in range(60):
        url = f"https://h{number % 2}.example/{number}"
        used[number % 2].add(lane_of(url, str(number), lanes, per_host))
    for taken in used.values():
        assert len(taken) * mine.per_host <= per_host
        assert taken <= set(range(lanes))


def test_same_rows_as_without_spark(
    spark: SparkSession, server: Misbehaving, make_study: Callable[..., Study]
) -> None:
    urls = [server.url(f"/ok/{number}") for number in range(40)] + [server.url("/status/404")]
    study = make_study(urls, per_host=4, max_attempts=1)
    with pytest.raises(PartialError, match="1 of 41"):
        download(study)
    on_spark, made = rows_of(study), study.require("fetches").fingerprint
    content = study.require("fetches").extra["content"]
    assert server.most_open <= 4
    assert len(server.seen) == 41
    assert download(study).fingerprint == made and len(server.seen) == 41

    keep(study, [*urls, server.url("/ok/77")])
    download(study)
    assert len(server.seen) == 42

    import shutil

    for table in ("fetches", "pictures"):
        shutil.rmtree(study.root / "tables" / table)
    keep(study, urls)
    with pytest.raises(PartialError):
        download_here(study)
    # Versions have names of their own; the digest of the rows is the same.
    assert study.require("fetches").extra["content"] == content
    assert rows_of(study) == on_spark


def test_the_circuit_breaker_opens_on_spark_too(
    spark: SparkSession, server: Misbehaving, make_study: Callable[..., Study]
) -> None:
    study = make_study([server.url("/status/403")] * 240)
    with pytest.raises(CircuitOpenError, match="http_403"):
        download(study)
    assert study.manifest("pictures") is None
    assert len(server.seen) < 240
