"""Three nights whose store is killed at seeded moments and comes back: no row differs.

``LIKEWISE_FAULTS`` (60) as for the other faults: every sixth of them is one of these.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import boto3
import pytest
from night_runs import DAYS_AGO, TABLES, differing, finish, make, place, start, state
from s3_servers import KEYS, free_port, served

from likewise.errors import ExitCode
from likewise.study import Study

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

MOMENTS = int(os.environ.get("LIKEWISE_FAULTS", "60")) // 6


def test_a_store_that_is_killed_over_three_nights(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A night ends well, or with 8 and no traceback; nights before it read as they did."""
    port, draw = free_port(), random.Random(int(os.environ.get("LIKEWISE_SEED", "19")))
    environment = {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_MAX_ATTEMPTS": "3"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    calm = make(tmp_path / "calm", url)
    codes, places = Counter[int](), Counter[str]()
    before: dict[int, dict[str, list[str]]] = {}
    with ExitStack() as store:

        def serve() -> None:
            store.enter_context(served("-m", "localbucket", str(tmp_path / "store"), port=port))

        serve()
        boto3.client("s3").create_bucket(Bucket="bucket")
        rough = make(tmp_path / "rough", url, "s3://bucket/study")
        for night, days in enumerate(DAYS_AGO, start=1):
            began = time.monotonic()
            finish(calm, days)
            lasts = time.monotonic() - began
            for _ in range(MOMENTS // len(DAYS_AGO)):
                process = start(rough, days)
                time.sleep(draw.uniform(0.2, 1) * lasts)
                store.close()
                places[place(rough, process.pid) if process.poll() is None else "missed"] += 1
                time.sleep(draw.choice((0.2, 2.0, 20.0)))
                serve()
                _, told = process.communicate(timeout=600)
                codes[process.returncode] += 1
                assert process.returncode in {ExitCode.DONE, ExitCode.PARTIAL, ExitCode.STORAGE}
                assert b"Traceback" not in told, told.decode()
                for one, found in before.items():
                    assert state(Study.open(rough, at=one)) == found
            finish(rough, days)
            before[night] = state(Study.open(rough, at=night))
        print(f"\n{places.total()} kills of the store: {dict(places)}; exit codes {dict(codes)}")
        for night, found in before.items():
            expected = state(Study.open(calm, at=night))
            assert differing(found, expected) == dict.fromkeys(TABLES, 0)
