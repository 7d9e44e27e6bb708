"""Pictures of each class: the surest, the hardest, and what is most often taken for what."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from likewise.study import Study, write_json
from likewise.tables import AUTHOR_KEY
from training.galleries.gallery import hashes_of, pick, with_origin

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likewise.config import RankSection

__all__ = [
    "ClassGalleries",
    "ClassPick",
    "Confused",
    "OfClass",
    "choose",
    "load",
    "make",
    "of_model",
]

FILE = "class-galleries.json"

EACH = 5
"""Pictures at each end of a class."""
PAIRS, OF_PAIR = 8, 5
"""Pairs of classes that are shown as taken for each other, and pictures of each."""
LEAST = 10
"""Test pictures from which galleries show no others."""


@dataclass(frozen=True, slots=True)
class ClassPick:
    """One picture: its own class and its probability, what was said, and how surely."""

    picture_id: str
    true: str
    said: str
    probability: float | None
    certainty: float
    handle: str
    url: str | None
    alt: str
    held_out: bool

    @property
    def right(self) -> bool:
        """Whether its own class was said."""
        return self.true == self.said


@dataclass(frozen=True, slots=True)
class OfClass:
    """The surest and the hardest pictures of a class; ``seen`` of how many."""

    name: str
    seen: int
    best: list[ClassPick]
    worst: list[ClassPick]


@dataclass(frozen=True, slots=True)
class Confused:
    """Pictures of class ``true`` that were called ``said``, the surest first."""

    true: str
    said: str
    count: int
    of: int
    picks: list[ClassPick]


@dataclass(frozen=True, slots=True)
class ClassGalleries:
    """Everything by one model; ``split`` is a part, ``test`` most often, or ``all``."""

    model: str
    split: str
    classes: list[OfClass]
    confused: list[Confused]
    unseen: list[ClassPick]


def choose(study: Study) -> ClassGalleries:
    """By the published ranking, test pictures alone unless there are hardly any."""
    labels = study.read("labels", ["picture_id", "post_id", "media_index", "class", "split"])
    frame = study.read("scores").join(labels, "picture_id", join_type="inner").sort_by("rank")
    return _chosen(study, frame, str(study.require("scores").extra["model"]), "test")


def of_model(
    study: Study,
    picture_id: NDArray[np.object_],
    share: NDArray[np.float64],
    classes: Sequence[str],
    *,
    model: str,
    part: str,
) -> ClassGalleries:
    """Pictures of one ``part`` by (n, k) probabilities that a model gives (n,) pictures."""
    columns = ["picture_id", "post_id", "media_index", "class", "split", *AUTHOR_KEY]
    labels = study.read("labels", columns).to_pylist()
    told = {row["picture_id"]: row for row in labels}
    number = {name: at for at, name in enumerate(classes)}
    rows = []
    for picture, own in zip(picture_id.tolist(), share, strict=True):
        row = told[picture]
        at = number.get(row["class"])
        probability = None if at is None else float(own[at])
        said, certainty = classes[int(own.argmax())], float(own.max())
        rows.append({**row, "said": said, "probability": probability, "certainty": certainty})
    rows.sort(key=lambda row: (-(row["probability"] or 0.0), row["picture_id"]))
    return _chosen(study, pa.Table.from_pylist(rows), model, part)


def _chosen(study: Study, frame: pa.Table, model: str, part: str) -> ClassGalleries:
    """The galleries of a part, of all pictures where it has hardly any; the surest rows first."""
    hashes = hashes_of(study, frame["picture_id"].to_pylist())
    frame = frame.append_column("phash", pa.array(hashes))
    manifest, rules = study.require("labels"), study.config.rank
    unseen = set(manifest.extra.get("unseen", ()))
    hidden = pc.is_in(frame["class"], pa.array(sorted(unseen), pa.string()))
    known = frame.filter(pc.invert(hidden))
    held_out = known.filter(pc.equal(known["split"], part))
    split = part if held_out.num_rows >= LEAST else "all"
    known = (held_out if split == part else known).combine_chunks()
    names = [name for name in manifest.extra["classes"] if name not in unseen]
    own = {name: known.filter(pc.equal(known["class"], name)) for name in names}
    own = {name: rows for name, rows in own.items() if rows.num_rows}
    pairs = list(_confused(known))
    shown = [end for rows in own.values() for end in _ends(rules, rows)]
    shown += [_surest(rules, rows, OF_PAIR) for _, rows in pairs]
    shown.append(_surest(rules, frame.filter(hidden), 2 * EACH))
    picks = iter(_picks(study, shown))
    return ClassGalleries(
        model=model,
        split=split,
        classes=[
            OfClass(name, rows.num_rows, next(picks), next(picks)) for name, rows in own.items()
        ],
        confused=[replace(pair, picks=next(picks)) for pair, _ in pairs],
        unseen=next(picks),
    )


def _ends(rules: RankSection, own: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The surest and the hardest rows of a class."""
    best = _unlike(rules, own, EACH)
    last = own.num_rows - 1
    back = last - _unlike(rules, own.take(np.arange(own.num_rows)[::-1]), EACH)
    return own.take(best), own.take(back[~np.isin(back, best)])


def _confused(frame: pa.Table) -> Iterator[tuple[Confused, pa.Table]]:
    """The most frequent mistakes, without pictures yet, and the rows of each."""
    wrong = frame.filter(pc.not_equal(frame["class"], frame["said"]))
    pairs = wrong.group_by(["class", "said"]).aggregate([("picture_id", "count")]).to_pylist()
    pairs.sort(key=lambda row: (-row["picture_id_count"], row["class"], row["said"]))
    for row in pairs[:PAIRS]:
        same = [pc.equal(wrong[name], row[name]) for name in ("class", "said")]
        of = int(pc.sum(pc.equal(frame["class"], row["class"])).as_py() or 0)
        pair = Confused(row["class"], row["said"], row["picture_id_count"], of, [])
        yield pair, wrong.filter(pc.and_(*same))


def _surest(rules: RankSection, rows: pa.Table, n: int) -> pa.Table:
    """At most ``n`` rows, the surest answers first."""
    rows = rows.sort_by([("certainty", "descending"), ("picture_id", "ascending")])
    return rows.take(_unlike(rules, rows, n))


def _unlike(rules: RankSection, rows: pa.Table, n: int) -> NDArray[np.int64]:
    """The first ``n`` rows without copies, at most ``[rank] per_author`` of one author."""
    authors = list(zip(*(rows[c].to_pylist() for c in AUTHOR_KEY), strict=True))
    radius = rules.near_duplicate_radius
    # Imported folders are of one author; there nobody floods a gallery.
    most = rules.per_author if len(set(authors)) > 1 else n
    chosen, _ = pick(authors, rows["phash"].to_numpy(), n=n, per_author=most, radius=radius)
    return np.array(chosen, np.int64)


def _picks(study: Study, shown: Sequence[pa.Table]) -> list[list[ClassPick]]:
    """The pictures of every gallery; posts and authors are looked up once for all of them."""
    found = (
        ClassPick(
            picture_id=row["picture_id"],
            true=row["class"],
            said=row["said"],
            probability=row["probability"],
            certainty=row["certainty"],
            **told,
        )
        for row, told in with_origin(study, pa.concat_tables(shown))
    )
    return [list(islice(found, rows.num_rows)) for rows in shown]


def make(study: Study) -> ClassGalleries:
    """Choose the galleries and write ``reports/class-galleries.json``."""
    found = choose(study)
    content = {"scores": study.require("scores").fingerprint, **asdict(found)}
    write_json(study.folder("reports") / FILE, content)
    return found


def load(study: Study) -> ClassGalleries:
    """The galleries that ``rank`` made of the current scores; chosen anew where there are none."""
    try:
        content = json.loads((study.root / "reports" / FILE).read_text(encoding="utf-8"))
        if content.pop("scores") != study.require("scores").fingerprint:
            return choose(study)

        def picks(rows: list[dict[str, object]]) -> list[ClassPick]:
            return [ClassPick(**row) for row in rows]  # type: ignore[arg-type]

        return ClassGalleries(
            content["model"],
            content["split"],
            [
                OfClass(c["name"], c["seen"], picks(c["best"]), picks(c["worst"]))
                for c in content["classes"]
            ],
            [Confused(**{**c, "picks": picks(c["picks"])}) for c in content["confused"]],
            picks(content["unseen"]),
        )
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):  # or another version's
        return choose(study)
