"""The 1,000 ImageNet classes (ILSVRC-2012) and everything above them in WordNet 3.0.

The tables lie in ``data/`` with WordNet's notice; ``infra/wordnet.py`` makes them. Ids are
ImageNet's: ``n`` and the eight digits of the synset's offset in WordNet 3.0. A synset may have
several hypernyms (a dog is a canine and a domestic animal): the tree is an acyclic graph.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

from likewise.errors import UsageError

__all__ = ["ClassTree", "Synset", "class_tree"]


@dataclass(frozen=True, slots=True)
class Synset:
    """One meaning: its ImageNet id, its words (the first names it) and its hypernyms' ids."""

    wnid: str
    words: tuple[str, ...]
    parents: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.words[0]} ({self.wnid})"


@dataclass(frozen=True)
class ClassTree:
    """``order[i]`` is the id of class ``i``; ``synsets`` holds the classes and all above them."""

    order: tuple[str, ...]
    synsets: dict[str, Synset]

    @cached_property
    def index(self) -> dict[str, int]:
        """Id of a class -> its index, 0 ... 999."""
        return {wnid: i for i, wnid in enumerate(self.order)}

    @cached_property
    def by_word(self) -> dict[str, tuple[str, ...]]:
        """A word, in lower case -> the ids of all synsets that it names."""
        found: dict[str, list[str]] = {}
        for synset in self.synsets.values():
            for word in dict.fromkeys(word.lower() for word in synset.words):
                found.setdefault(word, []).append(synset.wnid)
        return {word: tuple(ids) for word, ids in found.items()}

    def ancestors(self, wnid: str) -> frozenset[str]:
        """Ids above ``wnid`` and itself."""
        return frozenset(self._upwards(wnid))

    def classes_below(self, wnid: str) -> tuple[int, ...]:
        """Indices of the classes that are ``wnid`` or stand below it, in order."""
        return tuple(i for i, cls in enumerate(self.order) if wnid in self.ancestors(cls))

    def meanings(self, text: str) -> tuple[str, ...]:
        """Ids that ``text`` may mean: an id itself, or every synset with that word.

        Raises:
            UsageError: no class and no group of classes is called so; the hint names near words.
        """
        if text in self.synsets:
            return (text,)
        found = self.by_word.get(text.lower(), ())
        if not found:
            close = difflib.get_close_matches(text.lower(), self.by_word, n=3)
            hint = f"near words: {', '.join(close)}" if close else "give a WordNet 3.0 id"
            raise UsageError(f"{text!r} is neither an ImageNet class nor above one", hint=hint)
        return found

    def _upwards(self, wnid: str) -> Iterator[str]:
        waiting, seen = [wnid], {wnid}
        while waiting:
            at = waiting.pop()
            yield at
            new = [parent for parent in self.synsets[at].parents if parent not in seen]
            seen.update(new)
            waiting += new


@cache
def class_tree() -> ClassTree:
    """The tree that comes with likewise."""
    folder = files("training.categories") / "data"

    def rows(name: str) -> list[dict[str, str]]:
        text = (folder / name).read_text(encoding="utf-8")
        # Words hold quotes ("potter's wheel") and no tab: nothing in these files is quoted.
        return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))

    synsets = {
        row["wnid"]: Synset(
            row["wnid"],
            tuple(row["names"].split(", ")),
            tuple(filter(None, row["parents"].split(","))),
        )
        for row in rows("hypernyms.tsv")
    }
    return ClassTree(tuple(row["wnid"] for row in rows("classes.tsv")), synsets)
