"""Servers that misbehave, and studies that point at them."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kept_posts import keep
from misbehaving import Misbehaving

from likewise.config import render
from likewise.study import Study


@pytest.fixture
def server() -> Iterator[Misbehaving]:
    with Misbehaving() as running:
        yield running


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., Study]:
    """Make (or change) a study whose kept posts have these addresses."""

    def make(urls: list[str], **download: Any) -> Study:
        folder = tmp_path / "study"
        folder.mkdir(exist_ok=True)
        settings = {"allow_hosts": ["127.0.0.1"], "timeout_s": 2.0, "workers": 1} | download
        (folder / "likewise.toml").write_text(render({"download": settings}), encoding="utf-8")
        study = Study.open(folder)
        keep(study, urls)
        return study

    return make


@pytest.fixture(scope="session")
def authority() -> Any:
    import trustme

    return trustme.CA()


@pytest.fixture
def tls_server(authority: Any) -> Iterator[Misbehaving]:
    """The server behind TLS, with a certificate of an authority that nobody knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Misbehaving(tls=context) as running:
        yield running
