"""Where fetched rows live before they are published, and how earlier ones are found again.

``spool/pictures/rows-FINGERPRINT/`` holds the rows of an unfinished run, as parts by bucket; the
fingerprint covers hygiene and the number of buckets. ``spool/pictures/folded/`` holds finished
buckets. Publishing links them into the table; only then the spool is deleted.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from collectors.downloading.inspectors import open_inspectors
from collectors.downloading.spool import Parts
from filters.pictures.decode import Hygiene
from likewise.config import DownloadSection
from likewise.funnel import Funnel
from likewise.progress import note, progress
from likewise.store import PartFacts
from likewise.study import Manifest, Study, fingerprint, open_part, write_json
from likewise.tables import PICTURES, bucket_of, media_key

__all__ = ["CODE", "WITH_STILLS", "Store", "hygiene_of"]

CODE = 2
"""Raised whenever the rows that the same bytes give would change."""

DECODERS_WORD = frozenset(
    {"corrupt", "decode_timeout", "decoder_crashed", "not_a_picture", "too_costly", "truncated"}
)
"""Reasons that another version of the decoder may see otherwise."""

WITH_STILLS = " with stills"
"""Behind the fingerprint of posts whose films gave their still pictures, too."""

BATCH = 64
"""Rows read at once: with their pictures they take some megabytes."""


def hygiene_of(settings: DownloadSection) -> Hygiene:
    """The rules of hygiene as ``likewise.toml`` gives them."""
    return Hygiene(**{field.name: getattr(settings, field.name) for field in fields(Hygiene)})


class Store:
    """The spool of one study's ``pictures`` and the table that was published last."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.lost = False
        self.folder = study.root / "spool" / "pictures"
        self.n_buckets = study.config.download.buckets
        self.rules = hygiene_of(study.config.download)
        self.hygiene: dict[str, Any] = {**asdict(self.rules), "code": CODE}
        self._state = {"hygiene": self.hygiene, "n_buckets": self.n_buckets}
        self.rows = Parts(self.folder / f"rows-{fingerprint(self._state)}", PICTURES.schema)
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
        """Whether the published table is what a run without ``retry`` would make again."""
        manifest = self.study.manifest("pictures")
        return (
            manifest is not None
            and not self.lost
            and not self.folder.exists()
            and self._fits(manifest)
            and bool(manifest.extra.get("kept_posts") == self.kept_posts)
        )

    def _fits(self, manifest: Manifest) -> bool:
        same_rules = bool(manifest.made_from["params"].get("hygiene") == self.hygiene)
        return same_rules and bool(manifest.made_from["n_buckets"] == self.n_buckets)

    def published(
        self, bucket: int, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Rows of one bucket of the published table, in the order of their keys."""
        for part in self.published_parts(bucket):
            yield from rows_of(part, columns)

    def published_parts(self, bucket: int) -> list[str]:
        """Parts of one bucket of the published table, when its rows can be taken as they are."""
        manifest = self.study.manifest("pictures")
        if manifest is None or not self._fits(manifest):
            return []
        return self.study.parts("pictures", bucket)

    def drop_lost(self) -> None:
        """Take parts that are gone out of the table: what they held is fetched again."""
        gone = self.study.store.lost("pictures")
        if gone:
            note(f"download: {len(gone)} parts of pictures are gone; they are fetched again")
            self.study.store.drop("pictures", gone)
            self.lost = True

    def published_facts(self) -> dict[str, PartFacts]:
        """Bytes and rows of the published table's parts, by their names in it."""
        return self.study.store.facts("pictures")

    def known(self, bucket: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Given columns of all rows of one bucket, published and spooled."""
        yield from self.published(bucket, columns)
        for batch in self.rows.batches(bucket):
            yield batch.select(list(columns))

    # -- other rules, other buckets -------------------------------------------------------

    def adopt(self) -> None:
        """Bring rows that were made under other hygiene or another bucket count under these."""
        sources = list(self._foreign())
        if not sources:
            return
        with progress("download: applying rules to stored pictures") as bar:
            for number, (hygiene, batches) in enumerate(sources):
                again = hygiene != self.hygiene
                anew = hygiene.get("code") != CODE
                work = self._convert(batches(), f"adopted-{number}", again, anew, bar.advance)
                asyncio.run(work)
        manifest = self.study.manifest("pictures")
        if manifest is not None and not self._fits(manifest):
            write_json(self.rows.folder / "adopted.json", {"table": manifest.fingerprint})
        for folder in self._other_rows():
            shutil.rmtree(folder)

    def _other_rows(self) -> list[Path]:
        found = self.folder.glob("rows-*")
        return [folder for folder in found if folder != self.rows.folder]

    def _foreign(
        self,
    ) -> Iterator[tuple[Mapping[str, Any], Callable[[], Iterator[pa.RecordBatch]]]]:
        manifest = self.study.manifest("pictures")
        adopted = _read(self.rows.folder / "adopted.json").get("table")
        if manifest is not None and not self._fits(manifest) and manifest.fingerprint != adopted:
            parts = self.study.parts("pictures")
            hygiene = manifest.made_from["params"].get("hygiene", {})
            yield hygiene, lambda: itertools.chain.from_iterable(map(rows_of, parts))
        for folder in self._other_rows():
            state = _read(folder / "state.json")
            yield state.get("hygiene", {}), Parts(folder, PICTURES.schema).all_batches

    async def _convert(
        self,
        batches: Iterator[pa.RecordBatch],
        name: str,
        again: bool,
        anew: bool,
        advance: Callable[[int], None],
    ) -> None:
        workers = self.study.config.download.workers or None
        async with open_inspectors(self.rules, workers) as inspectors:
            for number, batch in enumerate(batches):
                rows = batch.to_pylist()
                if again:
                    judge = functools.partial(_judge_again, rules=self.rules, anew=anew)
                    looked = await asyncio.gather(*(judge(row, inspectors.inspect) for row in rows))
                    rows = [row for row in looked if row is not None]
                for row in rows:
                    key = media_key(*(row[name] for name in PICTURES.key))
                    row["bucket"] = bucket_of(key, self.n_buckets)
                table = pa.Table.from_pylist(rows, schema=PICTURES.schema)
                await asyncio.to_thread(self.rows.write, table, f"{name}-{number:08d}")
                advance(batch.num_rows)

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
        return frozenset(_read(self.folder / "suspects.json").get("reasons", []))

    def suspect(self, reason: str) -> None:
        """Note that rows which failed for ``reason`` have to be asked for again."""
        write_json(self.folder / "suspects.json", {"reasons": sorted({*self.suspects(), reason})})

    # -- publishing -----------------------------------------------------------------------

    def publish(
        self, content: str, kept: Sequence[str], funnel: Funnel, kept_posts: str
    ) -> Manifest:
        """Exchange the parts of the table ``pictures`` for the folded ones and those ``kept``.

        ``content`` is the digest of the rows of kept posts.
        """
        note = {
            "content": content,
            "kept": list(kept),
            "funnel": funnel.to_dict(),
            "kept_posts": kept_posts,
        }
        write_json(self.folded / "complete.json", note)
        return self._publish(note)

    def finish_publication(self) -> None:
        """Publish what a killed run had folded, unless its last step was all that it missed."""
        note = _read(self.folded / "complete.json")
        manifest = self.study.manifest("pictures")
        if note and manifest is not None and manifest.extra.get("content") == note["content"]:
            shutil.rmtree(self.folder)
        elif note:
            self._publish(note)

    def _publish(self, note: Mapping[str, Any]) -> Manifest:
        stage = self.study.begin(
            "pictures",
            inputs=["kept_posts"],
            params={"hygiene": self.hygiene, "content": note["content"]},
            code=CODE,
            n_buckets=self.n_buckets,
            redo=True,
        )
        manifest = stage.exchange(
            sorted(self.folded.glob("bucket=*/*.parquet")),
            note["kept"],
            funnel=Funnel.from_dict(note["funnel"]),
            kept_posts=note["kept_posts"],
            content=note["content"],
        )
        shutil.rmtree(self.folder)
        return manifest


async def _judge_again(
    row: dict[str, Any], inspect: Callable[[bytes], Any], *, rules: Hygiene, anew: bool
) -> dict[str, Any] | None:
    """The row under new rules; None when its picture has to be fetched again to tell.

    ``anew`` tells that an older decoder refused files which this one may take.
    """
    if anew and row["error_class"] in DECODERS_WORD:
        return None
    if row["status"] == "failed":
        return row
    if row["status"] == "rejected":
        return row if _still_rejected(row, rules) else None
    answer = await inspect(row["bytes"])
    found = answer.found
    row |= {"status": found.status, "error_class": found.error_class, "phash": found.phash}
    if found.status != "ok":
        row["bytes"] = None
    return row


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


def rows_of(part: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Rows of one Parquet part, few at a time when their pictures are read with them."""
    with pq.ParquetFile(open_part(part)) as file:
        size = BATCH if columns is None else 16_384
        names = None if columns is None else list(columns)
        yield from file.iter_batches(batch_size=size, columns=names, use_threads=False)


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return content
