"""What shows a person beside the rows of tables: files that are made again, texts, old versions.

Files that stages make again on demand are deleted whole. In logs a person's names are blotted out.
Whatever else lies in the study is read and told when it still names them.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from likewise.study import Study
from likewise.whole import write_bytes

__all__ = ["blot_out", "delete_derived", "leave_out", "still_named"]

_DERIVED = ("raw", "spool", ".staging", ".unfinished", "cache/canvases", "cache/serve")
"""Pages, unfinished work, decoded pictures, indexes of `serve`; other caches hold networks only."""
_TOLD = ("logs", "cache/finetune")
"""Where stages write down what went wrong, and with which item."""
_KEPT_REPORTS = {"comparison.json", "figures", "finetune.json"}
"""Figures over many pictures: they show nobody."""
_BLOT = b"(forgotten)"
_AT_ONCE = 200
"""Names in one pattern: longer alternatives are slower than several passes."""
_SHORTEST = 4
"""Shorter names are found everywhere: that they stand somewhere says nothing."""


def delete_derived(study: Study) -> None:
    """Everything that may show a person and is made again by the stages."""
    reports = study.root / "reports"
    paths = [study.root / name for name in _DERIVED]
    if reports.is_dir():
        paths += [path for path in reports.iterdir() if path.name not in _KEPT_REPORTS]
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def blot_out(study: Study, names: Collection[str]) -> None:
    """Replace names in the study's logs: in text only, since other files would break."""
    patterns = list(_patterns(names))
    for path in sorted(p for folder in _TOLD for p in (study.root / folder).rglob("*")):
        if not path.is_file() or not _is_text(before := path.read_bytes()):
            continue
        after = before
        for pattern in patterns:
            after = pattern.sub(_BLOT, after)
        if after != before:
            # In place: the log of this very run is open, and goes on at the file's end.
            with path.open("r+b") as file:
                file.write(after)
                file.truncate()


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in raw


def still_named(study: Study, names: Collection[str]) -> list[str]:
    """Files in which a name can still be read, beside tables and journal, whose rows are gone.

    (What other people wrote about somebody stays in their posts.)
    """
    patterns = list(_patterns(name for name in names if len(name) >= _SHORTEST))
    tables = study.root / "tables"
    found = []
    for path in sorted(study.root.rglob("*")):
        skipped = tables in path.parents or path.name.startswith("journal.sqlite")
        if skipped or path.is_symlink() or not path.is_file():
            continue
        raw = path.read_bytes()
        if any(pattern.search(raw) for pattern in patterns):
            found.append(str(path.relative_to(study.root)))
    return found


def leave_out(study: Study, names: Collection[str]) -> bool:
    """Take a person out of the accounts of ``likewise.toml``; whether they stood there.

    Nothing else of the text is touched. A list that cannot be changed so is left as it is, and
    ``still_named`` tells.
    """
    path = study.root / "likewise.toml"
    text = path.read_text(encoding="utf-8")
    wanted = {name.casefold() for name in names}

    def without(found: re.Match[str]) -> str:
        items = re.findall(r"\"[^\"\n]*\"|'[^'\n]*'", found[2])
        kept = [i for i in items if i[1:-1].strip().removeprefix("@").casefold() not in wanted]
        return found[0] if len(kept) == len(items) else f"{found[1]}{', '.join(kept)}]"

    changed = re.sub(r"(\baccounts\s*=\s*\[)([^\]#]*)\]", without, text)
    if changed == text or _pruned(tomllib.loads(text), wanted) != tomllib.loads(changed):
        return False
    write_bytes(path, changed.encode())
    return True


def _pruned(content: dict[str, Any], wanted: set[str]) -> dict[str, Any]:
    """The configuration as it should read without these accounts."""
    for source in content.get("collect", {}).get("sources", []):
        if "accounts" in source:
            source["accounts"] = [
                name
                for name in source["accounts"]
                if name.strip().removeprefix("@").casefold() not in wanted
            ]
    return content


def _patterns(names: Iterable[str]) -> Iterator[re.Pattern[bytes]]:
    """Patterns that find any of the names as a word of its own."""
    words = sorted({re.escape(name.encode()) for name in names if name}, key=len, reverse=True)
    for at in range(0, len(words), _AT_ONCE):
        either = b"|".join(words[at : at + _AT_ONCE])
        yield re.compile(rb"(?<![\w])(?:" + either + rb")(?![\w])", re.IGNORECASE)
