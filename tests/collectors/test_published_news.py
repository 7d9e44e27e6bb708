"""A publication that looks at the news only makes the tables of one that looks at everything."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from collectors.collect import open_platforms
from collectors.crawling import publish as publishing
from collectors.crawling.erase import Doomed, erase
from collectors.crawling.journal import Journal
from collectors.crawling.publish import publish, refresh_digests
from collectors.platforms.base import Page
from collectors.platforms.records import Author, Licence, Media, Post
from likewise.config import render
from likewise.study import Study

TABLES = ("posts", "authors", "post_counts", "licences")
START = 1_700_000_000_000_000
HOUR = 3_600_000_000
PLACES = (("mastodon", "a.example"), ("mastodon", "b.example"))
FLAGS = (frozenset[str](), frozenset({"noindex"}), frozenset({"bot"}))


class World:
    """A journal that many things happen to, and the study that is published from it."""

    def __init__(self, folder: Path, seed: int, servers: int) -> None:
        self.draw = random.Random(seed)
        self.places = PLACES[:servers]
        self.folder, self.now, self.chain, self.most = folder, START, 0, 10_000
        self.posts: list[tuple[tuple[str, str], Post]] = []
        folder.mkdir()
        self.configure()

    def configure(self, **collect: Any) -> None:
        sources = [
            {"platform": p, "host": f"https://{h}", "permission": "p", "tags": ["x"],
             "max_posts": self.most}
            for p, h in self.places
        ]  # fmt: skip
        text = render({"collect": {"sources": sources, **collect}})
        (self.folder / "likewise.toml").write_text(text, encoding="utf-8")

    def journal(self) -> Journal:
        return Journal(self.folder / "journal.sqlite")

    # -- what may happen -------------------------------------------------------------------

    def page(self) -> None:
        """New posts, of old authors and new ones; some were seen before."""
        self.chain += 1
        where, draw = self.draw.choice(self.places), self.draw
        fresh = [self._post(f"{self.chain}-{n}") for n in range(draw.randrange(1, 12))]
        again = [post for at, post in self.posts if at == where and draw.random() < 0.1]
        for post in again:
            post.likes = draw.randrange(5)
        self.posts += [(where, post) for post in fresh]
        with self.journal() as journal, journal.transaction():
            journal.posts.store(
                *where, [*fresh, *again], lambda p: not p.flags, self.chain, frozenset()
            )
            journal.authors.store(*where, self._authors({p.author_id for p in fresh}))

    def _post(self, number: str) -> Post:
        draw = self.draw
        return Post(
            number,
            str(draw.randrange(8)),
            created_at=draw.choice([None, START - draw.randrange(400) * HOUR, self.now]),
            likes=draw.choice([None, 1, 2]),
            sensitive=draw.random() < 0.1,
            flags=draw.choices(FLAGS, (8, 1, 1))[0],
            media=[Media(0, "image", "https://a.example/1.jpg")] if draw.random() < 0.9 else [],
            uri=f"https://a.example/{draw.randrange(40)}",
            licence=Licence("by") if draw.random() < 0.3 else None,
        )

    def _authors(self, ids: set[str]) -> list[Author]:
        draw = self.draw
        return [
            Author(one, f"u{one}", draw.randrange(3), flags=draw.choices(FLAGS, (30, 1, 1))[0],
                   person=f"https://a.example/@{one}" if draw.random() < 0.7 else None)
            for one in sorted(ids)
        ]  # fmt: skip

    def readings(self) -> None:
        """Accounts are read again; one may have opted out since."""
        where = self.draw.choice(self.places)
        with self.journal() as journal, journal.transaction():
            journal.authors.store(*where, self._authors({str(self.draw.randrange(8))}))

    def counts(self) -> None:
        """Some posts are read again."""
        where, draw = self.draw.choice(self.places), self.draw
        some = [post for at, post in self.posts if at == where and draw.random() < 0.3]
        for post in some:
            post.likes = draw.randrange(9)
        with self.journal() as journal, journal.transaction():
            page = Page(posts=some)
            journal.read_again(*where, page, frozenset({"likes", "licence"}), 30 * 24 * HOUR)

    def deletions(self) -> None:
        """Posts were deleted upstream."""
        where, draw = self.draw.choice(self.places), self.draw
        gone = {p.post_id: "deleted_upstream" for at, p in self.posts
                if at == where and draw.random() < 0.2}  # fmt: skip
        self.posts = [(at, p) for at, p in self.posts if at != where or p.post_id not in gone]
        out = self._authors({"3"}) if draw.random() < 0.3 else []
        with self.journal() as journal:
            journal.let_go(*where, gone, {one.author_id: one for one in out})

    def forget(self) -> None:
        """Somebody wants to be forgotten."""
        where, author = self.draw.choice(self.places), str(self.draw.randrange(8))
        study = Study.open(self.folder)
        with self.journal() as journal:
            people = journal.authors.identities(*where, author)
            with study.lock():
                for person in people:
                    erase(study, Doomed(person[0], person[1], author_ids=[person[2]]))
            settled = journal.settled
            with journal.transaction():
                for person in people:
                    journal.forgotten.forget(*person, [author])
            if settled:
                refresh_digests(study, journal)
        gone = {(place, host, one) for place, host, one in people}
        self.posts = [(at, p) for at, p in self.posts if (*at, p.author_id) not in gone]

    def rules(self) -> None:
        """The configuration is another one."""
        self.most = self.draw.choice([5, 10_000])
        self.configure(include_bots=self.draw.random() < 0.5)

    def lost(self) -> None:
        """A part is lost, and a night comes."""
        part = self.draw.choice(Study.open(self.folder).store.parts("posts"))
        Path(part).unlink()
        self.publish()

    def step(self) -> None:
        happens = (self.page, self.readings, self.counts, self.deletions, self.forget, self.rules,
                   self.lost)  # fmt: skip
        for _ in range(self.draw.randrange(1, 4)):
            self.now += self.draw.randrange(HOUR)
            self.draw.choices(happens, (8, 4, 4, 3, 1, 1, 1))[0]()

    def publish(self) -> Study:
        study = Study.open(self.folder)
        with self.journal() as journal:
            publish(study, journal, open_platforms(study), None)
        return study

    def published_anew(self, folder: Path) -> Study:
        """The same journal, which nothing has been published from, into a new study."""
        folder.mkdir()
        (folder / "likewise.toml").write_bytes((self.folder / "likewise.toml").read_bytes())
        with sqlite3.connect(self.folder / "journal.sqlite") as here:
            there = sqlite3.connect(folder / "journal.sqlite")
            here.backup(there)
            there.execute("DELETE FROM meta WHERE key = 'published'")
            there.execute("DELETE FROM judged")
            there.execute("DELETE FROM news")
            there.commit()
            there.close()
        here.close()
        study = Study.open(folder)
        with Journal(folder / "journal.sqlite") as journal:
            publish(study, journal, open_platforms(study), None)
        return study


def told(study: Study) -> dict[str, Any]:
    """Rows, funnel and digest of every table."""
    found: dict[str, Any] = {}
    for table in TABLES:
        manifest = study.manifest(table)
        if manifest is not None:
            rows = sorted(study.read(table).to_pylist(), key=str)
            found[table] = rows, manifest.funnel, manifest.extra["digest"], manifest.rows
    return found


def played(world: World, steps: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let things happen; returns how many publications looked at the news only."""
    looked: list[str] = []
    whole = publishing.cut

    def noted(*arguments: Any) -> Any:
        looked.append("everything")
        return whole(*arguments)

    monkeypatch.setattr("time.time_ns", lambda: world.now * 1000)
    world.page()
    few = 0
    for number in range(steps):
        with monkeypatch.context() as patch:
            patch.setattr(publishing, "cut", noted)
            looked.clear()
            study = world.publish()
            few += not looked
        anew = world.published_anew(world.folder.with_name(f"anew-{number}"))
        mine, yours = told(study), told(anew)
        assert mine.keys() >= yours.keys()
        for table in mine.keys() - yours.keys():  # licences were told once, and all are gone
            assert mine.pop(table)[0] == []
        assert mine == yours
        world.step()
    return few


@pytest.mark.parametrize(("seed", "servers"), [(2, 1), (12, 2)])
def test_news_make_the_tables_of_everything(
    seed: int, servers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert played(World(tmp_path / "study", seed, servers), 6, monkeypatch) >= 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("servers", [1, 2])
def test_news_make_the_tables_of_everything_at_length(
    servers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = 0
    for seed in range(10, 30):
        folder = tmp_path / str(seed)
        folder.mkdir()
        few += played(World(folder / "study", seed, servers), 10, monkeypatch)
    print(f"{few} of 200 publications looked at the news only")
    assert few >= 50


def test_a_killed_publication_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tables may be there, or some of them, while the journal knows nothing of it."""
    world = World(tmp_path / "study", 5, 1)
    monkeypatch.setattr("time.time_ns", lambda: world.now * 1000)
    world.page()
    world.publish()
    world.now += HOUR
    world.page()
    with monkeypatch.context() as patch:
        write, written = publishing._write, list[str]()

        def dies(study: Study, name: str, *rest: Any) -> Any:
            if written:
                raise KeyboardInterrupt
            written.append(name)
            return write(study, name, *rest)

        patch.setattr(publishing, "_write", dies)
        with pytest.raises(KeyboardInterrupt):
            world.publish()
    assert told(world.publish()) == told(world.published_anew(tmp_path / "anew"))
