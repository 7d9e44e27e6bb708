"""What there is to fetch: kept posts, less what an earlier run has fetched already."""

from __future__ import annotations

import copy
import itertools
import operator
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from collectors.downloading.expiry import expires_at
from collectors.downloading.fetch import RETRYABLE, TIMEOUTS
from collectors.downloading.spool import Parts
from collectors.imports.places import is_imported
from likewise.errors import UsageError
from likewise.study import Study
from likewise.tables import FETCHES, PICTURE_KEY, bucket_of, media_key

__all__ = ["ITEMS", "KEY", "Item", "Key", "Plan", "Todo", "make_plan", "outcomes", "wants_again"]

Key = tuple[str, str, str, int]

KEY = PICTURE_KEY

CHUNK, AT_ONCE = 5_000, 1_024
"""Items written, and read, at once."""

HOUR = 3_600.0

_SPOOL_COLUMNS = ("author_id", "bucket", "url")

ITEMS = pa.schema(
    [
        *(FETCHES.schema.field(name) for name in (*KEY, *_SPOOL_COLUMNS)),
        pa.field("expires", pa.float64()),
    ]
)

STATE = ("status", "error_class", "attempts")


class Item(NamedTuple):
    """One picture to fetch. ``attempts`` are the requests of earlier runs."""

    platform: str
    host: str
    post_id: str
    media_index: int
    author_id: str
    bucket: int
    url: str
    expires: float | None
    attempts: int = 0

    @property
    def key(self) -> Key:
        """Key of the picture's row."""
        return self[:4]


@dataclass(slots=True)
class Plan:
    """All pictures of the kept posts, on disk by bucket, and those media that are no pictures."""

    parts: Parts
    n_buckets: int
    media: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def items(self, bucket: int) -> Iterator[Item]:
        """Pictures of one bucket, in the order of the posts; a key may come twice."""
        for batch in self.parts.batches(bucket):
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield Item(*values)


class Todo:
    """Pictures of a plan that have no row yet, or one that is asked for again.

    Takes one byte of memory for each picture of the plan.
    """

    def __init__(self, plan: Plan, known: Known, retry: str | None) -> None:
        self._plan = plan
        self._attempts: dict[Key, int] = {}
        self._asked: list[NDArray[np.bool_]] = []
        self._signed: list[tuple[float, int, int]] = []
        for bucket in range(plan.n_buckets):
            self._asked.append(self._strike_out(bucket, known, retry))

    def __len__(self) -> int:
        return int(sum(mask.sum() for mask in self._asked)) + len(self._signed)

    def _strike_out(self, bucket: int, known: Known, retry: str | None) -> NDArray[np.bool_]:
        done = outcomes(known.known(bucket, (*KEY, *STATE)))
        suspects = known.suspects()
        seen: set[Key] = set()
        asked: list[bool] = []
        for row, item in enumerate(self._plan.items(bucket)):
            outcome = done.get(item.key)
            again = item.key not in seen and (
                outcome is None
                or wants_again(outcome, retry)
                or (outcome.status == "failed" and outcome.error_class in suspects)
            )
            seen.add(item.key)
            if again and outcome is not None:
                self._attempts[item.key] = outcome.attempts
            if again and item.expires is not None:
                self._signed.append((item.expires, bucket, row))
            asked.append(again and item.expires is None)
        return np.array(asked, bool)

    def items(self) -> Iterator[Item]:
        """What to ask for, in an order that chance has made, the same in every run.

        Whoever judges by the first answers judges a fair sample. Only signed addresses have an
        order: they come before the others, by the hour in which they end.
        """
        signed = self._signed.copy()
        random.Random(len(signed)).shuffle(signed)
        signed.sort(key=lambda place: place[0] // HOUR)
        tables: dict[int, pa.Table] = {}
        for _, bucket, row in signed:
            if bucket not in tables:
                tables[bucket] = pa.Table.from_batches(self._plan.parts.batches(bucket), ITEMS)
            values = tables[bucket].slice(row, 1).to_pylist()[0].values()
            yield self._with_attempts(Item(*values))
        for bucket, asked in enumerate(self._asked):
            if not asked.any():
                continue
            table = pa.Table.from_batches(self._plan.parts.batches(bucket), ITEMS).combine_chunks()
            # Imported files are read in the order in which they lie: theirs is no host to judge.
            local = np.array([is_imported(host) for host in table["host"].to_pylist()], bool)
            others = np.random.default_rng(bucket).permutation(np.flatnonzero(asked & ~local))
            rows = np.concatenate([np.flatnonzero(asked & local), others])
            for start in range(0, len(rows), AT_ONCE):
                chunk = table.take(pa.array(rows[start : start + AT_ONCE]))
                for values in zip(*(column.to_pylist() for column in chunk.columns), strict=True):
                    yield self._with_attempts(Item(*values))

    def expired(self, known: Known) -> Todo:
        """Those of these pictures that were asked for too late: their address had ended."""
        rest = copy.copy(self)
        rest._asked, rest._attempts, rest._signed = [], {}, []
        bucket_of_place = operator.itemgetter(1)
        places = sorted(self._signed, key=bucket_of_place)
        for bucket, here in itertools.groupby(places, key=bucket_of_place):
            done = outcomes(known.known(bucket, (*KEY, *STATE)))
            ends = {row: expires for expires, _, row in here}
            for row, item in enumerate(self._plan.items(bucket)):
                outcome = done.get(item.key)
                if row in ends and outcome is not None and outcome.error_class == "expired":
                    rest._signed.append((ends[row], bucket, row))
                    rest._attempts[item.key] = outcome.attempts
        return rest

    def _with_attempts(self, item: Item) -> Item:
        before = self._attempts.get(item.key)
        return item if before is None else item._replace(attempts=before)


class Known(Protocol):
    """Rows of earlier runs; see ``download_store.Store``."""

    def known(self, bucket: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Given columns of all rows of one bucket."""

    def suspects(self) -> frozenset[str]:
        """Reasons whose failures do not count."""


def make_plan(study: Study, folder: Path) -> Plan:
    """Write the pictures of the kept posts into ``folder``. Memory does not grow with them."""
    n_buckets = study.config.download.buckets
    plan = Plan(Parts(folder, ITEMS), n_buckets)
    rows: list[tuple[object, ...]] = []
    number = 0
    for item in _media(study, plan):
        rows.append(item[:8])
        if len(rows) == CHUNK:
            plan.parts.write(_table(rows), f"{number:08d}")
            rows, number = [], number + 1
    plan.parts.write(_table(rows), f"{number:08d}")
    return plan


def _table(rows: list[tuple[object, ...]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ([] for _ in ITEMS)
    return pa.table(
        [pa.array(column, kind.type) for column, kind in zip(columns, ITEMS, strict=True)],
        schema=ITEMS,
    )


def _media(study: Study, plan: Plan) -> Iterator[Item]:
    for batch in _kept_media(study):
        for platform, host, post_id, author_id, media in zip(
            *(column.to_pylist() for column in batch.columns), strict=True
        ):
            for medium in media or ():
                plan.media += 1
                url = _address(medium, stills=study.config.collect.stills)
                if url is None:
                    plan.left_out[_no_picture(medium)] += 1
                    continue
                index = medium["index"]
                bucket = bucket_of(media_key(platform, host, post_id, index), plan.n_buckets)
                expires = expires_at(url)
                yield Item(platform, host, post_id, index, author_id, bucket, url, expires)


def _kept_media(study: Study) -> Iterator[pa.RecordBatch]:
    """Keys, authors and media of the kept posts, in the order of ``posts``.

    DuckDB holds the keys of the kept posts only; PyArrow's own join knows no nested columns.
    """
    import duckdb

    with duckdb.connect() as connection:
        for name in ("posts", "kept_posts"):
            connection.register(name, study.dataset(name))
        yield from connection.sql(
            "SELECT platform, host, post_id, author_id, media "
            "FROM posts SEMI JOIN kept_posts USING (platform, host, post_id)"
        ).to_arrow_reader(1024)


def _address(medium: Mapping[str, object], *, stills: bool) -> str | None:
    """Address of a medium's picture: of a film its still, where that is asked for."""
    film = medium["kind"] in {"video", "gifv"}
    if film and not stills:
        return None
    found = medium["preview_url"] if film else medium["url"] if medium["kind"] == "image" else None
    return str(found) if found else None


def _no_picture(medium: Mapping[str, object]) -> str:
    """Why a medium has no address."""
    kind = medium["kind"]
    return "no address" if kind == "image" else f"media of kind {kind}"


# -- what earlier runs have found ---------------------------------------------------------


class Outcome(NamedTuple):
    """State of a row that an earlier run has written."""

    status: str
    error_class: str | None
    attempts: int


def outcomes(batches: Iterable[pa.RecordBatch]) -> dict[Key, Outcome]:
    """Latest outcome of each key; the bytes are not looked at."""
    found: dict[Key, Outcome] = {}
    for batch in batches:
        columns = [batch[name].to_pylist() for name in (*KEY, *STATE)]
        for values in zip(*columns, strict=True):
            held = found.get(values[:4])
            if held is None or held.status != "ok":
                found[values[:4]] = Outcome(*values[4:])
    return found


def wants_again(outcome: Outcome, retry: str | None) -> bool:
    """Whether a row with this outcome is asked for once more.

    Args:
        outcome: What the last run wrote.
        retry: None asks again for rows with an error that may pass; ``timeouts`` for those that
            took too long; ``failed`` for all that failed; ``all`` also for those that were
            rejected. Rows with a picture are never asked for again; a ``damaged`` one is gone.
    """
    if outcome.status == "ok":
        return False
    if retry in (None, "damaged"):
        return outcome.status == "failed" and outcome.error_class in RETRYABLE
    if retry == "timeouts":
        return outcome.error_class in TIMEOUTS
    if retry == "failed":
        return outcome.status == "failed"
    if retry == "all":
        return True
    raise UsageError(f"retry is {retry!r}, expected failed, timeouts, damaged or all")
