"""What ``score`` says of a picture, and of several."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["AuthorBaseline", "Opinion", "Scored", "Similar"]


@dataclass(frozen=True, slots=True)
class Opinion:
    """One model's answer: raw score, probability of "liked" and its 95 % interval.

    The probability is None where the model's calibration was refused, the interval where ``why``
    says so.
    """

    model: str
    score: float
    probability: float | None
    low: float | None
    high: float | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class AuthorBaseline:
    """How often the author's pictures in the study were liked, with Wilson's 95 % interval."""

    author: str
    pictures: int
    liked: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Similar:
    """A picture of the study, and its distance: 1 - cosine of the features."""

    picture_id: str
    distance: float


@dataclass(frozen=True, slots=True)
class Scored:
    """What is known of one picture. ``error`` names why nothing is; else it is None.

    ``in_study`` is "held out" or "fitted on" for a labelled picture of the study, which is no
    neighbour of its own.
    """

    name: str
    error: str | None = None
    opinions: tuple[Opinion, ...] = ()
    author: AuthorBaseline | None = None
    distance: float | None = None
    limit: float | None = None
    liked: tuple[Similar, ...] = ()
    unliked: tuple[Similar, ...] = ()
    stands_out: tuple[str, ...] = ()
    in_study: str | None = None
    data: bytes = field(default=b"", repr=False)

    @property
    def abstained(self) -> bool:
        """Whether the picture lies too far from the study's pictures for a word about it."""
        return self.distance is not None and self.limit is not None and self.distance > self.limit

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, without the picture's bytes."""
        fields = asdict(self)
        del fields["data"]
        return {**fields, "abstained": self.abstained}
