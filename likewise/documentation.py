"""Writes ``docs/tables.md``, ``configuration.md`` and ``glossary.md`` from the code.

Run it with ``make docs``; a test fails when the files on disk differ from what this makes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from likewise.config import Config, toml_text
from likewise.glossary import GLOSSARY
from likewise.tables import TABLES, TableSpec

__all__ = ["configuration_page", "glossary_page", "main", "tables_page"]


def tables_page() -> str:
    """Markdown of every table and column."""
    head = (
        "# Tables\n\n"
        "Generated from `likewise/tables.py` by `make docs`; do not edit.\n\n"
        "A missing count is null, never 0 and never -1. Ids are text. Times are UTC, to the "
        "microsecond. A column that may not be null is marked with a dot (•).\n"
    )
    return head + "".join(_table(spec) for spec in TABLES.values())


def _table(spec: TableSpec) -> str:
    key = ", ".join(f"`{name}`" for name in spec.key)
    lines = [f"\n## {spec.name}\n", f"One row is {spec.row}. Key: {key}.\n"]
    lines += ["| Column | Type | Meaning |", "|---|---|---|"]
    for field in spec.schema:
        lines += _rows(field, "")
    return "\n".join(lines) + "\n"


def _rows(field: pa.Field, prefix: str) -> list[str]:
    doc = (field.metadata or {}).get(b"doc", b"").decode()
    dot = "" if field.nullable else " •"
    rows = [f"| `{prefix}{field.name}`{dot} | {_type(field.type)} | {doc} |"]
    inner = field.type.value_type if pa.types.is_list(field.type) else field.type
    if pa.types.is_struct(inner):
        rows += [row for child in inner for row in _rows(child, f"{prefix}{field.name}[].")]
    return rows


def _type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list of {_type(kind.value_type)}"
    return (
        "struct" if pa.types.is_struct(kind) else str(kind).replace("timestamp[us, tz=UTC]", "time")
    )


def configuration_page() -> str:
    """Markdown of every key of ``likewise.toml``."""
    head = (
        "# likewise.toml\n\n"
        "Generated from `likewise/config.py` by `make docs`; do not edit.\n\n"
        "Unknown keys, wrong types and impossible values are refused with file, line and key.\n"
    )
    return head + "".join(
        _section(name, field.annotation) for name, field in Config.model_fields.items()
    )


def _section(name: str, model: Any) -> str:
    title = (model.__doc__ or "").strip()
    lines = [
        f"\n## [{name}]\n",
        f"{title}\n",
        "| Key | Type | Default | Meaning |",
        "|---|---|---|---|",
    ]
    nested: list[str] = []
    for key, field in model.model_fields.items():
        inner = [
            k
            for k in get_args(field.annotation)
            if isinstance(k, type) and issubclass(k, BaseModel)
        ]
        if inner:
            nested.append(_section(f"[{name}.{key}]", inner[0]))
        lines.append(
            f"| `{key}` | {_kind(field)} | {_default(field)} | {field.description or ''} |"
        )
    return "\n".join(lines) + "\n" + "".join(nested)


def _kind(field: FieldInfo) -> str:
    """The type in words, with its bounds: 'whole number from 1', 'yes or no'."""
    if field.annotation is str and any(hasattr(m, "pattern") for m in field.metadata):
        return "text such as `2g`" if field.default == "2g" else "text"
    return _kind_of(field.annotation, field.metadata)


_WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "yes or no",
    dt.date: "day",
    dict: "table",
}


def _kind_of(kind: Any, limits: Iterable[Any] = ()) -> str:
    if get_origin(kind) is Annotated:
        inner, *more = get_args(kind)
        return _kind_of(inner, [m for one in more for m in getattr(one, "metadata", [one])])
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "table"
    if isinstance(kind, type) and kind in _WORDS:
        return _WORDS[kind] + _bounds(limits)
    arguments = get_args(kind)
    if get_origin(kind) is list:
        return f"list of {_kind_of(arguments[0])}"
    if get_origin(kind) is dict:
        return "table"
    names = [
        f"`{a}`" if isinstance(a, str) else _kind_of(a, limits)
        for a in arguments
        if a is not type(None)
    ]
    return " or ".join(names)


def _bounds(limits: Iterable[Any]) -> str:
    """' from 0 to 1', ' above 0', ' below 1'."""
    found = {
        name: getattr(one, name)
        for one in limits
        for name in ("ge", "gt", "le", "lt")
        if getattr(one, name, None) is not None
    }
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
    return "".join(f" {word} {found[name]:g}" for name, word in words.items() if name in found)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None:
        return "none"
    return f"`{toml_text(field.default)}`" if field.default not in ([], "") else "empty"


def glossary_page() -> str:
    """Markdown of the words that the report and the documentation use."""
    head = (
        "# Glossary\n\n"
        "Generated from `likewise/glossary.py` by `make docs`; do not edit. The report shows the "
        "same notes at the first place of each word.\n\n"
    )
    return head + "\n\n".join(f"**{word}** {text}" for word, text in GLOSSARY.items()) + "\n"


def main() -> None:
    """Write all pages."""
    docs = Path(__file__).resolve().parent.parent / "docs"
    (docs / "tables.md").write_text(tables_page(), encoding="utf-8")
    (docs / "glossary.md").write_text(glossary_page(), encoding="utf-8")
    (docs / "configuration.md").write_text(configuration_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
