"""Where authors stand: fold and side are drawn once, and kept in the table ``people``.

Models of two nights can be compared only when nobody changes sides between them. So an author who
has a place keeps it, also when all pictures are gone for a night; new authors correct the balance.
Where blocks of time are dealt instead, the table ``blocks`` keeps theirs in the same way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from filters.folds import Assignment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from likewise.config import LabelSection
    from likewise.study import Study
    from likewise.tables import TableSpec

__all__ = ["draw", "drawn", "places", "remember"]

CODE = 1


def draw(settings: LabelSection, seed: int) -> dict[str, Any]:
    """What a draw depends on: with other folds, shares or seeds everybody is drawn anew."""
    return {"folds": settings.folds, "test_fraction": settings.test_fraction, "seed": seed}


def drawn(study: Study, spec: TableSpec) -> Mapping[str, Any]:
    """What the draw that is kept in the table depended on; empty without one."""
    manifest = study.manifest(spec.name)
    found: Mapping[str, Any] = {} if manifest is None else manifest.made_from["params"]["draw"]
    return found


def places(
    study: Study, spec: TableSpec, wanted: Mapping[str, Any], units: pa.Table
) -> Assignment | None:
    """Fold (-1: none yet) and side of the units, rows of the key of ``spec``; None for a new draw.

    ``wanted`` is what the draw is to depend on.
    """
    if drawn(study, spec) != wanted:
        return None
    table = study.read(spec.name, [*spec.key, "fold", "split"])
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    known = {row[:-2]: row[-2:] for row in rows}
    asked = zip(*(units[name].to_pylist() for name in spec.key), strict=True)
    found = [known.get(unit, (-1, "train")) for unit in asked]
    fold = np.array([at for at, _ in found], np.int32)
    return Assignment(fold, np.array([split == "test" for _, split in found], np.bool_))


def remember(
    study: Study,
    spec: TableSpec,
    wanted: Mapping[str, Any],
    dealt: pa.Table,
    before: Assignment | None,
) -> None:
    """Keep the places of ``dealt`` (columns of ``spec``) that are new; nobody's is changed."""
    new = dealt if before is None else dealt.filter(pa.array(before.fold < 0))
    if not new.num_rows:
        return
    old = [] if before is None else [study.read(spec.name)]
    rows = pa.concat_tables([*old, new.cast(spec.schema)]).sort_by(
        [(name, "ascending") for name in spec.key]
    )
    params = {"draw": dict(wanted), spec.name: rows.num_rows}
    stage = study.begin(spec.name, params=params, code=CODE, redo=True)
    stage.write(rows)
    stage.publish()
