"""SQL (DuckDB's) that reads counts, moments and words out of text columns, and says what is wrong.

A count is digits, with groups of three parted by a space or an apostrophe at most. "1,234" and
"1.2k" are numbers of two kinds at once: they are refused until the user says what they mean.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "AMBIGUOUS", "NOT_A_COUNT", "NOT_A_TIME", "ROUNDED", "count", "count_problem", "literal",
    "moment", "name", "plain_count", "plain_text", "plain_words", "text", "words",
]  # fmt: skip

AMBIGUOUS = "ambiguous"
ROUNDED = "rounded"
NOT_A_COUNT = "not a count"
NOT_A_TIME = "date not understood"

_NOTHING = ("na", "n/a", "nan", "null", "none", "nil", "-", "--", "\\n", "?", "-1", "-1.0")
"""How programs write "unknown"; -1 is what Instagram's clients write for hidden likes."""

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
    # Digits come first, so that ordinary cells are not compared with the whole list.
    words = ", ".join(map(literal, _NOTHING))
    return f"({value} IS NULL OR (NOT {value} BETWEEN '0' AND ':' AND lower({value}) IN ({words})))"


def count(column: str, thousands: str | None, *, rounded: bool) -> str:
    """BIGINT of a column; null where it is unknown or where ``count_problem`` has a name."""
    other = _other_count(_trimmed(column), thousands, rounded=rounded)
    return f"CASE WHEN {plain_count(column)} THEN try_cast({column} AS BIGINT) ELSE {other} END"


def plain_count(column: str) -> str:
    """Whether a cell is a count's digits and nothing else; null where no number is in it."""
    whole = f"try_cast({column} AS BIGINT)"
    # DuckDB rounds "1.5" and reads "1e3": only text that comes back unchanged is digits alone.
    return f"({whole}::VARCHAR = {column} AND {whole} >= 0)"


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
            f"THEN round(try_cast({number} AS DOUBLE) * {factor})::BIGINT"
        )
    return f"CASE {' '.join(cases)} END"


def count_problem(column: str, thousands: str | None, *, rounded: bool) -> str:
    """Why a cell gives no count: AMBIGUOUS, ROUNDED, NOT_A_COUNT; null when it is one or empty."""
    value = _trimmed(column)
    read = count(column, thousands, rounded=rounded)
    cases = [f"WHEN {plain_count(column)} THEN NULL"]
    cases.append(f"WHEN {_unknown(value)} OR {read} IS NOT NULL THEN NULL")
    if not thousands:
        cases.append(
            f"WHEN regexp_full_match({value}, '[0-9]{{1,3}}([.,][0-9]{{3}})+([.,][0-9]+)?') "
            f"THEN {literal(AMBIGUOUS)}"
        )
    cases.append(f"WHEN regexp_full_match({value}, {_ROUNDED}) THEN {literal(ROUNDED)}")
    return f"CASE {' '.join(cases)} ELSE {literal(NOT_A_COUNT)} END"


def moment(column: str, date_format: str | None) -> str:
    """TIMESTAMPTZ of a column, by the connection's zone where it names none; null when unread."""
    value = _trimmed(column)
    if date_format:
        return f"try_strptime({value}, {literal(date_format)})::TIMESTAMPTZ"
    # The cast reads nearly every cell; what it leaves is looked at again.
    return (
        f"coalesce(try_cast({value} AS TIMESTAMPTZ), CASE WHEN regexp_full_match({value}, "
        f"'[0-9]{{9,16}}([.][0-9]+)?') THEN {_epoch(value)} END)"
    )


def _epoch(value: str) -> str:
    """Seconds, milli- or microseconds since 1970, told apart by their size."""
    number = f"try_cast({value} AS DOUBLE)"
    return (
        f"make_timestamptz((CASE WHEN {number} < 1e11 THEN {number} * 1e6 "
        f"WHEN {number} < 1e14 THEN {number} * 1e3 ELSE {number} END)::BIGINT)"
    )


def text(column: str) -> str:
    """Text without control and direction characters; null when nothing is left."""
    signs = (
        "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\x{200e}\\x{200f}\\x{202a}-\\x{202e}"
        "\\x{2066}-\\x{2069}\\x{feff}]"
    )
    return (
        f"CASE WHEN {plain_text(column)} THEN {column} ELSE "
        f"nullif(trim(regexp_replace({column}, '{signs}', '', 'g'), ' \t\r\n'), '') END"
    )


def plain_text(column: str) -> str:
    """Whether a cell is printable ASCII from end to end, as most are: one look tells."""
    return f"regexp_full_match({column}, '[!-~]([ -~]*[!-~])?')"


def plain_words(column: str) -> str:
    """Whether a cell holds nothing but small words and single spaces between them."""
    return f"regexp_full_match({column}, '[a-z0-9_]+( [a-z0-9_]+)*')"


def words(column: str) -> str:
    """Tags of a cell: parted by spaces, commas and other signs; lower case, each once."""
    split = f"string_split_regex(lower({column}), '[\\s,;|#\\[\\]\"'']+')"
    # Plain words need no pattern, and a single one nothing else.
    found = f"CASE WHEN {plain_words(column)} THEN string_split({column}, ' ') ELSE {split} END"
    return f"list_distinct(list_filter({found}, lambda x: x != ''))"


def coalesce(parts: Sequence[str]) -> str:
    """The first that is not null."""
    return f"coalesce({', '.join(parts)})" if parts else "NULL"
