"""Pictures of each class: the surest, the hardest, and what is most often taken for what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from likewise.study import Study, write_json
from likewise.tables import AUTHOR_KEY, POST_KEY
from training.galleries.gallery import hashes_of, lookup, pick, safe_url

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["ClassGalleries", "ClassPick", "Confused", "OfClass", "choose", "load", "make"]

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
    """Everything by one model; ``split`` is ``test`` or ``all``."""

    model: str
    split: str
    classes: list[OfClass]
    confused: list[Confused]
    unseen: list[ClassPick]


def choose(study: Study) -> ClassGalleries:
    """By the published ranking, test pictures alone unless there are hardly any."""
    labels = study.read("labels", ["picture_id", "post_id", "media_index", "class", "split"])
    frame = study.read("scores").join(labels, "picture_id", join_type="inner").sort_by("rank")
    manifest = study.require("labels")
    unseen = set(manifest.extra.get("unseen", ()))
    hidden = pc.is_in(frame["class"], _strings(sorted(unseen)))
    known = frame.filter(pc.invert(hidden))
    held_out = known.filter(pc.equal(known["split"], "test"))
    split = "test" if held_out.num_rows >= LEAST else "all"
    known = (held_out if split == "test" else known).combine_chunks()
    names = [name for name in manifest.extra["classes"] if name not in unseen]
    return ClassGalleries(
        model=str(study.require("scores").extra["model"]),
        split=split,
        classes=[one for name in names if (one := _of_class(study, known, name)).seen],
        confused=_confused(study, known),
        unseen=_surest(study, frame.filter(hidden)),
    )


def _strings(values: Sequence[str]) -> pa.Array:
    import pyarrow as pa

    return pa.array(values, pa.string())


def _of_class(study: Study, frame: pa.Table, name: str) -> OfClass:
    own = frame.filter(pc.equal(frame["class"], name)).combine_chunks()
    best = _unlike(study, own, EACH)
    back = own.num_rows - 1 - _unlike(study, own.take(_reversed(own)), EACH)
    worst = back[~np.isin(back, best)]
    ends = [_picks(study, own.take(rows)) for rows in (best, worst)]
    return OfClass(name, own.num_rows, *ends)


def _confused(study: Study, frame: pa.Table) -> list[Confused]:
    wrong = frame.filter(pc.not_equal(frame["class"], frame["said"]))
    pairs = wrong.group_by(["class", "said"]).aggregate([("picture_id", "count")]).to_pylist()
    pairs.sort(key=lambda row: (-row["picture_id_count"], row["class"], row["said"]))
    found = []
    for row in pairs[:PAIRS]:
        same = [pc.equal(wrong[name], row[name]) for name in ("class", "said")]
        of = int(pc.sum(pc.equal(frame["class"], row["class"])).as_py() or 0)
        picks = _surest(study, wrong.filter(pc.and_(*same)))[:OF_PAIR]
        found.append(Confused(row["class"], row["said"], row["picture_id_count"], of, picks))
    return found


def _surest(study: Study, rows: pa.Table) -> list[ClassPick]:
    """At most eight pictures, the surest answers first."""
    rows = rows.sort_by([("certainty", "descending"), ("picture_id", "ascending")]).combine_chunks()
    return _picks(study, rows.take(_unlike(study, rows, 2 * EACH)))


def _unlike(study: Study, rows: pa.Table, n: int) -> NDArray[np.int64]:
    """The first ``n`` rows without copies, at most ``[rank] per_author`` of one author."""
    rules = study.config.rank
    authors = [
        "\0".join(key) for key in zip(*(rows[c].to_pylist() for c in AUTHOR_KEY), strict=True)
    ]
    hashes = hashes_of(study, rows["picture_id"].to_pylist())
    radius = rules.near_duplicate_radius
    # Imported folders are of one author; there nobody floods a gallery.
    most = rules.per_author if len(set(authors)) > 1 else n
    chosen, _ = pick(authors, hashes, n=n, per_author=most, radius=radius)
    return np.array(chosen, np.int64)


def _reversed(rows: pa.Table) -> NDArray[np.int64]:
    return np.arange(rows.num_rows)[::-1]


def _picks(study: Study, rows: pa.Table) -> list[ClassPick]:
    records = rows.to_pylist()
    posts = lookup(study, "posts", POST_KEY, ("url", "media"), records)
    authors = lookup(study, "authors", AUTHOR_KEY, ("handle",), records)
    found = []
    for row in records:
        post = posts.get(tuple(row[c] for c in POST_KEY), {})
        author = authors.get(tuple(row[c] for c in AUTHOR_KEY), {})
        media = [m for m in post.get("media") or [] if m["index"] == row["media_index"]]
        found.append(
            ClassPick(
                picture_id=row["picture_id"],
                true=row["class"],
                said=row["said"],
                probability=row["probability"],
                certainty=row["certainty"],
                handle=author.get("handle") or row["author_id"],
                url=safe_url(post.get("url")),
                alt=(media[0]["alt"] or "") if media else "",
                held_out=row["split"] == "test",
            )
        )
    return found


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
