"""SQL (DuckDB's) that reads counts, moments and words out of text columns, and says what is wrong.

A count is digits, with groups of three parted by a space or an apostrophe at most. "1,234" and
"1.2k" are numbers of two kinds at once: they are refused until the user says what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = [
    "AMBIGUOUS", "NOT_A_COUNT", "NOT_A_TIME", "NO_LABEL", "ROUNDED", "coalesce", "count",
    "count_problem", "epoch", "literal", "moment", "name", "no_label", "plain_texts", "text",
    "words",
]  # fmt: skip

AMBIGUOUS = "ambiguous"
ROUNDED = "rounded"
NOT_A_COUNT = "not a count"
NOT_A_TIME = "not understood"

_NOTHING = ("na", "n/a", "nan", "null", "none", "nil", "-", "--", "\\n", "?", "-1", "-1.0")
"""How programs write "unknown"; -1 is what Instagram's clients write for hidden likes."""

NO_LABEL = (
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>",
    "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
"""What is no class: the words that pandas.read_csv takes for a gap, in their spelling alone. So
"none" and "na" can be classes."""

_ROUNDED = "'[0-9]+([.,][0-9]+)?[ ]?[kKmMbB]|[0-9]+[.,]([0-9]{1,2}|[0-9]{4,})'"
"""1.2k and averages such as 12.6; with three digits behind the sign it is ambiguous instead."""


def literal(value: str) -> str:
    """A text as SQL."""
    return "'" + value.replace("'", "''") + "'"


def name(column: str) -> str:
    """A column's name as SQL."""
    return '"' + column.replace('"', '""') + '"'


def _trimmed(column: str) -> str:
    return f"nullif(trim({column}, ' \t\r\n\u00a0'), '')"


def _unknown(value: str) -> str:
    # No IN (...): DuckDB makes a join of it, which every cell goes through, plain or not.
    words = "|".join(map(re.escape, _NOTHING))
    return f"({value} IS NULL OR regexp_full_match({value}, {literal(f'(?i){words}')}))"


def count(cell: str, number: str, thousands: str | None, *, rounded: bool) -> str:
    """BIGINT of a cell, whose cast is ``number``; null where it is unknown, or is no count."""
    # DuckDB rounds "1.5" and reads "1e3": only text that comes back unchanged is digits alone.
    plain = f"{number}::VARCHAR = {cell} AND {number} >= 0"
    other = _other_count(_trimmed(cell), thousands, rounded=rounded)
    return f"CASE WHEN {plain} THEN {number} ELSE {other} END"


def _other_count(value: str, thousands: str | None, *, rounded: bool) -> str:
    cases = [
        f"WHEN {_unknown(value)} THEN NULL",
        f"WHEN regexp_full_match({value}, '[+]?0*[0-9]+') THEN try_cast({value} AS BIGINT)",
        f"WHEN regexp_full_match({value}, '[0-9]{{1,3}}([ \u00a0\u202f''\u2019][0-9]{{3}})+') "
        f"THEN try_cast(regexp_replace({value}, '[^0-9]', '', 'g') AS BIGINT)",
        # 12.0 is how pandas writes 12 beside a gap; 1.000 stays ambiguous.
        f"WHEN regexp_full_match({value}, '[0-9]+[.]0|[0-9]+[.]00|[0-9]{{4,}}[.]0+') "
        f"THEN try_cast(split_part({value}, '.', 1) AS BIGINT)",
    ]
    if thousands:
        sign = "\\" + thousands
        decimal = "," if thousands == "." else "[.]"
        cases.append(
            f"WHEN regexp_full_match({value}, '[0-9]{{1,3}}({sign}[0-9]{{3}})+({decimal}0+)?') "
            f"THEN try_cast(replace(regexp_replace({value}, '{decimal}0+$', ''), "
            f"{literal(thousands)}, '') AS BIGINT)"
        )
        cases.append(
            f"WHEN regexp_full_match({value}, '[0-9]+{decimal}0+') "
            f"THEN try_cast(regexp_extract({value}, '^[0-9]+') AS BIGINT)"
        )
    if rounded:
        number = f"replace(regexp_extract({value}, '^[0-9.,]+'), ',', '.')"
        factor = (
            f"(CASE lower(right({value}, 1)) WHEN 'k' THEN 1000 WHEN 'm' THEN 1000000 "
            "WHEN 'b' THEN 1000000000 ELSE 1 END)"
        )
        cases.append(
            f"WHEN regexp_full_match({value}, {_ROUNDED}) "
            f"THEN try_cast(round(try_cast({number} AS DOUBLE) * {factor}) AS BIGINT)"
        )
    return f"CASE {' '.join(cases)} END"


def count_problem(cell: str, thousands: str | None, *, rounded: bool) -> str:
    """Why a cell that gave no count gave none: AMBIGUOUS, ROUNDED, NOT_A_COUNT; null for gaps."""
    value = _trimmed(cell)
    cases = [f"WHEN {_unknown(value)} THEN NULL"]
    if not thousands:
        cases.append(
            f"WHEN regexp_full_match({value}, '[0-9]{{1,3}}([.,][0-9]{{3}})+([.,][0-9]+)?') "
            f"THEN {literal(AMBIGUOUS)}"
        )
    if not rounded:
        cases.append(f"WHEN regexp_full_match({value}, {_ROUNDED}) THEN {literal(ROUNDED)}")
    return f"CASE {' '.join(cases)} ELSE {literal(NOT_A_COUNT)} END"


def moment(cell: str, date_format: str | None) -> str:
    """TIMESTAMPTZ of a cell, by the connection's zone where it names none; null when unread."""
    if date_format:
        return f"try_strptime({_trimmed(cell)}, {literal(date_format)})::TIMESTAMPTZ"
    return f"try_cast({cell} AS TIMESTAMPTZ)"


def epoch(cell: str) -> str:
    """TIMESTAMPTZ of seconds, milli- or microseconds since 1970, told apart by their size."""
    value = _trimmed(cell)
    number = f"try_cast({value} AS DOUBLE)"
    read = (
        f"make_timestamptz((CASE WHEN {number} < 1e11 THEN {number} * 1e6 "
        f"WHEN {number} < 1e14 THEN {number} * 1e3 ELSE {number} END)::BIGINT)"
    )
    return (
        f"CASE WHEN regexp_full_match({value}, '[0-9]{{9,16}}([.][0-9]+)?') THEN {read} "
        f"ELSE try_cast({value} AS TIMESTAMPTZ) END"
    )


_SIGNS = (
    "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\x{200e}\\x{200f}\\x{202a}-\\x{202e}"
    "\\x{2066}-\\x{2069}\\x{feff}"
)
"""Control and direction characters, but tabs and line ends."""


def text(cell: str) -> str:
    """Text without control and direction characters; null when nothing is left."""
    return f"nullif(trim(regexp_replace({cell}, '[{_SIGNS}]', '', 'g'), ' \t\r\n'), '')"


def no_label(cell: str) -> str:
    """Whether a text stands for a gap where a class should be."""
    # No IN (...), as in _unknown.
    return f"regexp_full_match({cell}, {literal('|'.join(map(re.escape, NO_LABEL)))})"


def plain_texts(cells: Sequence[str]) -> str:
    """Whether ``text`` gives back every one of these cells as it is: one look tells of all."""
    if not cells:
        return "true"
    one = f"[^{_SIGNS} \\t\\n]([^{_SIGNS}]*[^{_SIGNS} \\t\\n])?"
    # Between them stands a sign that no plain cell holds.
    joined = ", chr(31), ".join(f"coalesce({cell}, 'x')" for cell in cells)
    pattern = "\\x1f".join([one] * len(cells))
    return f"regexp_full_match(concat({joined}), '{pattern}')"


def words(cell: str) -> str:
    """Tags of a cell: parted by spaces, commas and other signs; lower case, each once."""
    split = f"string_split_regex(lower({cell}), '[\\s,;|#\\[\\]\"'']+')"
    # Small words and single spaces between them need no pattern.
    return (
        f"list_distinct(CASE WHEN regexp_full_match({cell}, '[a-z0-9_]+( [a-z0-9_]+)*') "
        f"THEN string_split({cell}, ' ') ELSE list_filter({split}, lambda x: x != '') END)"
    )


def coalesce(parts: Sequence[str]) -> str:
    """The first that is not null."""
    return f"coalesce({', '.join(parts)})" if parts else "NULL"
