"""Link headers in every way in which servers write them."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.platforms.links import next_address, next_id

TOKEN = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)
QUOTED = st.text(
    st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters='"\\'), max_size=12
)
SPACE = st.sampled_from(["", " ", "\t", "  "])
ADDRESS = st.text("abc/:?=&,;%.0123", max_size=20).map(lambda path: f"https://h.example/{path}")


@st.composite
def relation(draw: st.DrawFn, names: list[str]) -> str:
    """``rel`` with these relations, written in one of the ways that RFC 8288 allows."""
    cased = [draw(st.sampled_from([name, name.upper(), name.title()])) for name in names]
    value = " ".join(cased)
    bare = len(names) == 1 and draw(st.booleans())
    text = value if bare else f'"{value}"'
    name = draw(st.sampled_from(["rel", "REL", "Rel"]))
    return f"{name}{draw(SPACE)}={draw(SPACE)}{text}"


@st.composite
def link(draw: st.DrawFn, address: str, names: list[str]) -> str:
    others = draw(st.lists(st.tuples(TOKEN.filter(lambda n: n != "rel"), QUOTED), max_size=2))
    parameters = [f'{name}="{value}"' for name, value in others]
    parameters.insert(draw(st.integers(0, len(parameters))), draw(relation(names)))
    return f"<{address}>" + "".join(f"{draw(SPACE)};{draw(SPACE)}{p}" for p in parameters)


@st.composite
def headers(draw: st.DrawFn) -> tuple[str, str | None]:
    """A header of several links, at most one of them the next page's, and its address."""
    following = draw(st.none() | ADDRESS)
    others = draw(st.lists(st.tuples(ADDRESS, TOKEN.filter(lambda n: n != "next")), max_size=3))
    links = [draw(link(address, [name])) for address, name in others]
    if following is not None:
        more = draw(st.lists(TOKEN.filter(lambda n: n != "next"), max_size=2))
        names = draw(st.permutations(["next", *more]))
        links.insert(draw(st.integers(0, len(links))), draw(link(following, list(names))))
    return draw(st.sampled_from([", ", ",", " , "])).join(links), following


@given(headers())
def test_every_way_to_write_a_link_header(case: tuple[str, str | None]) -> None:
    text, following = case
    assert next_address(text) == following


@given(st.text(max_size=60))
def test_no_text_makes_the_parser_raise(text: str) -> None:
    next_address(text)
    next_id(text)


@given(st.text("abcXYZ0189._-", min_size=1, max_size=20))
def test_any_id_comes_back(number: str) -> None:
    header = f"<https://h.example/x?limit=40&max_id={quote(number)}>; rel=next"
    assert next_id(header) == (True, number)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('<https://h/x?max_id=5&min_id=9>; rel="next"', (True, "5")),
        ('<https://h/x?min_id=9>; rel="prev", <https://h/x?max_id=5>; rel="next"', (True, "5")),
        ("<https://h/x?max_id=5>; rel=next, <https://h/x?min_id=9>; rel=prev", (True, "5")),
        ('<https://h/x?max_id=5>; rel="last next"', (True, "5")),
        ('<https://h/x?tag=a,b&max_id=5>; title="x, <y>; rel=prev"; rel="next"', (True, "5")),
        ("</x?limit=1&amp;max_id=5>; rel=next", (True, "5")),
        ('<https://h/x?max_id=5>; rel="prev"; rel="next"', (False, None)),
        ('<https://h/x?page=2>; rel="next"', (True, None)),
        ('<https://h/x?max_id=5>; rel="nextish"', (False, None)),
        ("", (False, None)),
    ],
)
def test_headers_that_were_seen(header: str, expected: tuple[bool, str | None]) -> None:
    assert next_id(header) == expected
