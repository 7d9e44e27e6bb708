"""Numbers and reasons in the words of the page."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup, escape

from likewise.glossary import GLOSSARY

__all__ = [
    "FILTERS",
    "count",
    "date",
    "interval",
    "noted",
    "number",
    "percent",
    "plural",
    "reason",
    "signed",
    "slug",
]


def count(value: float) -> str:
    """12345 -> '12,345'."""
    return f"{value:,.0f}"


def number(value: float | None, digits: int = 3) -> str:
    """At most three significant digits, no exponent; a dash for what is not known."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(places, 8)}f}".replace("-", "\u2212")
    return text.rstrip("0").rstrip(".") if "." in text else text


def signed(value: float | None, places: int = 2) -> str:
    """'+0.31' or '\u22120.31'."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:+.{places}f}".replace("-", "\u2212")


def fixed(value: float | None, places: int = 3) -> str:
    """'0.612'; a dash for what is not known."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{places}f}"


def between(row: Mapping[str, float], name: str) -> str:
    """The interval ``name_low`` to ``name_high`` of a row."""
    return interval(row[f"{name}_low"], row[f"{name}_high"])


def pvalue(p: float) -> str:
    """'0.03', or '< 0.001'."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def percent(share: float, places: int = 0) -> str:
    """0.123 -> '12 %'."""
    return f"{100 * share:.{places}f} %" if math.isfinite(share) else "–"


def interval(low: float, high: float, places: int = 2) -> str:
    """'0.58 to 0.66'."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "–"
    return f"{low:.{places}f} to {high:.{places}f}".replace("-", "\u2212")


def plural(value: int, one: str, many: str | None = None) -> str:
    """'1 picture', '2 pictures'."""
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


def reason(name: str) -> str:
    """A named reason of a funnel in words: 'followers_outlier' -> 'followers outlier'."""
    return name.replace("_", " ").replace("-", " ")


def date(value: str | dt.datetime | None) -> str:
    """'1 June 2026, 12:00 UTC'."""
    if not value:
        return "–"
    moment = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


NOTED = sorted(
    set(GLOSSARY) - {"audience", "chance", "feature", "gain", "good", "interval", "median"},
    key=len,
    reverse=True,
)
"""Words of the glossary that get a note; the others are everybody's."""

_NOTED = re.compile(rf"\b({'|'.join(map(re.escape, NOTED))})\b")


def slug(word: str) -> str:
    """'ROC AUC' -> 'roc-auc': the end of an anchor."""
    return word.lower().replace(" ", "-")


def noted(text: str) -> Markup:
    """Escaped text in which the first place of each word of the glossary has its note.

    The note is a link to the glossary of the page, so that it works by touch, by key and in print;
    a pointer sees it on hover.
    """
    seen: set[str] = set()

    def note(found: re.Match[str]) -> str:
        word = found[0]
        if word in seen:
            return word
        seen.add(word)
        tip = f'<span class="tip" aria-hidden="true">{escape(GLOSSARY[word])}</span>'
        return f'<a class="term" href="#word-{slug(word)}">{word}{tip}</a>'

    return Markup(_NOTED.sub(note, str(escape(text))))  # noqa: S704 - escaped before


FILTERS: Mapping[str, Any] = {
    "count": count,
    "number": number,
    "signed": signed,
    "percent": percent,
    "reason": reason,
    "date": date,
    "fixed": fixed,
    "between": between,
    "pvalue": pvalue,
    "noted": noted,
    "slug": slug,
}
"""What the templates call them."""
