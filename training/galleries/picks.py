"""What a gallery is: pictures of the two ends of a ranking."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Galleries", "Pick"]


@dataclass(frozen=True, slots=True)
class Pick:
    """One picture of a gallery and what is known about its post."""

    picture_id: str
    rank: int
    score: float
    probability: float | None
    handle: str
    url: str | None
    ratio: float
    likes: int
    audience: int | None
    label: int
    alt: str
    held_out: bool = True


@dataclass(frozen=True, slots=True)
class Galleries:
    """The two ends of a ranking, best and worst picture first."""

    model: str
    split: str
    n: int
    per_author: int
    top: list[Pick]
    bottom: list[Pick]
    passed_over: dict[str, int]
