"""The server whose world the nights collect."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from moved_clock import EPOCH

from infra.sandbox import World, WorldSpec, running


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(World(WorldSpec(seed=3, authors=60, posts=240, epoch=EPOCH.date()))) as sandbox:
        sandbox.limiter.enabled = False
        yield sandbox.url
