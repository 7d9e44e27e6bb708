"""Itemwise tables: rows that depend on one picture and on who looked at it, computed once.

A part's name begins with its maker: a fingerprint of the network or detector, its weights, the
preprocessing and the code number. Readers see the parts of the maker that was published last; those
of others stay, and are there again when the configuration comes back to them.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likewise.compaction import join_small
from likewise.store import Manifest, Put, Store, parquet_file, unique
from likewise.tables import TABLES
from likewise.whole import fingerprint

if TYPE_CHECKING:
    import pyarrow as pa

    from likewise.funnel import Funnel
    from likewise.home import Home

__all__ = ["Growth", "Made", "Place"]


@dataclass(frozen=True, slots=True)
class Made:
    """A part that a worker has given to the store: what the commit needs, and what it counted.

    ``key`` names the items: a repeated or zombie task has the same one, and adds nothing.
    """

    put: Put
    key: str
    items: int
    facts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where workers put parts; small, and it can be pickled."""

    store: Store
    table: str
    maker: str
    scratch: str | None

    def put(
        self, items: Sequence[str], write: Callable[[Path], tuple[int, dict[str, int]]]
    ) -> Made:
        """Let ``write`` make a file of these items (it answers rows and counts), and store it."""
        with tempfile.TemporaryDirectory(dir=self.scratch, prefix="part-") as folder:
            path = Path(folder) / "part.parquet"
            rows, facts = write(path)
            key = fingerprint([self.maker, sorted(items)])
            there = self.store.put(path, self.table, unique(f"{self.maker}-{key}"), rows)
        return Made(there, key, len(items), facts)


class Growth:
    """An itemwise table that is about to get the rows of missing items."""

    def __init__(
        self,
        study: Home,
        table: str,
        maker: Mapping[str, Any],
        inputs: Mapping[str, str],
        *,
        redo: bool = False,
    ) -> None:
        self.study = study
        self.table = table
        self.made_from = {"stage": table, "inputs": dict(inputs), "params": dict(maker)}
        self.made = fingerprint(self.made_from)
        self.maker = fingerprint(maker)
        store = study.store
        # What is lost is computed again; so is everything on demand. It leaves the table with the
        # first commit: a look at what would be done must not write.
        gone = store.facts(table, self.maker) if redo else store.lost(table, self.maker)
        self._gone = set(gone)
        self._fresh = not redo and not gone

    @property
    def done(self) -> bool:
        """True when the newest version was made by this maker from the same rows."""
        manifest = self.study.manifest(self.table)
        return self._fresh and manifest is not None and manifest.made == self.made

    @property
    def manifest(self) -> Manifest:
        """Manifest of the published table."""
        return self.study.require(self.table)

    @property
    def place(self) -> Place:
        """What workers need."""
        store = self.study.store
        scratch = None if store.remote else str(self.study.folder(".staging"))
        return Place(store, self.table, self.maker, scratch)

    def parts(self) -> list[str]:
        """This maker's parts, published or not."""
        found = self.study.store.parts(self.table, prefix=self.maker)
        return [part for part in found if part.rsplit("/", 1)[-1] not in self._gone]

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """Narrow columns of this maker's rows."""
        import pyarrow as pa

        found = []
        for part in self.parts():
            with parquet_file(part) as file:
                found.append(file.read(columns=list(columns)))
        if not found:
            return TABLES[self.table].schema.empty_table().select(list(columns))
        return pa.concat_tables(found)

    def known(self) -> pa.Array:
        """Ids of the items that this maker has seen, failed ones too."""
        return self.rows(["picture_id"])["picture_id"].unique()

    def commit(self, made: Sequence[Made], schema: pa.Schema) -> None:
        """Register parts; what readers see as published stays what it was until ``publish``."""
        store = self.study.store
        self._drop_gone()
        before = store.manifest(self.table)
        if before is None:
            # Nobody may take a part for the whole: see Study.manifest.
            before = Manifest(self.table, "", 0, {}, extra={"unfinished": True})
        names = {part.rsplit("-", 2)[-2] for part in self.parts()}
        new = {one.key: one.put for one in made if one.key not in names}
        if new:
            key = f"{fingerprint(sorted(new))} after {store.version(self.table)}"
            store.commit(before, list(new.values()), schema, key=key, mode="append")

    def _drop_gone(self) -> None:
        if self._gone:
            self.study.store.exchange(self.table, sorted(self._gone))
            self._gone.clear()

    def publish(self, schema: pa.Schema, funnel: Funnel, rows: int, **extra: Any) -> Manifest:
        """Say that this maker has seen all items; readers see its rows from now on."""
        self._drop_gone()
        place = self.place
        join_small(place.store, self.table, self.maker, place.scratch)
        digest = hashlib.sha256("".join(sorted(self.known().to_pylist())).encode()).hexdigest()
        manifest = Manifest(
            table=self.table,
            fingerprint=fingerprint([self.maker, digest]),
            rows=rows,
            made_from=self.made_from,
            made=self.made,
            funnel=funnel.to_dict(),
            extra={**extra, "maker": self.maker},
            published_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        )
        key = f"{self.made} at {manifest.published_at}"
        self.study.store.commit(manifest, [], schema, key=key, mode="append")
        return manifest
