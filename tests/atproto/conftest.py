"""Bluesky's own servers, where ``make test-atproto`` has started them."""

from __future__ import annotations

import json
import os

import pytest
from people import Network


@pytest.fixture(scope="session")
def network() -> Network:
    """The running servers; tests skip without them."""
    about = os.environ.get("LIKEWISE_ATPROTO")
    if about is None:
        pytest.skip("Bluesky's own servers are not running: make test-atproto starts them")
    return Network(json.loads(about))
