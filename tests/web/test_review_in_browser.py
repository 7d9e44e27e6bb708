"""Reviewing and trying in a real browser: by keys alone, by two people, with the database away."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_server import Running
from playwright.sync_api import Browser, Page, expect, sync_playwright

from likewise.study import Study
from training.pictures.thumbnails import picture_bytes
from web.reviews.book import open_book

CHROMIUM = Path("/usr/bin/chromium")
expect.set_options(timeout=20_000)  # as patient as page.set_default_timeout below
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield started
        started.close()


@pytest.fixture
def review(
    study: Study, browser: Browser, run_server: Callable[..., Running]
) -> Callable[..., Page]:
    running = run_server(study.root)
    running.wait_until_ready()

    def open_page(name: str = "ann", path: str = "/review") -> Page:
        context = browser.new_context(viewport={"width": 1000, "height": 800})
        context.add_init_script(f"localStorage.setItem('likewise-reviewer', '{name}')")
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.goto(running.url + path)
        return page

    return open_page


def shown(page: Page) -> str:
    image = page.locator("#picture[data-id]")
    image.wait_for()
    return str(image.get_attribute("data-id"))


def press(page: Page, key: str) -> str:
    """Press a key; the picture that is shown when it has acted."""
    before = shown(page)
    page.keyboard.press(key)
    expect(page.locator("#picture")).not_to_have_attribute("data-id", before)
    return shown(page)


def reviewed(page: Page, n: int) -> None:
    expect(page.locator("#facts div", has_text="reviewed").locator("dd")).to_have_text(str(n))


def serious(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [one["id"] for one in found if one["impact"] in {"serious", "critical"}]


def test_by_keys_alone_undo_survives_a_reload_and_back(
    review: Callable[..., Page], study: Study
) -> None:
    page = review()
    pictures = [shown(page)]
    for key in "a1rs":
        pictures.append(press(page, key))
    assert len(set(pictures)) == 5
    reviewed(page, 3)
    page.goto(page.url.replace("/review", "/"))
    page.go_back()
    assert shown(page) == pictures[4]
    for n, expected in ((3, pictures[3]), (2, pictures[2]), (1, pictures[1]), (0, pictures[0])):
        assert press(page, "u") == expected
        reviewed(page, n)
    page.reload()
    assert shown(page) == pictures[0]
    page.keyboard.press("u")
    expect(page.locator("#said")).to_contain_text("nothing left to undo")
    book = open_book(study.root / "reviews.sqlite")
    assert len(book.lines()) == 8  # four said, four taken back: nothing is ever deleted
    book.close()


def test_two_browsers_never_see_the_same_picture_unless_asked(
    review: Callable[..., Page],
) -> None:
    ann, bob = review("ann"), review("bob")
    first, second = shown(ann), shown(bob)
    assert first != second
    press(ann, "a")
    bob.get_by_label("Two reviewers each").check()
    expect(bob.locator("#picture")).to_have_attribute("data-id", first)
    press(bob, "r")
    ann.locator("#mode").select_option("conflicts")
    expect(ann.locator("#picture")).to_have_attribute("data-id", first)
    expect(ann.locator("#others li")).to_have_count(2)
    ann.keyboard.press("r")
    expect(ann.locator("#none h2")).to_have_text("No conflicts")


def test_blind_hides_what_the_machine_thinks(review: Callable[..., Page]) -> None:
    page = review()
    shown(page)
    assert page.locator("#label").is_visible()
    page.keyboard.press("b")
    expect(page.locator("#belief")).to_be_hidden()
    expect(page.locator("#answers .given")).to_have_count(0)
    press(page, "2")
    reviewed(page, 1)


def test_what_cannot_be_stored_waits_and_says_so(
    review: Callable[..., Page], study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.reviews.database.WAIT_S", 0.2)
    page = review()
    shown(page)
    other = sqlite3.connect(study.root / "reviews.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    page.keyboard.press("a")
    expect(page.locator("#unsent")).to_contain_text("locked")
    page.reload()  # what waits is kept over a reload
    expect(page.locator("#unsent")).to_contain_text("One review waits")
    other.execute("ROLLBACK")
    other.close()
    page.get_by_role("button", name="Send now").click()
    expect(page.locator("#unsent")).to_be_hidden()
    reviewed(page, 1)


def test_a_filter_is_labelled_at_once_and_taken_back(
    review: Callable[..., Page], study: Study
) -> None:
    page = review(path="/gallery?label=bad")
    page.get_by_role("button", name="Select all 40").click()
    page.locator("#bulk-label").select_option("good")
    page.locator("#bulk-reason").fill("all of them")
    page.locator("#bulk").click()
    expect(page.locator("#selection-said")).to_have_text("40 pictures labelled.")
    assert serious(page) == []
    book = open_book(study.root / "reviews.sqlite")
    lines = book.lines()
    assert {(line.reviewer, line.action, line.reason) for line in lines} == {
        ("ann", "correct", "all of them")
    }
    page.locator("#bulk-undo").click()
    expect(page.locator("#selection-said")).to_have_text("40 labels taken back.")
    assert len(book.lines()) == 80
    book.close()
    page.locator("#selection-close").click()
    page.goto(page.url.replace("label=bad", "reviewed=true"))
    expect(page.locator("#none")).to_be_visible()


@pytest.mark.parametrize("width", [390, 768, 1280])
@pytest.mark.parametrize("path", ["/review", "/try"])
def test_no_serious_violation_and_nothing_runs_over(
    review: Callable[..., Page], path: str, width: int
) -> None:
    page = review(path=path)
    page.set_viewport_size({"width": width, "height": 844})
    page.locator("#picture[data-id], #drop").first.wait_for()
    assert serious(page) == []
    # Through the protocol: the page's policy refuses text as code.
    size = page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
    assert size[0] <= size[1]


def test_a_picture_is_tried_and_a_broken_one_beside_it(
    browser: Browser, tmp_path: Path, run_server: Callable[..., Running]
) -> None:
    from scored_study import make_scored

    study = make_scored(tmp_path / "scored")
    ids = sorted(study.read("labels", ["picture_id"])["picture_id"].to_pylist())[:1]
    [(_, data)] = picture_bytes(study, ids)
    page = browser.new_page()
    page.goto(run_server(study.root).url + "/try")
    good = {"name": "good.jpg", "mimeType": "image/jpeg", "buffer": data}
    page.set_input_files("#files", [good, {**good, "name": "cut.jpg", "buffer": data[:900]}])
    page.get_by_text("2 answers by linear-svc").wait_for(timeout=90_000)
    expect(page.locator("#answers li").nth(0)).to_contain_text("likely to be liked")
    expect(page.locator("#answers li").nth(1)).to_contain_text("ends too early")
    expect(page.locator("#answers li").nth(0).locator(".near img")).to_have_count(6)
    assert serious(page) == []
