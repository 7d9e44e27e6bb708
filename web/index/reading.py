"""An index that is open: rows by filter and order, counts, one picture, its neighbours."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.pictures import bytes_at
from training.data.mapped import open_rows
from web.index import NAMED
from web.index.filters import Filter, Order

__all__ = ["Found", "Index", "Near"]

MOST_BYTES = 128 << 20
"""Of results that are kept."""
DAY = 86_400.0
SIZES = (0, 100, 1_000, 10_000, 100_000, 1_000_000)
"""Where the groups of authors by audience begin."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A filter's pictures in an order: ``rows`` (m,), and ``places`` (m,), ascending, where each
    stands in the order of all pictures: the key that a cursor holds."""

    rows: NDArray[np.int32]
    places: NDArray[np.int32]
    facets: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    """How they spread, once somebody has asked."""

    def after(self, place: int) -> int:
        """Number in this result of the first picture behind ``place``."""
        return int(np.searchsorted(self.places, place, side="right"))


@dataclass(frozen=True, slots=True)
class Near:
    """A picture and its cosine to the one that was asked about, -1 ... 1."""

    row: int
    similarity: float


class Index:
    """One file of ``web.index.build``, read by many threads.

    ``hidden`` rows are pictures that were deleted since: no answer shows them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # One connection for all threads (SQLite's own mutex orders them): nobody writes the file
        # again, and once open it stays readable when a newer state or `forget` deletes it.
        self.db = sqlite3.connect(
            f"{path.as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        self._lock = threading.Lock()
        self._columns: dict[str, NDArray[Any]] = {}
        self._kept: OrderedDict[tuple[str, ...], Found] = OrderedDict()
        self._bytes = 0
        self._hidden: NDArray[np.int32] = np.empty(0, np.int32)
        self._hidden_ids: frozenset[str] = frozenset()
        self.changes = 0
        """Grows whenever something is hidden."""
        rows = self.db.execute("SELECT name, value FROM facts").fetchall()
        self.facts: dict[str, Any] = {name: json.loads(value) for name, value in rows}
        file = self.facts["vectors"]
        self._vectors: NDArray[np.float32] | None = None
        if file is not None and (path.parent / file).is_file():
            self._vectors = open_rows(path.parent / file)

    @property
    def n(self) -> int:
        """Pictures, deleted ones among them."""
        return int(self.facts["pictures"])

    @property
    def models(self) -> list[str]:
        """Models whose scores are there, the published one first."""
        return list(self.facts["models"])

    def column(self, name: str) -> NDArray[Any]:
        """An array of the index; (n,)."""
        found = self._columns.get(name)
        if found is None:
            row = self.db.execute(
                "SELECT dtype, data FROM columns WHERE name = ?", (name,)
            ).fetchone()
            found = np.frombuffer(row[1], dtype=row[0])
            self._columns[name] = found
        return found

    # -- deleted meanwhile ----------------------------------------------------------------

    def hide(self, picture_ids: Collection[str]) -> None:
        """Show these pictures no more."""
        new = frozenset(picture_ids) - self._hidden_ids
        if not new:
            return
        rows = [row for row in map(self.row_of, new) if row is not None]
        with self._lock:
            self._hidden = np.union1d(self._hidden, np.array(rows, np.int32)).astype(np.int32)
            self._hidden_ids |= new
            self.changes += 1
            self._kept.clear()
            self._bytes = 0

    def is_hidden(self, picture_id: str) -> bool:
        """Whether the picture was deleted since the index was made."""
        return picture_id in self._hidden_ids

    @property
    def hidden_count(self) -> int:
        """Pictures that are hidden."""
        return len(self._hidden)

    def all_ids(self) -> list[str]:
        """Ids of all pictures, by row."""
        return [row[0] for row in self.db.execute("SELECT picture_id FROM pictures ORDER BY row")]

    # -- filters --------------------------------------------------------------------------

    def find(
        self,
        asked: Filter,
        order: Order,
        reviewed: Callable[[], Collection[int]] = tuple,
        version: int = 0,
    ) -> Found:
        """Pictures of a filter in an order.

        Args:
            asked: the filter.
            order: the order.
            reviewed: gives the rows that have a review; asked only where the filter asks for it
                and this version's result is not there yet.
            version: changes whenever what ``reviewed`` gives does.
        """
        changing = f"{self.changes}/{version if asked.reviewed is not None else 0}"
        key = (asked.key, order.column, order.model or "", str(order.ascending), changing)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        sequence = self._sequence(order)
        mask = self._mask(asked, order.model, reviewed)
        if mask is None:
            found = Found(sequence, np.arange(len(sequence), dtype=np.int32))
        else:
            places = np.flatnonzero(mask[sequence]).astype(np.int32)
            found = Found(sequence[places], places)
        with self._lock:
            self._kept[key] = found
            self._bytes += found.rows.nbytes + found.places.nbytes
            while self._bytes > MOST_BYTES and len(self._kept) > 1:
                _, old = self._kept.popitem(last=False)
                self._bytes -= old.rows.nbytes + old.places.nbytes
        return found

    def _sequence(self, order: Order) -> NDArray[np.int32]:
        down: NDArray[np.int32] = self.column(f"order:{order.column}")
        if not order.ascending:
            return down
        name = f"up:{order.column}"
        if name not in self._columns:  # pictures without a value stay last
            known = int(self.facts["known"][order.column])
            self._columns[name] = np.concatenate([down[:known][::-1], down[known:]])
        return self._columns[name]

    def _mask(
        self, asked: Filter, model: str | None, reviewed: Callable[[], Collection[int]]
    ) -> NDArray[np.bool_] | None:
        """(n,) whether a row is meant; None when all are."""
        if asked.empty and not len(self._hidden):
            return None
        mask = np.ones(self.n, bool)
        mask[self._hidden] = False
        for tag in asked.tag:
            mask &= self._of_tag(tag)
        for name, wanted in (
            ("platform", asked.platform),
            ("split", asked.split),
            ("class", asked.class_),
            ("said", asked.said),
        ):
            if wanted:
                known = self.facts[NAMED[name]]
                mask &= np.isin(self.column(name), [known.index(w) for w in wanted if w in known])
        if asked.label:
            numbers = [{"good": 1.0, "bad": 0.0}.get(one, _number(one)) for one in asked.label]
            mask &= np.isin(self.column("label"), numbers)
        if asked.contradicted is not None:
            mask &= self._contradicted() == asked.contradicted
        if asked.author is not None:
            mask &= np.isin(self.column("author"), self.authors(asked.author))
        chance = f"probability:{model}" if model is not None else "probability"
        for name, low, high in (
            ("audience", asked.min_audience, asked.max_audience),
            ("n_faces", asked.min_faces, asked.max_faces),
            (chance, asked.min_probability, asked.max_probability),
            ("date", _seconds(asked.since), _seconds(asked.until, DAY - 1e-6)),
        ):
            if low is not None:  # a comparison with NaN is false: what is unknown is not meant
                mask &= self.column(name) >= low
            if high is not None:
                mask &= self.column(name) <= high
        if asked.reviewed is not None:
            seen = np.zeros(self.n, bool)
            seen[np.fromiter(reviewed(), np.int64)] = True
            mask &= seen if asked.reviewed else ~seen
        return mask

    def _contradicted(self) -> NDArray[np.bool_]:
        """(n,) whether the model's likeliest class is another than the picture's own."""
        found = self._columns.get("contradicted")
        if found is None:
            names = self.facts["classes"]
            number = [names.index(one) if one in names else -2 for one in self.facts["answers"]]
            said = np.array([*number, -1], np.int64)[self.column("said")]  # -1: nobody has said
            found = (said != self.column("class")) & (said != -1) & (self.column("class") >= 0)
            self._columns["contradicted"] = found
        return found

    def _of_tag(self, tag: str) -> NDArray[np.bool_]:
        mask = np.zeros(self.n, bool)
        row = self.db.execute("SELECT rows FROM tags WHERE tag = ?", (tag,)).fetchone()
        if row is not None:
            mask[np.frombuffer(row[0], np.int32)] = True
        return mask

    def authors(self, name: str) -> list[int]:
        """Numbers of the authors of that handle or id."""
        rows = self.db.execute(
            "SELECT author FROM authors WHERE handle = ?1 COLLATE NOCASE OR author_id = ?1",
            (name.removeprefix("@"),),
        )
        return [row[0] for row in rows]

    def facets(self, found: Found, *, tags: int = 24) -> dict[str, list[tuple[str, int]]]:
        """How the pictures of a result spread over what can be filtered by."""
        if found.facets:
            return found.facets
        rows = found.rows
        counts: dict[str, list[tuple[str, int]]] = {}
        for name in NAMED:
            known = self.facts[NAMED[name]]
            each = np.bincount(self.column(name)[rows] + 1, minlength=len(known) + 1)[1:]
            counts[name] = [(one, int(c)) for one, c in zip(known, each, strict=True) if c]
        if not self.facts["classes"]:
            label = self.column("label")[rows]
            pairs = (("good", int((label == 1).sum())), ("bad", int((label == 0).sum())))
            counts["label"] = [pair for pair in pairs if pair[1]]
        faces = self.column("n_faces")[rows]
        steps = [(str(n), int((faces == n).sum())) for n in range(3)]
        counts["faces"] = [*steps, ("3+", int((faces >= 3).sum()))]
        audience = self.column("audience")[rows]
        edges = [*SIZES, np.inf]
        each = np.histogram(audience[np.isfinite(audience)], edges)[0]
        counts["audience"] = [(str(a), int(c)) for a, c in zip(SIZES, each, strict=True)]
        counts["tag"] = self._tag_counts(rows, tags)
        found.facets.update(counts)
        return counts

    def _tag_counts(self, rows: NDArray[np.int32], most: int) -> list[tuple[str, int]]:
        """The most frequent tags of the study, counted in the result."""
        common = self.db.execute(
            "SELECT tag, n, rows FROM tags ORDER BY n DESC, tag LIMIT ?", (most,)
        )
        if len(rows) == self.n:
            return [(tag, n) for tag, n, _ in common]
        mask = np.zeros(self.n, bool)
        mask[rows] = True
        counted = [(tag, int(mask[np.frombuffer(data, np.int32)].sum())) for tag, _, data in common]
        return sorted((one for one in counted if one[1]), key=lambda one: (-one[1], one[0]))

    # -- pictures -------------------------------------------------------------------------

    def cards(self, rows: Sequence[int] | NDArray[np.int32]) -> list[str]:
        """What the grid shows of each row, as JSON texts, in the order of ``rows``."""
        wanted = [int(row) for row in rows]
        marks = ",".join("?" * len(wanted))
        found = dict(
            self.db.execute(f"SELECT row, card FROM pictures WHERE row IN ({marks})", wanted)
        )
        return [found[row] for row in wanted]

    def row_of(self, picture_id: str) -> int | None:
        """Row of a picture; None when there is none of that id."""
        row = self.db.execute(
            "SELECT row FROM pictures WHERE picture_id = ?", (picture_id,)
        ).fetchone()
        return None if row is None else int(row[0])

    def id_of(self, row: int) -> str:
        """Id of a row's picture."""
        found = self.db.execute(
            "SELECT picture_id FROM pictures WHERE row = ?", (int(row),)
        ).fetchone()
        return str(found[0])

    def picture(self, picture_id: str) -> dict[str, Any] | None:
        """Everything that is known of a picture: card and detail together, and its ``row``."""
        row = self.db.execute(
            "SELECT row, card, detail FROM pictures WHERE picture_id = ?", (picture_id,)
        ).fetchone()
        if row is None:
            return None
        return {"row": row[0], **json.loads(row[1]), **json.loads(row[2])}

    def opinions(self, row: int) -> list[dict[str, Any]]:
        """Each model's score of a row and its percentile rank among all pictures, 0 ... 1.

        ``out_of_fold`` is the same by the fit that had left the picture's fold out, ranked among
        scores by fits that had not seen their picture's author; None where there is none.
        """
        found = []
        for model in self.models:
            values = self.column(f"by:score:{model}")
            if np.isfinite(values[row]):
                said = _said(values, self.column(f"probability:{model}"), row)
                apart = None
                if model in self.facts["models_out_of_fold"]:
                    scores = self.column(f"fold score:{model}")
                    if np.isfinite(scores[row]):
                        held = self._held_out()
                        ranked = np.where(held, values, scores)
                        apart = _said(ranked, self.column(f"fold chance:{model}"), row)
                found.append({"model": model, **said, "out_of_fold": apart})
        return found

    def _held_out(self) -> NDArray[np.bool_]:
        splits = self.facts["splits"]
        number = splits.index("test") if "test" in splits else -2
        held: NDArray[np.bool_] = self.column("split") == number
        return held

    def file_of(self, picture_id: str) -> bytes | None:
        """The picture's bytes as they were downloaded; None when the index knows none.

        Raises:
            OSError: the table's part is gone.
            StudyError: the bytes are not those that were fetched.
        """
        row = self.db.execute(
            "SELECT path, row_group, place FROM pictures JOIN parts USING (part) "
            "WHERE picture_id = ?",
            (picture_id,),
        ).fetchone()
        if row is None:
            return None
        return bytes_at(picture_id, *row)

    def nearest(self, row: int, k: int) -> list[Near] | None:
        """The k pictures most alike by the cosine of their features, found by looking at all.

        None when the picture has no features. Deleted pictures are no neighbours.
        """
        vector = self.column("vector")
        if self._vectors is None or vector[row] < 0:
            return None
        similarity = self._vectors @ self._vectors[vector[row]]
        wanted = min(k + 1 + len(self._hidden), len(similarity))
        places = np.argpartition(similarity, len(similarity) - wanted)[-wanted:]
        pictures = self._pictures_of_vectors()[places]
        shown = ~np.isin(pictures, self._hidden) & (pictures >= 0) & (pictures != row)
        pictures, similar = pictures[shown], similarity[places[shown]]
        order = np.lexsort((pictures, -similar))[:k]
        return [Near(int(pictures[i]), float(similar[i])) for i in order]

    def _pictures_of_vectors(self) -> NDArray[np.int32]:
        """Row of the picture that each row of the mapped file belongs to; -1 for none."""
        found = self._columns.get("picture of vector")
        if found is None:
            assert self._vectors is not None
            vector = self.column("vector")
            found = np.full(len(self._vectors), -1, np.int32)
            rows = np.flatnonzero(vector >= 0)
            found[vector[rows]] = rows
            self._columns["picture of vector"] = found
        return found


def _said(scores: NDArray[np.float64], chances: NDArray[np.float64], row: int) -> dict[str, Any]:
    """Score, percentile among all scores that there are, and probability of a row."""
    value, chance = float(scores[row]), float(chances[row])
    below = float((scores < value).sum() + 0.5 * (scores == value).sum())
    return {
        "score": value,
        "percentile": below / int(np.isfinite(scores).sum()),
        "probability": chance if np.isfinite(chance) else None,
    }


def _number(text: str) -> float:
    return float(text) if text.isdigit() else -1.0


def _seconds(day: dt.date | None, more: float = 0.0) -> float | None:
    if day is None:
        return None
    moment = dt.datetime.combine(day, dt.time(), dt.UTC)
    return moment.timestamp() + more
