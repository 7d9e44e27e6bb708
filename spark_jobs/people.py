"""Where authors stand: fold and side are drawn once, and kept in the table ``people``.

Models of two nights can be compared only when nobody changes sides between them. So an author who
has a place keeps it, also when all pictures are gone for a night; new authors correct the balance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from filters.folds import Assignment
from likewise.tables import AUTHOR_KEY, PEOPLE

if TYPE_CHECKING:
    from likewise.config import LabelSection
    from likewise.study import Study

__all__ = ["places", "remember"]

KEY = [*AUTHOR_KEY]
CODE = 1


def _params(settings: LabelSection, seed: int) -> dict[str, object]:
    """What a draw depends on: with other folds, shares or seeds everybody is drawn anew."""
    return {"folds": settings.folds, "test_fraction": settings.test_fraction, "seed": seed}


def places(study: Study, settings: LabelSection, seed: int, authors: pa.Table) -> Assignment | None:
    """Fold (-1: none yet) and side of the authors, rows of (platform, host, author_id)."""
    manifest = study.manifest(PEOPLE.name)
    if manifest is None or manifest.made_from["params"]["draw"] != _params(settings, seed):
        return None
    table = study.read(PEOPLE.name, [*KEY, "fold", "split"])
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    known = {row[:3]: row[3:] for row in rows}
    asked = zip(*(authors[name].to_pylist() for name in KEY), strict=True)
    found = [known.get(author, (-1, "train")) for author in asked]
    fold = np.array([at for at, _ in found], np.int32)
    return Assignment(fold, np.array([split == "test" for _, split in found], np.bool_))


def remember(
    study: Study,
    settings: LabelSection,
    seed: int,
    dealt: pa.Table,
    before: Assignment | None,
) -> None:
    """Keep the places of ``dealt`` (columns of ``PEOPLE``) that are new; nobody's is changed."""
    new = dealt if before is None else dealt.filter(pa.array(before.fold < 0))
    if not new.num_rows:
        return
    old = [] if before is None else [study.read(PEOPLE.name)]
    people = pa.concat_tables([*old, new.cast(PEOPLE.schema)]).sort_by(
        [(n, "ascending") for n in KEY]
    )
    params = {"draw": _params(settings, seed), "people": people.num_rows}
    stage = study.begin(PEOPLE.name, params=params, code=CODE, redo=True)
    stage.write(people)
    stage.publish()
