"""``classify build``: a data set from a search for each class, openly licensed, with its ledger.

Sources are filled in turn: the first is read until every class has enough pictures that hygiene and
copies leave, what is lacking then is read from the next. Everything is an ordinary study:
``collect``, ``clean``, ``download`` and ``label`` make its tables, and go on where they stopped.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import likewise
from collectors import platforms
from collectors.attribution import NAME as ATTRIBUTION
from collectors.attribution import licence_counts
from collectors.collect import collect_from, open_platforms, tokens_for
from collectors.crawling.journal import Journal
from collectors.downloading.breaker import TooManyFailedError
from collectors.platforms.licences import OPEN, checked
from filters.classes import ClassNames, folder_name
from likewise.errors import CredentialsError, DataError, PartialError, UsageError
from likewise.progress import note
from likewise.study import Study
from spark_jobs.label_classes import usable

if TYPE_CHECKING:
    from collectors.platforms.base import Platform
    from collectors.tokens.store import Token

__all__ = ["SOURCES", "Built", "build", "default_folder", "study_for"]

SOURCES = ("openverse", "commons")
"""Asked in this order where nothing else is said; Flickr needs a key."""

YIELD = 0.7
"""Share of results that become usable pictures, before a source has shown its own."""
UNBOUND = 1_000_000
"""Pages in one go of a source that declares no number of calls."""
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class Built:
    """What ``build`` made: pictures by class, and by source why there are no more."""

    study: str
    usable: Mapping[str, int]
    pictures: Mapping[str, int]
    wanted: int
    parts: Mapping[str, int]
    licences: Mapping[str, int]
    sources: Mapping[str, Mapping[str, int]]
    left_out: Mapping[str, int]
    """Reason -> results and pictures that were left out on the way."""
    lacking: tuple[tuple[str, str], ...]
    """(source and class, why it gave no more), where a class has too few."""

    @property
    def too_few(self) -> bool:
        """Whether some class has fewer pictures than were asked for."""
        return any(count < self.wanted for count in self.usable.values())

    def to_dict(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)

    def text(self) -> str:
        """For people."""
        lines = [f"{'class':<28}{'usable':>8}{'in the set':>12}"]
        lines += [
            f"{name:<28}{count:>8,}{self.pictures.get(name, 0):>12,}"
            for name, count in self.usable.items()
        ]
        parts = ", ".join(f"{count:,} {part}" for part, count in self.parts.items())
        licences = ", ".join(f"{name} ({count:,})" for name, count in self.licences.items())
        out = ", ".join(f"{reason} ({count:,})" for reason, count in self.left_out.items())
        lines += ["", f"parts: {parts}", f"licences: {licences}", f"left out: {out or 'nothing'}"]
        if self.too_few:
            lines += ["", f"fewer than {self.wanted:,} of a class; what each source said:"]
            lines += [f"  {where}: {why}" for where, why in self.lacking]
        return "\n".join([*lines, "", f"whose pictures they are: {self.study}/{ATTRIBUTION}"])


def default_folder(classes: Sequence[str]) -> Path:
    """Where a data set of these classes lies when nobody says: beside the caller."""
    return Path("-".join(folder_name(name) for name in classes)[:120])


def study_for(
    path: str | os.PathLike[str],
    classes: Sequence[str],
    *,
    per_class: int = 600,
    licences: Sequence[str] = OPEN,
    sources: Sequence[str] = (),
    test_from: Sequence[str] = (),
    contact: str = "",
) -> Study:
    """The study of these classes: the one that is there, or a new one.

    Args:
        path: folder of the study.
        classes: keywords; each is a class.
        per_class: pictures wanted of each.
        licences: codes of ``collectors.platforms.licences.CODES``.
        sources: platforms in the order in which they are asked, ``NAME`` or ``NAME=ADDRESS``.
        test_from: publishers whose pictures are the test part.
        contact: address for the User-Agent.

    Raises:
        UsageError: fewer than two classes, or a study of other classes stands there.
        ConfigError: a licence or source that does not exist.
    """
    names = ClassNames([], [name for name in classes if name.strip()]).names
    if len(names) < 2:
        raise UsageError(
            f"{len(names)} classes, expected at least 2 different ones",
            hint="for example: likewise classify build cat dog",
        )
    root = Path(path)
    if (root / "likewise.toml").is_file():
        study = Study.open(root)
        there = study.config.question.classes
        if list(names) != list(there):
            raise UsageError(
                f"{root} is a study of {', '.join(there) or 'something else'}, not of "
                f"{', '.join(names)}",
                hint="name another folder with --study",
            )
        return study
    given = [_source(text, names, checked(licences), per_class) for text in sources or _usual()]
    loopback = sorted({urlsplit(s["host"]).hostname or "" for s in given} & LOOPBACK)
    values: dict[str, dict[str, Any]] = {
        "question": {
            "kind": "reviewed", "classes": list(names), "per_class": per_class, "copies": "drop",
            "balance": True, "test_from": [_publisher(name) for name in test_from],
        },
        "collect": {"sources": given, "contact": contact},
    }  # fmt: skip
    if loopback:  # somebody's own service: its pictures are where it says
        values["download"] = {"allow_hosts": loopback, "per_host": 8}
    return likewise.init(root, values=values, recipe="search")


def _usual() -> list[str]:
    """The sources that can be asked without preparation; Flickr where there is a key."""
    from likewise.config import Source

    flickr = platforms.get("flickr")
    there = tokens_for(flickr(Source(platform="flickr", host=flickr.usual_host)))
    return [*SOURCES, *(["flickr"] if there else [])]


def _source(
    text: str, names: Sequence[str], licences: Sequence[str], per_class: int
) -> dict[str, Any]:
    name, _, address = text.partition("=")
    kind = platforms.get(name.strip())
    return {
        "platform": kind.name,
        "host": address.strip() or kind.usual_host,
        "keywords": list(names),
        "licences": list(licences),
        "results": per_class,
    }


def _calls_at_once(adapter: Platform) -> int:
    """Pages that the fresh budgets of all tokens allow before anything must be waited for."""
    least: dict[str, int] = {}
    tokens: list[Token | None] = [*tokens_for(adapter)]
    for token in tokens or [None]:
        specs = adapter.buckets(token, "page")
        if specs:
            spec = min(specs, key=lambda one: one.limit)
            least[spec.key] = spec.limit  # tokens of one application share it
    return sum(least.values()) or UNBOUND


def _publisher(name: str) -> str:
    """Pictures of Commons are published by ``wikimedia``, whoever shows them."""
    return "wikimedia" if name.strip() == "commons" else name.strip()


def build(study: Study) -> Built:
    """Fill a data set and publish its labels; its lock is held.

    Called again it goes on: sources that had no more calls left are asked again.

    Raises:
        DataError: fewer than two classes have any picture; the message tells what sources said.
    """
    adapters = open_platforms(study)
    filling = _Filling(study, adapters)
    for adapter in adapters:
        adapter.results = filling.read_so_far(adapter)
    for adapter in adapters:
        filling.fill_from(adapter)
    try:
        manifest = likewise.label(study)
    except DataError as error:
        said = "; ".join(f"{where}: {why}" for where, why in filling.reasons())
        if not said:
            raise
        raise DataError(
            f"{str(error).rstrip(' :')} ({said})",
            hint="try other keywords, more licences (--licence) or another source (--source)",
        ) from error
    classes = study.read("labels", ["class"])["class"].to_pylist()
    counts = Counter(classes)
    return Built(
        study=str(study.root),
        usable=manifest.extra["usable"],
        pictures={name: counts[name] for name in manifest.extra["classes"]},
        wanted=study.config.question.per_class,
        parts=manifest.extra["parts"],
        licences=licence_counts(study),
        sources=manifest.extra["sources"],
        left_out=_left_out(study),
        lacking=filling.reasons(),
    )


def _left_out(study: Study) -> dict[str, int]:
    """Reasons of every stage's funnel, the most frequent first."""
    found: Counter[str] = Counter()
    for table in ("posts", "fetches", "labels"):
        funnel = study.require(table).funnel or {}
        found.update({reason: n for reason, n in funnel.get("dropped", {}).items() if n})
    return dict(found.most_common())


class _Filling:
    """One build: which class lacks how many pictures, and what each source has said."""

    def __init__(self, study: Study, adapters: Sequence[Platform]) -> None:
        self._study = study
        self._adapters = adapters
        self._wanted = study.config.question.per_class
        self._why: dict[tuple[str, str], str] = {}
        self._names = ClassNames([], study.config.question.classes).names
        self._there = self._usable()

    def reasons(self) -> tuple[tuple[str, str], ...]:
        """(source and class, why it gave no more) of every class that lacks pictures."""
        lacking = self._lacking()
        return tuple(
            (f"{source}, {name}", why)
            for (source, name), why in self._why.items()
            if name in lacking
        )

    def read_so_far(self, adapter: Platform) -> dict[str, int]:
        """Results of each search that are planned already: by an earlier run."""
        with Journal(self._study.journal_path) as journal:
            planned = journal.chains.planned(adapter.name, adapter.host)
        found = dict.fromkeys(adapter.source.keywords, 0)
        for chain in planned:
            keyword = adapter.searches.get(chain.value)
            if keyword is not None and chain.hi is not None:
                found[keyword] = max(found[keyword], chain.hi)
        return found

    def fill_from(self, adapter: Platform) -> None:
        """Read a source further until no class lacks pictures, or it has no more of them."""
        over: set[str] = set()
        self._gather(adapter, over, further=False)  # what an earlier run had planned and not read
        while lacking := {k: n for k, n in self._lacking().items() if k not in over}:
            before = dict(adapter.results)
            # No further than the calls of a moment go: what they brought is downloaded while the
            # budget fills again, and tells how much is lacking still.
            most = max(1, _calls_at_once(adapter) // len(lacking)) * adapter.results_per_page
            for keyword, count in lacking.items():
                further = min(count / self._yield(adapter, keyword), most)
                pages = math.ceil((before[keyword] + further) / adapter.results_per_page)
                adapter.results[keyword] = pages * adapter.results_per_page
            deepest = {adapter.searches[c.value]: c.hi or 0 for c in adapter.plan(None, 0)}
            for keyword in lacking:
                adapter.results[keyword] = deepest.get(keyword, 0)
                if adapter.results[keyword] <= before[keyword]:
                    over.add(keyword)
                    self._say(adapter, keyword, f"shows no more than {before[keyword]} results")
            if set(lacking) <= over:
                return
            self._gather(adapter, over, further=True)

    def _gather(self, adapter: Platform, over: set[str], *, further: bool) -> None:
        """Collect, clean and download what the adapters now ask for.

        ``further`` tells that more was asked for than before: a search that brings nothing then
        is over.
        """
        if not any(one.results[k] for one in self._adapters for k in one.results):
            return
        before = self._seen(adapter)
        try:
            collect_from(self._study, self._adapters, until_now=True)
        except CredentialsError as error:
            for keyword in adapter.results:
                over.add(keyword)
                self._say(adapter, keyword, str(error))
        except PartialError as error:
            self._failed(error, over)
        if self._study.manifest("posts") is None:
            return
        likewise.clean(self._study)
        self._download(adapter)
        self._there = self._usable()
        for keyword, (seen, pages) in self._seen(adapter).items():
            read = pages * adapter.results_per_page
            # The last page may be full: only asking further shows that there is nothing behind it.
            brought_nothing = further and seen == before.get(keyword, (0, 0))[0]
            ended = read < adapter.results[keyword] or brought_nothing
            if adapter.results[keyword] and keyword not in over and ended:
                over.add(keyword)
                self._say(adapter, keyword, f"has no more: {seen} results in all")

    def _failed(self, error: PartialError, over: set[str]) -> None:
        """Parts of a crawl that failed are named after host, kind and search."""
        known = False
        for item, why in error.failures:
            for adapter in self._adapters:
                whole = item.startswith(f"{adapter.host} /")
                for search, keyword in adapter.searches.items():
                    if whole or item == f"{adapter.host} search {search}":
                        known = True
                        over.add(keyword)
                        self._say(adapter, keyword, why)
        if not known:
            raise error

    def _download(self, adapter: Platform) -> None:
        try:
            likewise.download(self._study)
        except TooManyFailedError as error:
            for keyword in adapter.results:
                self._say(adapter, keyword, f"downloads: {error}")
            if self._study.manifest("pictures") is None:
                raise
        except PartialError as error:
            note(f"{error}: asked again by the next build")

    def _seen(self, adapter: Platform) -> dict[str, tuple[int, int]]:
        """Keyword -> results that came so far, and pages."""
        with Journal(self._study.journal_path) as journal:
            return {
                keyword: journal.chains.seen(adapter.name, adapter.host, search)
                for search, keyword in adapter.searches.items()
            }

    def _yield(self, adapter: Platform, keyword: str) -> float:
        """Share of the results that became usable pictures; a guess before there are enough."""
        read = adapter.results[keyword]
        here = self._there.get(keyword, 0)
        others = sum(one.results[keyword] for one in self._adapters) - read
        if read < adapter.results_per_page or others:
            return YIELD
        return min(1.0, max(0.2, here / read))

    def _usable(self) -> dict[str, int]:
        if self._study.manifest("pictures") is None:
            return {}
        return usable(self._study)

    def _lacking(self) -> dict[str, int]:
        """Class -> how many pictures it lacks."""
        counts = {name: self._wanted - self._there.get(name, 0) for name in self._names}
        return {name: count for name, count in counts.items() if count > 0}

    def _say(self, adapter: Platform, keyword: str, why: str) -> None:
        self._why[adapter.name, keyword] = why
