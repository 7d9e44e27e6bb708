"""Where fetched rows live before they are published, and how earlier ones are found again.

``spool/pictures/rows-FINGERPRINT/`` holds the rows of an unfinished run, as parts by bucket; the
fingerprint covers hygiene and the number of buckets. ``spool/pictures/folded/`` holds finished
buckets of ``fetches`` and parts of ``pictures``. Publishing links them into the tables; only then
the spool is deleted.
"""

from __future__ import annotations

import itertools
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from collectors.downloading.spool import Parts
from filters.pictures.decode import Hygiene
from likewise.config import DownloadSection
from likewise.funnel import Funnel
from likewise.progress import note
from likewise.store import PartFacts, Put, parquet_file
from likewise.study import Manifest, Study, fingerprint, write_json
from likewise.tables import FETCHED, PICTURES

__all__ = ["CODE", "WITH_STILLS", "Store", "hygiene_of", "read_note", "rows_of"]

CODE = 2
"""Raised whenever the rows that the same bytes give would change."""

WITH_STILLS = " with stills"
"""Behind the fingerprint of posts whose films gave their still pictures, too."""

BATCH = 64
"""Rows read at once: with their pictures they take some megabytes."""


def hygiene_of(settings: DownloadSection) -> Hygiene:
    """The rules of hygiene as ``likewise.toml`` gives them."""
    return Hygiene(**{field.name: getattr(settings, field.name) for field in fields(Hygiene)})


class Store:
    """The spool of one study's pictures, and the tables that were published last.

    ``fetches`` says what came of each address, ``pictures`` holds each distinct content once.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.folder = study.root / "spool" / "pictures"
        self.n_buckets = study.config.download.buckets
        self.rules = hygiene_of(study.config.download)
        self.hygiene: dict[str, Any] = {**asdict(self.rules), "code": CODE}
        self._state = {"hygiene": self.hygiene, "n_buckets": self.n_buckets}
        self.rows = Parts(self.folder / f"rows-{fingerprint(self._state)}", FETCHED)
        self.anew = Parts(self.rows.folder / "pictures", PICTURES.schema)
        """Stored pictures that another version of the decoder has looked at again."""
        self.folded = self.folder / "folded"

    # -- what is there --------------------------------------------------------------------

    @property
    def kept_posts(self) -> str:
        """Fingerprint of the posts whose pictures are asked for, and whether films give stills.

        Raises:
            MissingTableError: there are no kept posts.
        """
        kept = self.study.require("kept_posts").fingerprint
        return kept + WITH_STILLS if self.study.config.collect.stills else kept

    def is_current(self) -> bool:
        """Whether the published tables are what a run without ``retry`` would make again."""
        manifest = self.study.manifest("fetches")
        return (
            manifest is not None
            and not self.folder.exists()
            and self.fits(manifest)
            and bool(manifest.extra.get("kept_posts") == self.kept_posts)
        )

    def fits(self, manifest: Manifest) -> bool:
        """Whether these fetches were judged by the same rules and lie in as many buckets."""
        same_rules = bool(manifest.made_from["params"].get("hygiene") == self.hygiene)
        return same_rules and bool(manifest.made_from["n_buckets"] == self.n_buckets)

    def fetch_parts(self, bucket: int) -> list[str]:
        """Parts of one bucket of ``fetches``, when its rows can be taken as they are."""
        manifest = self.study.manifest("fetches")
        if manifest is None or not self.fits(manifest):
            return []
        return self.study.parts("fetches", bucket)

    def picture_parts(self) -> list[str]:
        """Parts of ``pictures``, when this decoder would say the same of them."""
        manifest = self.study.manifest("pictures")
        if manifest is None or manifest.made_from["code"] != CODE:
            return []
        return self.study.parts("pictures")

    def sizes(self, table: str) -> dict[str, PartFacts]:
        """Bytes and rows of the published table's parts, by their names in it."""
        return self.study.store.facts(table)

    @cached_property
    def picture_ids(self) -> dict[str, list[str]]:
        """Part of ``picture_parts`` -> its pictures; no run changes them before it publishes."""
        return {part: _ids_of(part) for part in self.picture_parts()}

    @cached_property
    def there(self) -> frozenset[str]:
        """Pictures whose bytes need no fetching."""
        ids = set(itertools.chain.from_iterable(self.picture_ids.values()))
        for batch in self.anew.all_batches():
            ids.update(batch["picture_id"].to_pylist())
        return frozenset(ids)

    def holds(self, batch: pa.RecordBatch) -> list[bool]:
        """Whether each fetch counts: when it was ``ok``, its picture has to be there still."""
        ids, states = batch["picture_id"].to_pylist(), batch["status"].to_pylist()
        own = [False] * batch.num_rows
        if "bytes" in batch.schema.names:
            own = batch["bytes"].is_valid().to_pylist()
        rows = zip(ids, states, own, strict=True)
        return [state != "ok" or mine or one in self.there for one, state, mine in rows]

    def known(self, bucket: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Given columns of all rows of one bucket, published and spooled, that count."""
        wanted = list(dict.fromkeys([*columns, "picture_id", "status"]))
        published = (rows_of(part, wanted) for part in self.fetch_parts(bucket))
        for batch in itertools.chain(*published, self.rows.batches(bucket)):
            yield batch.filter(pa.array(self.holds(batch), pa.bool_())).select(list(columns))

    def drop_lost(self) -> None:
        """Take parts that are gone out of the tables: what they held is fetched again."""
        for table in ("fetches", "pictures"):
            gone = self.study.store.lost(table)
            if gone:
                note(f"download: {len(gone)} parts of {table} are gone; they are fetched again")
                self.exchange(table, gone)

    def exchange(self, table: str, gone: Sequence[str], adds: Sequence[Put] = ()) -> None:
        """Take parts out of a table, or put others in their place, before the run looks at it."""
        # Should this run be killed now, the next one sees by the folder that there is work.
        self.folder.mkdir(parents=True, exist_ok=True)
        self.study.store.exchange(table, gone, adds)

    # -- a run ----------------------------------------------------------------------------

    def open(self) -> Path:
        """Make the spool ready; returns an empty folder for the plan."""
        self.rows.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.rows.folder / "state.json", self._state)
        shutil.rmtree(self.folded, ignore_errors=True)
        plan = self.folder / "plan"
        shutil.rmtree(plan, ignore_errors=True)
        return plan

    def suspects(self) -> frozenset[str]:
        """Reasons for which the circuit breaker has opened: rows that failed so do not count."""
        return frozenset(read_note(self.folder / "suspects.json").get("reasons", []))

    def suspect(self, reason: str) -> None:
        """Note that rows which failed for ``reason`` have to be asked for again."""
        write_json(self.folder / "suspects.json", {"reasons": sorted({*self.suspects(), reason})})

    # -- publishing -----------------------------------------------------------------------

    def publish(
        self,
        content: str,
        kept: Mapping[str, Sequence[str]],
        funnel: Funnel,
        kept_posts: str,
    ) -> Manifest:
        """Exchange the parts of ``pictures`` and of ``fetches`` for the folded ones and those kept.

        ``content`` is the digest of the rows of kept posts, ``kept`` names parts by table. Returns
        the manifest of ``fetches``.
        """
        note = {
            "publication": uuid.uuid4().hex,
            "content": content,
            "kept": {table: list(parts) for table, parts in kept.items()},
            "funnel": funnel.to_dict(),
            "kept_posts": kept_posts,
        }
        write_json(self.folded / "complete.json", note)
        return self._publish(note)

    def finish_publication(self) -> None:
        """Publish what a killed run had folded, unless its last step was all that it missed."""
        note = read_note(self.folded / "complete.json")
        if not note.get("publication"):
            return
        if self._is_published("fetches", note):
            shutil.rmtree(self.folder)
        else:
            self._publish(note)

    def _is_published(self, table: str, note: Mapping[str, Any]) -> bool:
        manifest = self.study.manifest(table)
        return manifest is not None and manifest.extra.get("publication") == note["publication"]

    def _publish(self, note: Mapping[str, Any]) -> Manifest:
        # Pictures come first: a fetch that is ok has its picture at every moment.
        if not self._is_published("pictures", note):
            pictures = self.study.begin("pictures", inputs=["kept_posts"], code=CODE, redo=True)
            pictures.exchange(
                sorted((self.folded / "pictures").glob("*.parquet")),
                note["kept"]["pictures"],
                publication=note["publication"],
            )
        fetches = self.study.begin(
            "fetches",
            inputs=["kept_posts"],
            params={"hygiene": self.hygiene, "content": note["content"]},
            code=CODE,
            n_buckets=self.n_buckets,
            redo=True,
        )
        manifest = fetches.exchange(
            sorted(self.folded.glob("bucket=*/*.parquet")),
            note["kept"]["fetches"],
            funnel=Funnel.from_dict(note["funnel"]),
            kept_posts=note["kept_posts"],
            content=note["content"],
            publication=note["publication"],
        )
        shutil.rmtree(self.folder)
        return manifest


def rows_of(part: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Rows of one Parquet part, few at a time when their pictures are read with them."""
    with parquet_file(part) as file:
        size = BATCH if columns is None else 16_384
        names = None if columns is None else list(columns)
        yield from file.iter_batches(batch_size=size, columns=names, use_threads=False)


def _ids_of(part: str) -> list[str]:
    batches = rows_of(part, ["picture_id"])
    return [one for batch in batches for one in batch["picture_id"].to_pylist()]


def read_note(path: Path) -> dict[str, Any]:
    """A small JSON file of the spool; empty when it is not there."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return content
