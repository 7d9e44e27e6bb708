"""Several collectors for one study: each reads the hosts whose leases it holds.

The one that holds the study's lock lends every host with work a journal of its own, reads hosts as
the others do, waits until all are done, and takes the rows back. The others need no lock. A host
whose collector has died goes on in another's hands from the page where it stood: its journal holds
cursors and calls, so no budget is spent twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Collection, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collectors.budgets.pool import Pool
from collectors.crawling.client import Client, Limits, open_session
from collectors.crawling.crawl import Crawl
from collectors.crawling.host import crawl_host, has_work
from collectors.crawling.journal import Journal
from collectors.crawling.journal.handover import FAILURES, fold, lend, lent, lent_path
from collectors.crawling.leases import Lease, LeaseLostError, Leases, Place
from likewise.errors import LikewiseError, StorageError, StudyBusyError
from likewise.progress import note, progress
from likewise.raised import one_error
from likewise.whole import write_bytes

if TYPE_CHECKING:
    from collectors.platforms.base import Platform
    from collectors.tokens.store import Token
    from likewise.study import Study

__all__ = ["NAMED", "Collector", "read_together"]

POLL_S = 1.0
"""Between two looks for a host to read, seconds."""

NAMED = "collectors.id"
"""The file that holds what the study is called among its collectors."""


def read_together(
    study: Study,
    journal: Journal,
    sources: Mapping[Place, tuple[Platform, list[Token]]],
    since: int | None,
) -> tuple[list[tuple[str, str]], list[LikewiseError]]:
    """Have all hosts read by whichever collectors there are; the study's lock is held.

    Returns:
        The parts that failed, for any collector, and the errors that stopped a host here.

    Raises:
        StorageError: the database of the leases cannot be used.
    """
    named = study.root / NAMED
    if not named.is_file():
        write_bytes(named, f"{uuid.uuid4().hex}\n".encode())
    collector = Collector(study, sources, leads=True)
    free = collector.leases.close(sources)
    read_now = {lent_path(study.root, *place) for place in sources.keys() - free.keys()}
    # What a run before could not take back; a host that was taken out of likewise.toml, too.
    _, held = _taken_back(journal, but=read_now)
    due = []
    for place, (platform, _) in sources.items():
        path = lent_path(study.root, *place)
        if place in free and path not in held and has_work(journal, platform, since):
            lend(journal, path, *place, free[place])
            due.append(place)
    collector.leases.open(due)
    collector.run()
    failures, held = _taken_back(journal)
    return failures, [*collector.stopped.values(), *held.values()]


def _taken_back(
    journal: Journal, but: Collection[Path] = ()
) -> tuple[list[tuple[str, str]], dict[Path, LikewiseError]]:
    """Take back what was lent: what failed, and the journals that another process still holds.

    A collector that was stopped in the middle of a transaction holds its file, lease or not.
    """
    failures: list[tuple[str, str]] = []
    held: dict[Path, LikewiseError] = {}
    for path in lent(journal):
        if path in but:
            continue
        try:
            failures += fold(journal, path)
        except StudyBusyError as error:
            held[path] = error
    return failures, held


class Collector:
    """One collector of a study, with the tokens that this machine has.

    ``leads``: it holds the study's lock. What stops it at a host then ends the host; otherwise the
    others try.
    """

    def __init__(
        self,
        study: Study,
        sources: Mapping[Place, tuple[Platform, list[Token]]],
        *,
        leads: bool = False,
    ) -> None:
        self.study = study
        self.sources = sources
        self.leads = leads
        self.section = study.config.collect
        self.stopped: dict[Place, LikewiseError] = {}
        self.read = 0
        self.lost = 0
        self._held_now: dict[Place, Lease] = {}
        name = (study.root / NAMED).read_text(encoding="ascii").strip()
        holder = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex[:8]}"
        self.leases = Leases(self.section.leases, name, holder, self.section.lease_s)

    def run(self, patience_s: float = 0.0) -> None:
        """Read hosts until all of the study's are done, by whomever.

        Where none is offered yet it waits for ``patience_s`` seconds.

        Raises:
            StorageError: the database of the leases cannot be used.
        """
        try:
            with one_error():
                asyncio.run(self._run(patience_s))
        finally:
            # An interrupt leaves the loop no time for that: others need not wait for their end.
            for lease in self._held_now.values():
                with contextlib.suppress(StorageError):
                    self.leases.give_back(lease, done=False)

    async def _run(self, patience_s: float) -> None:
        section = self.section
        limits = Limits(attempts=section.max_attempts, timeout_s=section.timeout_s)
        slots = asyncio.Semaphore(section.concurrency)
        until = time.monotonic() + patience_s
        with progress("collect", None) as bar:
            async with (
                open_session(section.concurrency, limits, section.contact) as session,
                asyncio.TaskGroup() as group,
            ):

                def open_client(place: Place, journal: Journal) -> tuple[Client, Crawl]:
                    platform, tokens = self.sources[place]
                    client = Client(session, Pool(platform, tokens), slots, journal, limits)
                    raw = self.study.folder("raw") if section.keep_raw else None
                    return client, Crawl(client, journal, section, raw, bar)

                for _ in range(min(section.leased_at_once, len(self.sources))):
                    group.create_task(self._reader(open_client, until))

    async def _reader(self, open_client: _Opener, until: float) -> None:
        """One host after the other."""
        while True:
            mine = self.sources.keys() - self.stopped.keys()
            lease = None
            try:
                waiting = await asyncio.to_thread(self.leases.waiting, mine)
                if waiting:
                    until = 0.0
                    lease = await asyncio.to_thread(self.leases.take, waiting)
            except StorageError:
                if not self._held_now:  # else the hosts that are read may hold out
                    raise
                waiting = mine
            if lease is not None:
                await self._read(lease, open_client)
            elif not waiting and time.monotonic() >= until:
                return
            else:
                await asyncio.sleep(POLL_S)

    async def _read(self, lease: Lease, open_client: _Opener) -> None:
        """Read one host as long as its lease holds."""
        place, done = lease.place, False
        self._held_now[place] = lease
        try:
            path = lent_path(self.study.root, *place)
            if not await asyncio.to_thread(path.is_file):  # it has been taken back
                done = True
                return
            error = await self._written(lease, path, open_client)
            if isinstance(error, LeaseLostError):
                self.lost += 1
                note(f"{error}: this one leaves it there")
            elif error is not None:
                self.stopped[place] = error
            done = error is None or (self.leads and place in self.stopped)
            self.read += error is None
        finally:
            with contextlib.suppress(StorageError):  # it ends by itself
                await asyncio.to_thread(self.leases.give_back, lease, done=done)
            del self._held_now[place]

    async def _written(
        self, lease: Lease, path: Path, open_client: _Opener
    ) -> LikewiseError | None:
        """Crawl a host into its journal; what stopped it."""
        try:
            journal = (await asyncio.to_thread(Journal, path, lease)).__enter__()
        except (LeaseLostError, StudyBusyError) as lost:
            return lost
        try:
            client, crawl = open_client(lease.place, journal)
            kept = journal.meta("since")
            since = int(kept) if kept else None
            error = await self._held(
                lease, crawl_host(client, journal, crawl, since, self.study.journal_path)
            )
            if error is None:
                said = json.dumps(crawl.failures)
                await journal.run(journal.set_meta, FAILURES, said)
            return error
        except LeaseLostError as lost:
            return lost
        finally:
            await asyncio.to_thread(journal.__exit__)

    async def _held(
        self, lease: Lease, work: Coroutine[Any, Any, LikewiseError | None]
    ) -> LikewiseError | None:
        """Renew a lease while ``work`` is done; when it is lost the work is stopped."""
        crawl, keeper = asyncio.create_task(work), asyncio.create_task(self._keep(lease))
        try:
            await asyncio.wait({crawl, keeper}, return_when=asyncio.FIRST_COMPLETED)
            if crawl.done():
                return crawl.result()
            lease.check()
            return None
        finally:
            for task in (crawl, keeper):
                task.cancel()
            await asyncio.gather(crawl, keeper, return_exceptions=True)

    async def _keep(self, lease: Lease) -> None:
        """Renew a lease three times in its time; returns when it is lost."""
        while True:
            await asyncio.sleep(self.leases.seconds / 3)
            try:
                await asyncio.to_thread(self.leases.renew, lease)
            except LeaseLostError:
                return
            except StorageError as error:
                if time.monotonic() >= lease.until:
                    note(f"{error}: {lease.place[1]} is read no more")
                    return


_Opener = Callable[[Place, Journal], tuple[Client, Crawl]]
"""The client of a host and its crawl into a journal."""
