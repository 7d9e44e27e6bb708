"""Which class a picture is of, and which pictures must stay together.

A class is what a person, a folder, a table's column or a tag says; ``[question]`` in
``likewise.toml`` says which of these. Names are compared after normalisation, so that "Café" and
"CAFÉ" typed on two machines are one class, and shown as they were written first.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PARTS", "ClassNames", "deal", "folder_name", "groups_of"]

PARTS = ("train", "validation", "test")
LONGEST_FOLDER = 60


class ClassNames:
    """Class names as people wrote them, one for each that is equal after normalisation.

    ``wanted`` fixes the classes and their order; without it every name that comes is a class, in
    the order of the normalised names.
    """

    def __init__(self, seen: Iterable[str], wanted: Sequence[str] = ()) -> None:
        spelled: dict[str, Counter[str]] = {}
        for name in wanted or seen:
            spelled.setdefault(self.key(name), Counter())[_clean(name)] += 1
        keys = list(spelled) if wanted else sorted(spelled)
        self._index = {key: at for at, key in enumerate(key for key in keys if key)}
        # The commonest spelling stands for all; of equally common ones the first in the alphabet.
        self.names = tuple(_commonest(spelled[key]) for key in self._index)
        self.merged = {
            self.names[at]: sorted(spelled[key])
            for key, at in self._index.items()
            if len(spelled[key]) > 1
        }
        """Class -> its spellings, where there are several: told, never silent."""

    @staticmethod
    def key(name: str) -> str:
        """What two spellings of one class share: NFKC, case folded, white space collapsed."""
        return _clean(unicodedata.normalize("NFKC", name).casefold())

    def of(self, values: Iterable[str]) -> set[int]:
        """Numbers of the classes among ``values``."""
        found = (self._index.get(self.key(value)) for value in values)
        return {number for number in found if number is not None}


def _commonest(spellings: Counter[str]) -> str:
    return min(spellings, key=lambda name: (-spellings[name], name))


def _clean(name: str) -> str:
    """Without control and format characters (newlines, direction marks), white space collapsed."""
    kept = "".join(" " if unicodedata.category(c) in {"Cc", "Zl", "Zp"} else c for c in name)
    kept = "".join(c for c in kept if unicodedata.category(c) not in {"Cf", "Cs"})
    return " ".join(kept.split())


def folder_name(name: str) -> str:
    """A folder's name for a class: what every file system takes, unlike for unlike classes.

    Letters, digits, ``-`` and ``_`` stay; a digest follows where anything was changed, since
    "a/b" and "a_b" must not share a folder.
    """
    safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:LONGEST_FOLDER]
    if safe == name and safe.isascii() and safe:
        return safe
    return f"{safe.strip('_') or 'class'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def groups_of(keys: Sequence[str], pairs: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[str]]:
    """Pictures that must stand on one side: those of one key, and everything near copies connect.

    Args:
        keys: (n,) what a picture belongs to: its author or its post.
        pairs: (p, 2) numbers of pictures that are near copies of each other.

    Returns:
        (n,) number of each picture's group, and the name of each group: its smallest key, so that
        a group that grows keeps its name as long as that key stays.
    """
    # The server reads names of classes and never groups: SciPy must not load with it.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, number = np.unique(np.asarray(keys, dtype=object), return_inverse=True)
    n_keys = int(number.max()) + 1 if len(keys) else 0
    links = number[pairs.reshape(-1, 2)]
    graph = coo_array((np.ones(len(links), bool), (links[:, 0], links[:, 1])), (n_keys, n_keys))
    _, component = connected_components(graph, directed=False)
    group = component[number].astype(np.int64) if len(keys) else np.empty(0, np.int64)
    names: dict[int, str] = {}
    for at, key in zip(group.tolist(), keys, strict=True):
        names[at] = min(key, names.get(at, key))
    return group, [names[at] for at in range(len(names))]


@dataclass(frozen=True, slots=True)
class _Load:
    """What the parts hold so far, (parts, classes), and their shares."""

    filled: NDArray[np.float64]
    shares: NDArray[np.float64]

    def place(self, counts: NDArray[np.float64]) -> int:
        """The part where the group makes the parts most alike in every class; it is added there."""
        growth = (counts * (2 * self.filled + counts)).sum(axis=1)
        nowhere = np.full(len(growth), np.inf)  # a part that the split leaves out takes nothing
        cost = np.divide(growth, self.shares, out=nowhere, where=self.shares > 0)
        best = int(np.argmin(np.round(cost, 12)))
        self.filled[best] += counts
        return best


def deal(
    names: Sequence[str],
    counts: NDArray[np.int64],
    shares: Sequence[float],
    *,
    before: Mapping[str, int],
    seed: int,
) -> NDArray[np.int64]:
    """(g,) part of each group; groups that were dealt before stay where they are for ever.

    New groups go, the largest first and by a keyed hash among equals, to the part whose share of
    their classes is filled least (scikit-learn's StratifiedGroupKFold, for unequal parts).

    Args:
        names: (g,) what identifies each group, whatever else there is.
        counts: (g, c) pictures of each class in each group.
        shares: of the parts; they sum to 1.
        before: part of groups that an earlier night has dealt.
        seed: another seed deals new groups otherwise.
    """
    total = np.maximum(counts.sum(axis=0), 1)
    weight = counts / total
    load = _Load(np.zeros((len(shares), counts.shape[1])), np.asarray(shares))
    part = np.full(len(names), -1, np.int64)
    for at, name in enumerate(names):
        if name in before:
            part[at] = before[name]
            load.filled[part[at]] += weight[at]
    new = [at for at in range(len(names)) if part[at] < 0]
    for at in sorted(new, key=lambda i: (-int(counts[i].sum()), _drawn(names[i], seed))):
        part[at] = load.place(weight[at])
    return part


def _drawn(name: str, seed: int) -> bytes:
    return hashlib.blake2b(name.encode(), key=str(seed).encode(), digest_size=8).digest()
