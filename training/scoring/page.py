"""Scored pictures as one page: a contact sheet, best first, that needs no server and no network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from likewise.study import Study
from training.data.unit import AUTHORS, Unit
from training.scoring.answers import Opinion, Scored

__all__ = ["Scores", "fragment", "in_study", "page", "percent", "sentence"]

SIDE = 240
SMALL = 72

STYLE = """
.lw-sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(250px,1fr));gap:14px;
font:14px/1.4 system-ui,sans-serif;color:#222}
.lw-sheet figure{margin:0;border:1px solid #d5d8dc;border-radius:6px;padding:10px;background:#fff}
.lw-sheet img.big{width:100%;aspect-ratio:1;object-fit:contain;background:#f4f5f6}
.lw-sheet .near img{width:72px;height:72px;object-fit:cover;margin:2px}
.lw-sheet .p{font-size:20px;font-weight:600}.lw-sheet .quiet{color:#5b6168}
.lw-sheet .name{overflow-wrap:anywhere}.lw-sheet .far{background:#fdf3e3}
"""


@dataclass(frozen=True, slots=True)
class Scores(Sequence[Scored]):
    """The pictures in the order in which they were given; a notebook shows them best first.

    ``doubts`` are sentences about models that are not shown to do better than chance.
    """

    rows: tuple[Scored, ...]
    base_rate: float
    study: Study = field(repr=False)
    doubts: tuple[str, ...] = ()
    unit: Unit = AUTHORS

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        return self.rows[place]

    def best_first(self) -> list[Scored]:
        """By the first model's probability; abstentions and unreadable files last."""

        def key(row: Scored) -> tuple[bool, bool, float]:
            first = row.opinions[0] if row.opinions else None
            return row.error is not None, row.abstained, -first.score if first else 0.0

        return sorted(self.rows, key=key)

    def _repr_html_(self) -> str:
        return fragment(self)


def page(scores: Scores, title: str) -> str:
    """A whole HTML document; everything in it is inline."""
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        "<meta http-equiv='Content-Security-Policy' "
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title>"
        "<style>body{margin:24px auto;max-width:1200px;padding:0 16px;"
        "font-family:system-ui,sans-serif;background:#fafbfb}</style></head><body>"
        f"<h1>{escape(title)}</h1>{fragment(scores)}</body></html>\n"
    )


def fragment(scores: Scores) -> str:
    """The sheet alone, as a notebook shows it."""
    small = _neighbours(scores)
    figures = "".join(_figure(row, scores.base_rate, small) for row in scores.best_first())
    return (
        f"<style>{STYLE}</style><p>{escape(_about(scores))}</p>"
        + "".join(f"<p><strong>{escape(one)}</strong></p>" for one in scores.doubts)
        + f"<div class='lw-sheet'>{figures}</div>"
    )


def _about(scores: Scores) -> str:
    return (
        f"{len(scores)} pictures, likeliest first. Of the study's pictures {scores.base_rate:.0%} "
        f"count as liked. Intervals hold 95 %, by held-out {scores.unit.many}; nearness is by the "
        f"network's features, and says nothing about why. {scores.unit.scope}"
    ).rstrip()


def percent(value: float | None) -> str:
    """A share for people; a dash for an unknown one."""
    return "\u2013" if value is None else f"{100 * value:.0f} %"


def sentence(opinion: Opinion) -> str:
    """A model's answer with its interval, or why there is none."""
    if opinion.probability is None:
        return f"score {opinion.score:.3f}; this model gives no probabilities"
    if opinion.low is None:
        return f"{percent(opinion.probability)}; {opinion.why}"
    return f"{percent(opinion.probability)} ({percent(opinion.low)} to {percent(opinion.high)})"


def in_study(how: str) -> str:
    """That a picture is one of the study's, and what its score is worth then."""
    worth = "no model has seen it" if how == "held out" else "the model was fitted on it"
    return f"this picture is in the study, {how}: {worth}"


def _figure(row: Scored, base_rate: float, small: dict[str, str]) -> str:
    del base_rate
    parts = []
    if row.data:
        parts.append(f"<img class='big' alt='' src='{_uri(row.data, SIDE)}'>")
    parts.append(f"<figcaption><div class='name'>{escape(row.name)}</div>")
    if row.error is not None:
        parts.append(f"<div class='p'>not a picture: {escape(row.error)}</div>")
    elif row.abstained:
        parts.append(
            "<div class='p'>no answer</div><div class='quiet'>too far from the study's pictures: "
            f"distance {row.distance:.2f}, 99 % of them lie within {row.limit:.2f}</div>"
        )
    else:
        first, *others = row.opinions
        parts.append(f"<div class='p'>{escape(sentence(first))}</div>")
        parts += [
            f"<div class='quiet'>{escape(one.model)}: {escape(sentence(one))}</div>"
            for one in others
        ]
    if row.in_study is not None:
        parts.append(f"<div class='quiet'>{escape(in_study(row.in_study))}</div>")
    if row.author is not None:
        a = row.author
        parts.append(
            f"<div class='quiet'>{escape(a.author)}: {a.liked} of {a.pictures} liked, "
            f"{percent(a.share)} ({percent(a.low)} to {percent(a.high)})</div>"
        )
    parts += [f"<div class='quiet'>{escape(text)}</div>" for text in row.stands_out]
    for words, near in (("nearest liked", row.liked), ("nearest unliked", row.unliked)):
        images = "".join(
            f"<img alt='distance {one.distance:.2f}' src='{small[one.picture_id]}'>"
            for one in near
            if one.picture_id in small
        )
        if images:
            parts.append(f"<div class='near quiet'>{words}<br>{images}</div>")
    far = " class='far'" if row.abstained else ""
    return f"<figure{far}>{''.join(parts)}</figcaption></figure>"


def _neighbours(scores: Scores) -> dict[str, str]:
    """picture_id -> ``data:`` address of every neighbour's thumbnail."""
    from training.pictures.thumbnails import decoded, encode, square

    wanted = {near.picture_id for row in scores.rows for near in (*row.liked, *row.unliked)}
    return {
        picture_id: _data(encode(square(rgb, SMALL)))
        for picture_id, rgb in decoded(scores.study, dict.fromkeys(wanted, SMALL))
    }


def _uri(data: bytes, side: int) -> str:
    from filters.pictures.decode import decode_rgb
    from training.pictures.thumbnails import encode, shrink

    return _data(encode(shrink(decode_rgb(data, min_side=side), side)))


def _data(webp: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(webp).decode()
