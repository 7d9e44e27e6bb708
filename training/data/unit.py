"""What was dealt over folds and held out: authors, or blocks of time where authors are too few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from likewise.tables import AUTHOR_KEY

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from likewise.study import Study

__all__ = ["AUTHORS", "UNIT_KEY", "Unit", "unit_codes", "unit_of"]

UNIT_KEY = (*AUTHOR_KEY, "group_key")
"""Columns of ``labels`` that ``unit_codes`` reads."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What intervals leave out in turn, in words, and whom the answers speak about.

    ``scope`` and ``warning`` are sentences, empty where there is nothing to add.
    """

    one: str = "author"
    many: str = "authors"
    scope: str = ""
    warning: str = ""

    @property
    def in_time(self) -> bool:
        """True where blocks of time stand in the place of authors."""
        return bool(self.scope)


AUTHORS = Unit()


def unit_of(study: Study) -> Unit:
    """What ``label`` dealt; authors before it has run."""
    manifest = study.manifest("labels")
    extra = {} if manifest is None else manifest.extra
    if extra.get("group") == "post":
        return Unit("post", "posts")
    if extra.get("group") != "time":
        return AUTHORS
    days, accounts = int(extra["block_days"]), int(extra["authors"])
    weeks, rest = divmod(days, 7)
    length = f"{days} days" if rest else "1 week" if weeks == 1 else f"{weeks} weeks"
    of = "this one account" if accounts == 1 else f"these {accounts:,} accounts"
    scope = (
        f"All of this speaks about {of} only: blocks of {length} were dealt and held out, each "
        "picture is compared with the level of its own account at that time, and an interval says "
        "what other such blocks might have shown. It says nothing of other accounts."
    )
    one, many = ("week", "weeks") if days == 7 else (f"block of {length}", f"blocks of {length}")
    return Unit(one, many, scope, _warning(extra))


def _warning(extra: object) -> str:
    """A note where neighbouring blocks tell each other's answers although they are long."""
    found = extra.get("neighbours", {}) if isinstance(extra, dict) else {}
    p, correlation = found.get("p"), found.get("correlation")
    if p is None or p > 0.05:
        return ""
    return (
        f"neighbouring blocks have like labels (correlation {correlation:.2f}, p {p:.3f}): the "
        "intervals may be too narrow; longer blocks ([label] block_days) would be surer"
    )


def unit_codes(rows: pa.Table) -> NDArray[np.int64]:
    """(n,) a number for the unit of each row, which has the columns ``UNIT_KEY``.

    ``group_key`` names it; where that is null it is the author.
    """
    keys = zip(*(rows[name].to_pylist() for name in UNIT_KEY), strict=True)
    names = np.array(["\x1f".join(key[:3]) if key[3] is None else key[3] for key in keys], object)
    codes: NDArray[np.int64] = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return codes
