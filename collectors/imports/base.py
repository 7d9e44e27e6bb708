"""What every kind of source offers, what it is told, and how it says what it did not understand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collectors.imports.tables import Rows
    from collectors.imports.trees import Tree
    from collectors.platforms.records import Author, Post

__all__ = ["Found", "Kind", "Options", "RecordKind", "Refusals", "TableKind", "What"]


@dataclass(frozen=True, slots=True)
class Options:
    """What the user says about a source.

    ``columns`` maps a meaning (``likes``) to a column; ``constants`` gives a meaning one value for
    all rows. ``thousands`` is the sign between groups of three digits; ``rounded`` accepts counts
    such as 1.2k. ``zone`` is that of times without one, ``date_format`` one of strptime.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    thousands: str | None = None
    rounded: bool = False
    zone: str = "UTC"
    date_format: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    sheet: str | None = None
    query: str | None = None
    pictures: Path | None = None


class What(NamedTuple):
    """What was recognised in a source: the kind's words for it, and the part that is read."""

    words: str
    path: Path


class Refusals:
    """Items that were not understood: all are counted by reason, the first ones are listed."""

    MOST = 1000

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self.listed: list[tuple[str, str]] = []
        self.notes: list[str] = []
        """Sentences about the whole source: an encoding, a zone, a hidden count."""

    def add(self, place: str, reason: str, detail: str = "") -> None:
        """One item, named by file and line, with its reason; ``detail`` is not counted apart."""
        self.count(reason, 1)
        if len(self.listed) < self.MOST:
            self.listed.append((place, f"{reason}{': ' if detail else ''}{detail}"))

    def count(self, reason: str, times: int) -> None:
        """Items that ``listed`` names already, or that are too many to name."""
        if times:
            self.reasons[reason] += times

    @property
    def total(self) -> int:
        """Items that were not understood."""
        return self.reasons.total()


class Found(NamedTuple):
    """One post of a source, its author where the source knows more than the id, when it was read.

    ``read_at`` is in microseconds since 1970, UTC.
    """

    post: Post
    author: Author | None
    read_at: int


class Kind(ABC):
    """A shape in which people keep posts and pictures."""

    name: ClassVar[str]
    platform: ClassVar[str]
    """Platform of its posts in the tables."""
    title: ClassVar[str]
    """What it is called, as in 'instaloader's folder'."""

    @abstractmethod
    def recognise(self, tree: Tree) -> What | None:
        """What of this kind the source holds; None when it is something else."""

    def recognise_named(self, tree: Tree) -> What | None:
        """As ``recognise`` where a person says that it is of this kind."""
        return self.recognise(tree)


class RecordKind(Kind):
    """A source of single records: files beside pictures, or one list of posts."""

    @abstractmethod
    def read(self, tree: Tree, options: Options, refusals: Refusals) -> Iterator[Found]:
        """The posts of a source, one after the other; what is not understood is refused."""

    def authors(self, tree: Tree, refusals: Refusals) -> Iterator[tuple[Author, int]]:  # noqa: ARG002
        """Authors that the source tells about beside its posts, and when they were read."""
        return iter(())


class TableKind(Kind):
    """A source that is one table, whatever its file format."""

    @abstractmethod
    def rows(self, path: Path, options: Options, scratch: Path, refusals: Refusals) -> Rows:
        """The table as text columns that DuckDB can read.

        Raises:
            DataError: the file cannot be read at all; with file and line.
        """
