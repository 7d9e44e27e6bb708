"""likewise.toml: what is refused, with which words."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.config import Config, load, parse, render
from likewise.errors import ConfigError


def test_the_rendered_file_is_the_default_configuration() -> None:
    assert parse(render()) == Config()


def test_uncommenting_every_default_changes_nothing() -> None:
    lines = []
    for line in render().splitlines():
        body = line.removeprefix("# ")
        is_default = line.startswith("# ") and " = " in body and not body.startswith("#")
        lines.append(
            body if is_default and not body.split("=")[1].strip().startswith("#") else line
        )
    text = "\n".join(lines)
    assert len(tomllib.loads(text)["clean"]) >= 4
    assert parse(text) == Config()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "[clean]\nmin_agedays = 3\n",
            r"t\.toml:2: clean\.min_agedays .* did you mean 'min_age_days'",
        ),
        ("[cleen]\n", r"t\.toml:1: cleen is not a known key; did you mean 'clean'"),
        ("[clean]\n\nthreshold = 'a'\n", r"t\.toml:3: clean\.threshold = 'a': .*valid number"),
        ("[clean]\nthreshold = -1\n", r"t\.toml:2: clean\.threshold = -1: .*greater than 0"),
        ("[label]\nmethod = 'median'\n", r"t\.toml:2: label\.method .*'pooled', 'per-author' or"),
        (
            "[[collect.sources]]\nplatform = 'mastodon'\n",
            r"t\.toml:1: collect\.sources\.0\.host is missing",
        ),
        ("[clean\n", r"t\.toml: not valid TOML: .*line 1"),
    ],
)
def test_mistakes_are_named(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(text, "t.toml")


def test_every_mistake_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("[clean]\nx = 1\n[label]\ny = 2\n", "t.toml")
    assert str(caught.value).count("t.toml:") == 2


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "likewise.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"likewise\.toml cannot be read"):
        load(path)


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    message = ""
    try:
        parse(text)
    except ConfigError as error:
        message = str(error)
    assert not message or "likewise.toml" in message


def test_quotes_and_backslashes_survive_rendering() -> None:
    name = 'a "quoted" \\ name'
    assert parse(render({"study": {"name": name}})).study.name == name
