"""However a server's address is written, it is one server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.crawling.manners import check_permission
from collectors.platforms.hosts import authority, canonical
from collectors.platforms.mastodon import Mastodon
from likewise.config import Source
from likewise.errors import ConfigError

FORMS = [
    "mastodon.social", "https://mastodon.social", "https://mastodon.social/", "Mastodon.Social",
    "mastodon.social:443", "https://mastodon.social.:443/", "mastodon.social.",
    "HTTPS://MASTODON.SOCIAL",
    "http://mastodon.social:80", "ｍａｓｔｏｄｏｎ.social", "mastodon。social",
    "mastodon.social:8443",
    "www.mastodon.social", " mastodon.social ",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_forbidden_server_is_refused(form: str) -> None:
    with pytest.raises(ConfigError, match="forbid"):
        check_permission(Mastodon(Source(platform="mastodon", host=form, permission="yes")))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("Bücher.Example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example.", "xn--bcher-kva.example"),
        ("http://127.0.0.1:8080/", "127.0.0.1:8080"),
        ("http://[::1]:80", "[::1]"),
        ("http://h.example:443", "h.example:443"),
        ("https://h.example/social/", "h.example"),
    ],
)
def test_hosts(form: str, expected: str) -> None:
    assert authority(form) == expected
    assert authority(canonical(form)) == expected


@pytest.mark.parametrize(
    "form", ["https://", "ftp://h.example", "https://me:pw@h.example", "h..example", "h%2Eexample",
             "https://h.example:99999", "exam\u00adple.org:x"],
)  # fmt: skip
def test_what_is_no_server(form: str) -> None:
    with pytest.raises(ConfigError) as caught:
        canonical(form)
    assert "pw" not in str(caught.value)


LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789äößλж", min_size=1, max_size=10)


@given(st.lists(LABEL, min_size=2, max_size=3), st.booleans(), st.booleans(), st.booleans())
def test_case_dot_and_port_change_nothing(
    labels: list[str], upper: bool, dot: bool, port: bool
) -> None:
    name = ".".join(labels)
    text = (name.upper() if upper and name.isascii() else name) + "." * dot + ":443" * port
    try:
        plain = authority(name)
    except ConfigError:
        return
    assert authority(text) == plain
    assert canonical(canonical(text)) == canonical(text)
