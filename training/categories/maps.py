"""Category maps: which ImageNet classes count as which category, written down in YAML.

    name: pets
    about: one sentence
    categories:
      dog: {ancestors: [n02084071]}                 # every class below a WordNet id (or a word)
      cat: {ancestors: [domestic cat], without: [Egyptian cat]}
      bike: {classes: [mountain bike, moped]}       # an explicit list
      night sky: {}                                 # known to have no class: never predicted

A category that has both ``classes`` and ``ancestors`` consists of the ``classes``; the ancestors
then say what the list ought to mean, and ``lint`` tells where the two contradict each other.
``also`` adds everything below further ancestors to an explicit list (a printed "etc.").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from likewise.errors import ConfigError, UsageError
from training.categories.tree import ClassTree, class_tree

__all__ = ["SHIPPED", "CategoryMap", "Finding", "lint", "load_map", "read_map"]

SHIPPED = ("paper2-table1", "paper2-tree")
"""Maps that come with likewise: paper 2's twelve categories as printed, and by the strict tree."""

N_CLASSES = 1000

Words = list[Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    ancestors: Words = Field(default_factory=list)
    classes: Words = Field(default_factory=list)
    also: Words = Field(default_factory=list)
    without: Words = Field(default_factory=list)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    about: str = ""
    categories: dict[Annotated[str, StringConstraints(min_length=1)], _Entry | None]


@dataclass(frozen=True, slots=True)
class Finding:
    """What ``lint`` says of a map. An ``error`` makes the map unusable, a ``warning`` does not."""

    level: Literal["error", "warning"]
    category: str
    says: str


@dataclass(frozen=True)
class CategoryMap:
    """``members[c]`` are the indices of the classes that count as category ``names[c]``."""

    name: str
    about: str
    names: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]

    @property
    def uncovered(self) -> tuple[str, ...]:
        """Categories without any class: the network can never say them."""
        return tuple(n for n, m in zip(self.names, self.members, strict=True) if not m)

    @cached_property
    def category_of_class(self) -> NDArray[np.int64]:
        """(1000,) index of each class's category; -1 where a class belongs to none."""
        answer = np.full(N_CLASSES, -1, dtype=np.int64)
        for category, members in enumerate(self.members):
            answer[list(members)] = category
        return answer

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, 1000) logits to (n, c + 1) probabilities: each category, then "none of them".

        A category's probability is the sum over its classes of the softmax over all 1,000.
        """
        shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        share = np.exp(shifted)
        share /= share.sum(axis=1, keepdims=True)
        answer = np.zeros((len(logits), len(self.names) + 1))
        for column in range(len(self.names) + 1):
            wanted = column if column < len(self.names) else -1
            answer[:, column] = share[:, self.category_of_class == wanted].sum(axis=1)
        return answer


def read_map(name: str | Path) -> str:
    """Text of a shipped map, or of a file.

    Raises:
        UsageError: there is neither; the hint names the shipped maps.
    """
    if str(name) in SHIPPED:
        shipped = files("training.categories") / "data" / f"{name}.yaml"
        return shipped.read_text(encoding="utf-8")
    try:
        return Path(name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{name} cannot be read as a category map: {error}",
            hint=f"give a YAML file or one of: {', '.join(SHIPPED)}",
        ) from error


def load_map(
    name: str | Path, tree: ClassTree | None = None
) -> tuple[CategoryMap, tuple[Finding, ...]]:
    """A usable map and the warnings about it.

    Raises:
        UsageError: there is no such map.
        ConfigError: it is not valid, or ``lint`` found an error; every error is listed.
    """
    text = read_map(name)
    found, findings = lint(text, str(name), tree)
    errors = [f"{f.category}: {f.says}" for f in findings if f.level == "error"]
    if errors:
        raise ConfigError(
            f"{name}: {len(errors)} errors: " + "; ".join(errors),
            hint="give a WordNet id in the place of a word that has several meanings, and each "
            "class to one category",
        )
    return found, tuple(findings)


def lint(
    text: str, source: str = "category map", tree: ClassTree | None = None
) -> tuple[CategoryMap, list[Finding]]:
    """The map that ``text`` describes and everything doubtful about it.

    Raises:
        ConfigError: the text is not YAML of the form above.
    """
    tree = tree or class_tree()
    content = _parse(text, source)
    findings: list[Finding] = []
    members: list[tuple[int, ...]] = []
    for category, entry in content.categories.items():
        members.append(_members(category, entry or _Entry(), tree, findings))
    names = tuple(content.categories)
    owner: dict[int, str] = {}
    for category, owned in zip(names, members, strict=True):
        for cls in owned:
            first = owner.setdefault(cls, category)
            if first != category:
                says = f"{_title(tree, cls)} is in {first!r}, too: a class counts once"
                findings.append(Finding("error", category, says))
    return CategoryMap(content.name, content.about, names, tuple(members)), findings


class _UniqueKeys(yaml.SafeLoader):
    """YAML whose mappings name each key once: PyYAML would keep the last of two silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for key, count in Counter(keys).items() if count > 1]
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"{twice[0]!r} stands there twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def _parse(text: str, source: str) -> _File:
    try:
        raw = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - derived from the safe loader
        if not isinstance(raw, Mapping):
            raise ConfigError(f"{source}: expected a mapping with name and categories")
        return _File.model_validate(raw)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{source}: {place}: {first['msg']}") from error


def _members(
    category: str, entry: _Entry, tree: ClassTree, findings: list[Finding]
) -> tuple[int, ...]:
    def below(words: Iterable[str]) -> set[int]:
        ids = (_one(category, word, tree, findings, leaf=False) for word in words)
        return {cls for wnid in ids if wnid for cls in tree.classes_below(wnid)}

    ids = (_one(category, word, tree, findings, leaf=True) for word in entry.classes)
    listed = {tree.index[wnid] for wnid in ids if wnid}
    meant = below(entry.ancestors)
    if entry.classes and entry.ancestors:
        _contradictions(category, listed, meant, tree, findings)
    chosen = (listed if entry.classes else meant) | below(entry.also)
    chosen -= below(entry.without)
    if not chosen and not any(f.level == "error" and f.category == category for f in findings):
        says = "no ImageNet class belongs to it: it can never be predicted without training"
        findings.append(Finding("warning", category, says))
    return tuple(sorted(chosen))


def _contradictions(
    category: str, listed: set[int], meant: set[int], tree: ClassTree, findings: list[Finding]
) -> None:
    for says, classes in (
        ("listed, but not below its ancestors", listed - meant),
        ("below its ancestors, but not listed", meant - listed),
    ):
        if classes:
            named = ", ".join(_title(tree, cls) for cls in sorted(classes))
            findings.append(Finding("warning", category, f"{says}: {named}"))


def _one(
    category: str, word: str, tree: ClassTree, findings: list[Finding], *, leaf: bool
) -> str | None:
    """The one synset that ``word`` means here, or None after an error was noted.

    In a list of ``classes`` only classes are meant, so "racer" (a car and a snake's group) is
    unambiguous there; "crane" names two classes and never is.
    """
    try:
        ids = tree.meanings(word)
    except UsageError as error:
        findings.append(Finding("error", category, f"{error}; {error.hint}"))
        return None
    if leaf:
        classes = tuple(wnid for wnid in ids if wnid in tree.index)
        if not classes:
            says = f"{word!r} is a group, not a class: put it under ancestors"
            findings.append(Finding("error", category, says))
            return None
        ids = classes
    if len(ids) > 1:
        choices = " or ".join(_describe(tree, wnid) for wnid in ids)
        findings.append(Finding("error", category, f"{word!r} has several meanings: {choices}"))
        return None
    return ids[0]


def _title(tree: ClassTree, cls: int) -> str:
    return str(tree.synsets[tree.order[cls]])


def _describe(tree: ClassTree, wnid: str) -> str:
    """A synset with what tells it from another of the same word: its group and its classes."""
    synset = tree.synsets[wnid]
    group = tree.synsets[synset.parents[0]].words[0] if synset.parents else "everything"
    below = [tree.synsets[tree.order[cls]].words[0] for cls in tree.classes_below(wnid)]
    shown = ", ".join(below[:3]) + (", ..." if len(below) > 3 else "")
    return f"{wnid} (a {group}: {shown})"
