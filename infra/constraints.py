"""Prints the pins of the current environment, for ``constraints.txt``.

Run after ``make venv`` and an upgrade: ``.venv/bin/python -m infra.constraints > constraints.txt``.
Only what the project and its ``dev`` extra need, directly or indirectly, is listed.
"""

from __future__ import annotations

import re
from importlib import metadata

__all__ = ["pins"]


def pins(root: str = "likewise", extras: frozenset[str] = frozenset({"dev"})) -> dict[str, str]:
    """Distribution name -> version of everything that ``root[extras]`` pulls in."""
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(root, extras)]
    while waiting:
        name, wanted = waiting.pop()
        for text in metadata.requires(name) or ():
            child = _needed(text, wanted)
            if child is None or (child, _extras(text)) in seen:
                continue
            seen.add((child, _extras(text)))
            if child == root:  # an extra that is made of others
                waiting.append((child, _extras(text)))
                continue
            try:
                found[child] = metadata.version(child).split("+")[0]
            except metadata.PackageNotFoundError:
                continue  # a requirement of another platform or Python
            waiting.append((child, _extras(text)))
    return dict(sorted(found.items()))


def _needed(text: str, extras: frozenset[str]) -> str | None:
    condition = text.partition(";")[2]
    extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", condition)
    if extra and extra.group(1) not in extras:
        return None
    match = re.match(r"[\w.-]+", text)
    assert match
    return re.sub(r"[-_.]+", "-", match.group()).lower()


def _extras(text: str) -> frozenset[str]:
    match = re.match(r"[\w.-]+\s*\[([^\]]*)\]", text)
    names = match.group(1).split(",") if match else []
    return frozenset(name.strip() for name in names)


if __name__ == "__main__":
    print("# Every direct and indirect dependency, as continuous integration uses them.")
    print("# Made by: python -m infra.constraints > constraints.txt")
    for distribution, version in pins().items():
        print(f"{distribution}=={version}")
