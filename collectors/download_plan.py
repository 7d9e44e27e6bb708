"""What there is to fetch: kept posts, less what an earlier run has fetched already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from collectors.download_expiry import expires_at
from collectors.download_fetch import RETRYABLE, TIMEOUTS
from collectors.download_spool import Parts
from likewise.errors import UsageError
from likewise.study import Study
from likewise.tables import PICTURES, bucket_of, media_key

__all__ = ["Item", "Key", "Plan", "key_of", "make_plan", "outcomes", "wants_again"]

Key = tuple[str, str, str, int]

KEY = PICTURES.key

CHUNK = 20_000

_SPOOL_COLUMNS = ("author_id", "bucket", "url")

SCHEMA = pa.schema(
    [
        *(PICTURES.schema.field(name) for name in (*KEY, *_SPOOL_COLUMNS)),
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
        """Pictures of one bucket, each once."""
        seen: set[Key] = set()
        for batch in self.parts.batches(bucket):
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                item = Item(*values)
                if item.key not in seen:
                    seen.add(item.key)
                    yield item


def make_plan(study: Study, folder: Path) -> Plan:
    """Write the pictures of the kept posts into ``folder``. Memory does not grow with them."""
    n_buckets = study.config.download.buckets
    plan = Plan(Parts(folder, SCHEMA), n_buckets)
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
    columns = zip(*rows, strict=True) if rows else ([] for _ in SCHEMA)
    return pa.table(
        [pa.array(column, kind.type) for column, kind in zip(columns, SCHEMA, strict=True)],
        schema=SCHEMA,
    )


def _media(study: Study, plan: Plan) -> Iterator[Item]:
    columns = ["platform", "host", "post_id", "author_id", "media"]
    for batch in study.dataset("kept_posts").to_batches(columns=columns, batch_size=4096):
        for platform, host, post_id, author_id, media in zip(
            *(column.to_pylist() for column in batch.columns), strict=True
        ):
            for medium in media or ():
                plan.media += 1
                reason = _no_picture(medium)
                if reason:
                    plan.left_out[reason] += 1
                    continue
                index, url = medium["index"], medium["url"]
                bucket = bucket_of(media_key(platform, host, post_id, index), plan.n_buckets)
                expires = expires_at(url)
                yield Item(platform, host, post_id, index, author_id, bucket, url, expires)


def _no_picture(medium: Mapping[str, object]) -> str | None:
    if medium["kind"] != "image":
        return f"media of kind {medium['kind']}"
    return None if medium["url"] else "no address"


# -- what earlier runs have found ---------------------------------------------------------


class Outcome(NamedTuple):
    """State of a row that an earlier run has written."""

    status: str
    error_class: str | None
    attempts: int


def key_of(columns: Mapping[str, list[object]], row: int) -> Key:
    """Key of one row of columns as Python lists."""
    return tuple(columns[name][row] for name in KEY)  # type: ignore[return-value]


def outcomes(batches: Iterable[pa.RecordBatch]) -> dict[Key, Outcome]:
    """Latest outcome of each key; the bytes are not looked at."""
    found: dict[Key, Outcome] = {}
    for batch in batches:
        columns = [batch[name].to_pylist() for name in (*KEY, *STATE)]
        for platform, host, post_id, index, *state in zip(*columns, strict=True):
            found[platform, host, post_id, index] = Outcome(*state)
    return found


def wants_again(outcome: Outcome, retry: str | None) -> bool:
    """Whether a row with this outcome is asked for once more.

    Args:
        outcome: What the last run wrote.
        retry: None asks again for rows with an error that may pass; ``timeouts`` for those that
            took too long; ``failed`` for all that failed; ``all`` also for those that were
            rejected. Rows with a picture are never asked for again.
    """
    if outcome.status == "ok":
        return False
    if retry is None:
        return outcome.status == "failed" and outcome.error_class in RETRYABLE
    if retry == "timeouts":
        return outcome.error_class in TIMEOUTS
    if retry == "failed":
        return outcome.status == "failed"
    if retry == "all":
        return True
    raise UsageError(f"retry is {retry!r}, expected failed, timeouts or all")
