"""Rows that were made under other rules of hygiene, or for other buckets, brought under these.

What is stored is looked at anew and not asked for again, unless what there is cannot tell.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from collectors.downloading.inspectors import Inspected, open_inspectors
from collectors.downloading.spool import Parts
from collectors.downloading.store import CODE, Store, read_note, rows_of
from filters.pictures.decode import Hygiene, Inspection
from likewise.progress import progress
from likewise.study import write_json
from likewise.tables import FETCHED, FETCHES, PICTURES, bucket_of, media_key

__all__ = ["adopt"]

DECODERS_WORD = frozenset(
    {"corrupt", "decode_timeout", "decoder_crashed", "not_a_picture", "too_costly", "truncated"}
)
"""Reasons that another version of the decoder may see otherwise."""


def adopt(store: Store) -> None:
    """Spool what the published tables and other spools hold as it is under the store's rules."""
    manifest = store.study.manifest("fetches")
    foreign = manifest if manifest is not None and not store.fits(manifest) else None
    note = store.rows.folder / "adopted.json"
    if foreign is not None and foreign.fingerprint == read_note(note).get("table"):
        foreign = None
    others = [one for one in store.folder.glob("rows-*") if one != store.rows.folder]
    if foreign is None and not others:
        return
    with progress("download: applying rules to stored pictures") as bar:
        hygiene = None if foreign is None else foreign.made_from["params"].get("hygiene", {})
        asyncio.run(_adopt(store, hygiene, others, bar.advance))
    if foreign is not None:
        write_json(note, {"table": foreign.fingerprint})
    for folder in others:
        shutil.rmtree(folder)


async def _adopt(
    store: Store,
    hygiene: Mapping[str, Any] | None,
    others: Sequence[Path],
    advance: Callable[[int], None],
) -> None:
    workers = store.study.config.download.workers or None
    async with open_inspectors(store.rules, workers) as inspectors:
        if hygiene is not None:
            judge = _Judge(store, hygiene, inspectors.inspect)
            if judge.again:
                await judge.look_at_stored(advance)
            parts = store.study.parts("fetches")
            batches = (one for part in parts for one in rows_of(part, FETCHES.schema.names))
            await judge.spool(batches, "adopted", advance)
        for number, folder in enumerate(others):
            hygiene = read_note(folder / "state.json").get("hygiene", {})
            judge = _Judge(store, hygiene, inspectors.inspect)
            await judge.spool(Parts(folder, FETCHED).all_batches(), f"spooled-{number}", advance)


@dataclass(slots=True)
class _Judge:
    """Says of each row what the store's rules say, given those that it was made under."""

    store: Store
    before: Mapping[str, Any]
    inspect: Callable[[bytes], Awaitable[Inspected]]
    verdicts: dict[str, Inspection] = field(default_factory=dict)
    """Stored pictures that do not stay."""

    @property
    def again(self) -> bool:
        """Whether rules or decoder are others."""
        return bool(self.before != self.store.hygiene)

    @property
    def anew(self) -> bool:
        """Whether another decoder made the rows, which this one may see otherwise."""
        return bool(self.before.get("code") != CODE)

    async def look_at_stored(self, advance: Callable[[int], None]) -> None:
        """Fill ``verdicts``; spool what another decoder has to say of the pictures that stay."""
        parts = self.store.study.parts("pictures")
        batches = (batch for part in parts for batch in rows_of(part))
        for number, batch in enumerate(batches):
            rows = batch.to_pylist()
            found = [one.found for one in await asyncio.gather(*map(self._look, rows))]
            good = []
            for row, one in zip(rows, found, strict=True):
                if one.status == "ok":
                    good.append(row | _facts(one))
                else:
                    self.verdicts[row["picture_id"]] = one
            if self.anew:
                table = pa.Table.from_pylist(good, schema=PICTURES.schema)
                await asyncio.to_thread(self.store.anew.write, table, f"{number:08d}")
            advance(batch.num_rows)

    def _look(self, row: Mapping[str, Any]) -> Awaitable[Inspected]:
        return self.inspect(row["bytes"])

    async def spool(
        self, batches: Iterator[pa.RecordBatch], name: str, advance: Callable[[int], None]
    ) -> None:
        """Write the rows that can be judged into the store's spool; the others are lost to it."""
        for number, batch in enumerate(batches):
            judged = await asyncio.gather(*map(self._row, batch.to_pylist()))
            rows = [row for row in judged if row is not None]
            for row in rows:
                key = media_key(*(row[name] for name in FETCHES.key))
                row["bucket"] = bucket_of(key, self.store.n_buckets)
            table = pa.Table.from_pylist(rows, schema=FETCHED)
            await asyncio.to_thread(self.store.rows.write, table, f"{name}-{number:08d}")
            advance(batch.num_rows)

    async def _row(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """The row under the store's rules; None when its picture has to be fetched to tell."""
        spooled = "bytes" in row
        if spooled and row["status"] == "ok" and row["bytes"] is None:
            return None  # it came from the published table, which says it itself
        if not self.again:
            return row
        if self.anew and row["error_class"] in DECODERS_WORD:
            return None
        if row["status"] == "failed":
            return row
        if row["status"] == "rejected":
            return row if _still_rejected(row, self.store.rules) else None
        found = (
            (await self.inspect(row["bytes"])).found
            if spooled
            else self.verdicts.get(row["picture_id"])
        )
        if found is not None:
            row |= {"status": found.status, "error_class": found.error_class}
            if found.status != "ok":
                row["bytes"] = None
            elif spooled:
                row |= _facts(found)
        return row


def _facts(found: Inspection) -> dict[str, Any]:
    """What a decoder says of a picture that is in order."""
    names = ("format", "width", "height", "orientation", "phash")
    return {name: getattr(found, name) for name in names}


def _still_rejected(row: Mapping[str, Any], rules: Hygiene) -> bool:
    """Whether a row without bytes stays rejected, as far as its stored size tells."""
    if row["width"] is None:
        return True
    short, long = sorted((row["width"], row["height"]))
    reasons: dict[str, bool] = {
        "too_small": short < rules.min_side,
        "too_long": long > rules.max_aspect * short,
        "too_many_pixels": short * long > rules.max_pixels,
        "uniform": False,
        "near_white": False,
    }
    return reasons.get(str(row["error_class"]), True)
