"""The best and the worst pictures: chosen without floods and copies, and put on contact sheets."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from likewise.study import Study, write_json
from likewise.tables import AUTHOR_KEY, POST_KEY
from training.data.unit import unit_codes
from training.galleries.picks import Galleries, Pick
from training.galleries.sheet import contact_sheet
from training.pictures.thumbnails import decoded, square

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["choose", "hashes_of", "load", "make", "pick", "safe_url", "with_origin"]

FILE = "galleries.json"

END = 0.2
"""Largest share of the pictures that a gallery shows."""

LEAST = 10
"""Held-out pictures from which galleries show no others."""


def pick(
    units: Sequence[Hashable], hashes: NDArray[np.int64], *, n: int, per_author: int, radius: int
) -> tuple[list[int], Counter[str]]:
    """Rows of the first ``n`` pictures that are neither copies nor one unit's flood.

    Args:
        units: the author, or block of time, of each picture, in the order of the ranking.
        hashes: perceptual hashes, 64 bits each, same order.
        n: pictures wanted.
        per_author: most pictures of one unit.
        radius: a picture within this Hamming distance of a chosen one is its copy.

    Returns:
        The rows, and how many pictures were passed over by reason on the way.
    """
    chosen: list[int] = []
    counts: Counter[Hashable] = Counter()
    passed: Counter[str] = Counter()
    for row, unit in enumerate(units):
        if len(chosen) == n:
            break
        if counts[unit] >= per_author:
            passed["author_has_enough"] += 1
        elif chosen and np.bitwise_count(hashes[chosen] ^ hashes[row]).min() <= radius:
            passed["near_duplicate"] += 1
        else:
            chosen.append(row)
            counts[unit] += 1
    return chosen, passed


def choose(study: Study, *, n: int | None = None) -> Galleries:
    """Both ends of the published ranking, by the rules of ``[rank]``.

    Held-out authors only, unless ``[rank] split`` is ``all`` or there are hardly any of them: a
    model knows the pictures it was fitted on, and each pick says which kind it is. Of few pictures
    each end shows a fifth at most: two halves would show everything and mean nothing.
    """
    rules = study.config.rank
    frame = _ranking(study)
    held_out = frame.filter(pc.equal(frame["split"], "test"))
    split = "test" if rules.split == "test" and held_out.num_rows >= LEAST else "all"
    frame = held_out if split == "test" else frame
    wanted = min(n or rules.n, max(int(frame.num_rows * END), min(1, frame.num_rows)))
    units = unit_codes(frame).tolist()
    hashes = hashes_of(study, frame["picture_id"].to_pylist())
    rule = {"n": wanted, "per_author": rules.per_author, "radius": rules.near_duplicate_radius}
    top, passed_top = pick(units, hashes, **rule)
    back, passed_bottom = pick(units[::-1], hashes[::-1], **rule)
    bottom = [frame.num_rows - 1 - row for row in back]
    bottom = [row for row in bottom if row not in set(top)]
    return Galleries(
        model=study.require("scores").extra["model"],
        split=split,
        n=wanted,
        per_author=rules.per_author,
        top=_picks(study, frame.take(top)),
        bottom=_picks(study, frame.take(bottom)),
        passed_over=dict(passed_top + passed_bottom),
    )


def _ranking(study: Study) -> pa.Table:
    labels = study.read(
        "labels",
        [
            *("picture_id", "post_id", "media_index", "likes", "audience", "ratio", "label"),
            *("group_key", "split"),
        ],
    )
    scores = study.read("scores")
    joined = scores.join(labels, "picture_id", join_type="inner")
    return joined.sort_by("rank").combine_chunks()


def hashes_of(study: Study, picture_ids: list[str]) -> NDArray[np.int64]:
    """Perceptual hash of each picture; where there is none, one that nothing is near to."""
    known: dict[str, int] = {}
    if study.manifest("pictures") is not None:
        rows = study.read("pictures", ["picture_id", "phash"]).drop_null()
        known = dict(zip(rows["picture_id"].to_pylist(), rows["phash"].to_pylist(), strict=True))
    apart = np.random.default_rng(0).integers(-(2**63), 2**63, len(picture_ids), dtype=np.int64)
    return np.array(
        [known.get(key, lone) for key, lone in zip(picture_ids, apart.tolist(), strict=True)],
        dtype=np.int64,
    )


def _picks(study: Study, rows: pa.Table) -> list[Pick]:
    return [
        Pick(**told, **{name: row[name] for name in _COPIED})
        for row, told in with_origin(study, rows)
    ]


_COPIED = ("picture_id", "rank", "score", "probability", "ratio", "likes", "audience", "label")


def with_origin(study: Study, rows: pa.Table) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each row beside its picture's ``handle``, ``url`` and ``alt``, and whether ``held_out``."""
    records = rows.to_pylist()
    posts = _lookup(study, "posts", POST_KEY, ("url", "media"), records)
    authors = _lookup(study, "authors", AUTHOR_KEY, ("handle",), records)
    for row in records:
        post = posts.get(tuple(row[c] for c in POST_KEY), {})
        author = authors.get(tuple(row[c] for c in AUTHOR_KEY), {})
        media = [m for m in post.get("media") or [] if m["index"] == row["media_index"]]
        yield (
            row,
            {
                "handle": author.get("handle") or row["author_id"],
                "url": safe_url(post.get("url")),
                "alt": (media[0]["alt"] or "") if media else "",
                "held_out": row["split"] == "test",
            },
        )


def _lookup(
    study: Study,
    table: str,
    key: tuple[str, ...],
    columns: tuple[str, ...],
    records: Iterable[dict[str, Any]],
) -> dict[tuple[str, ...], dict[str, Any]]:
    """Rows of ``table`` for the keys of ``records``; later readings win."""
    if study.manifest(table) is None:
        return {}
    ids = pa.array(sorted({record[key[-1]] for record in records}), pa.string())
    found = study.read(table, [*key, *columns], filter=pc.field(key[-1]).isin(ids)).to_pylist()
    return {tuple(row[c] for c in key): row for row in found}


def safe_url(url: str | None) -> str | None:
    """The address when a browser may follow it: http or https with a host, else None."""
    try:
        parts = urlsplit(url or "")
    except ValueError:
        return None
    return url if parts.scheme in {"http", "https"} and parts.netloc else None


def make(study: Study | str | os.PathLike[str], *, n: int | None = None) -> Galleries:
    """Choose the galleries and write ``reports/galleries.json`` and the contact sheets."""
    opened = Study.open(study)
    galleries = choose(opened, n=n)
    folder = opened.folder("reports")
    content = {"scores": opened.require("scores").fingerprint, **asdict(galleries)}
    write_json(folder / FILE, content)
    _sheets(opened, galleries)
    return galleries


def _sheets(study: Study, galleries: Galleries) -> None:
    side = study.config.report.thumbnail
    for end, title in (("top", "Best"), ("bottom", "Worst")):
        picks: list[Pick] = getattr(galleries, end)
        wanted = {one.picture_id: side for one in picks}
        pictures = {key: square(rgb, side) for key, rgb in decoded(study, wanted)}
        heading = f"{title} {len(picks)} of {study.config.study.name}, by {galleries.model}"
        path = study.folder("reports", "galleries") / f"{end}.png"
        contact_sheet(heading, picks, pictures, path, side=side)


def load(study: Study) -> Galleries:
    """The galleries that ``rank`` made of the current scores; chosen anew where there are none."""
    try:
        content = json.loads((study.root / "reports" / FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return choose(study)
    if content.pop("scores", None) != study.require("scores").fingerprint:
        return choose(study)
    try:
        for end in ("top", "bottom"):
            content[end] = [Pick(**row) for row in content[end]]
        return Galleries(**content)
    except (KeyError, TypeError):  # another version's picks
        return choose(study)
