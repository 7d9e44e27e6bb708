"""Single values of other programs' files, as tolerant as the platforms' readers."""

from __future__ import annotations

import json
import lzma
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from collectors.imports.base import Refusals
from collectors.imports.trees import RECORD_BYTES, Tree
from collectors.platforms.fields import count
from collectors.platforms.records import Oddities
from likewise.errors import DataError

__all__ = ["dig", "first", "known_count", "mended", "objects", "record", "table_of"]


def record(tree: Tree, path: PurePosixPath | str, refusals: Refusals) -> Any:
    """Content of a JSON file, also of one packed by xz; None, and a refusal, when it is not one."""
    try:
        data = tree.read(path)
        if str(path).endswith(".xz"):
            # A few bytes can unpack to gigabytes: no more than the limit is unpacked.
            packed = lzma.LZMADecompressor()
            unpacked = packed.decompress(data, max_length=RECORD_BYTES)
            if len(unpacked) == RECORD_BYTES:
                raise DataError(f"unpacks to more than {RECORD_BYTES:,} bytes")
            if not packed.eof:
                raise DataError("the file is cut off")
            data = unpacked
        return json.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except json.JSONDecodeError as error:
        refusals.add(f"{tree.place(path)}:{error.lineno}", "not JSON", error.msg)
    except (ValueError, RecursionError, lzma.LZMAError, EOFError) as error:
        refusals.add(tree.place(path), "not JSON", str(error))
    except DataError as error:
        refusals.add(tree.place(path), "cannot be read", str(error))
    return None


def table_of(tree: Tree, path: PurePosixPath | str, refusals: Refusals) -> dict[str, Any] | None:
    """A JSON object; None, and a refusal, for anything else."""
    content = record(tree, path, refusals)
    if content is not None and not isinstance(content, dict):
        refusals.add(tree.place(path), "no JSON object")
        return None
    return content


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a JSON array; nothing for anything else."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def dig(value: Any, *path: str | int) -> Any:
    """What lies at a path of keys and places; None where the path ends early."""
    for step in path:
        if isinstance(value, Mapping) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and len(value) > step:
            value = value[step]
        else:
            return None
    return value


def first(value: Mapping[str, Any], *names: str) -> Any:
    """The first of these keys that says something; a name with dots goes into objects."""
    for name in names:
        found = dig(value, *name.split("."))
        if found is not None and found != "":
            return found
    return None


def known_count(value: Any) -> int | None:
    """A count; None when it is absent, hidden (-1) or none. Text of digits counts, too."""
    return count(value.strip() if isinstance(value, str) else value, "count", Oddities())


def mended(text: Any) -> str | None:
    """Text that was written as UTF-8 and escaped byte by byte, as Instagram's exports do."""
    if not isinstance(text, str):
        return None
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text
