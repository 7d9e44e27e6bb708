"""JSON (an array of objects) and JSONL (one object a line); what lies inside objects gets dots."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from collectors.imports.base import Options, Refusals, TableKind, What
from collectors.imports.tables import Rows, spooled
from collectors.imports.trees import RECORD_BYTES, Tree
from likewise.errors import DataError

__all__ = ["JsonTable"]

LOOK = 2000
"""Objects from whose keys the columns are taken; later ones may leave keys out."""


class JsonTable(TableKind):
    """Objects that are rows."""

    name: ClassVar[str] = "json"
    platform: ClassVar[str] = "table"
    title: ClassVar[str] = "JSON table"

    def recognise(self, tree: Tree) -> What | None:
        found = [e for e in tree.sample if e.path.suffix.lower() in {".jsonl", ".ndjson"}]
        if not found:
            found = [e for e in tree.sample if e.path.suffix.lower() == ".json"]
        if len(found) != 1:
            return None
        return What("a table beside its pictures", tree.root / found[0].path)

    def rows(self, path: Path, options: Options, scratch: Path, refusals: Refusals) -> Rows:  # noqa: ARG002
        lines = path.suffix.lower() in {".jsonl", ".ndjson"}
        read = _of_lines(path, refusals) if lines else _of_array(path, refusals)
        first: list[tuple[int, Mapping[str, Any]]] = []
        columns: dict[str, None] = {}
        for line, record in read:
            first.append((line, record))
            columns |= dict.fromkeys(record)
            if len(first) == LOOK:
                break
        if not columns:
            raise DataError(f"{path} holds no object, expected rows as JSON objects")
        names = [column for column in columns if not column.startswith("__")]
        return spooled(_all(first, read), names, scratch / "table.parquet")


def _all(
    first: Iterable[tuple[int, Mapping[str, Any]]], rest: Iterator[tuple[int, Mapping[str, Any]]]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    yield from first
    yield from rest


def _of_lines(path: Path, refusals: Refusals) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open("rb") as file:
        for line, raw in enumerate(file, 1):
            if not raw.strip():
                continue
            try:
                record = json.loads(raw.removeprefix(b"\xef\xbb\xbf"))
            except (ValueError, RecursionError) as error:
                refusals.add(f"{path.name}:{line}", "not JSON", str(error))
                continue
            if isinstance(record, dict):
                yield line, _flat(record)
            else:
                refusals.add(f"{path.name}:{line}", "no JSON object")


def _of_array(path: Path, refusals: Refusals) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if path.stat().st_size > RECORD_BYTES:
        raise DataError(
            f"{path} is larger than {RECORD_BYTES:,} bytes",
            hint="write it as JSONL (jq -c '.[]'), which is read line by line",
        )
    try:
        content = json.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}: not JSON: {error.msg}; is the file cut off?"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list) and value]
        content = max(lists, key=len, default=[content])
    if not isinstance(content, list):
        raise DataError(f"{path}: expected an array of objects")
    for number, record in enumerate(content, 1):
        if isinstance(record, dict):
            yield number, _flat(record)
        else:
            refusals.add(f"{path.name} item {number}", "no JSON object")


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict) and prefix.count(".") < 3:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
