"""Every page in a real browser: what people see, by mouse and by keyboard, at three widths."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_server import Running
from playwright.sync_api import Browser, Page, expect, sync_playwright

from likewise.study import Study

CHROMIUM = "/usr/bin/chromium"
expect.set_options(timeout=20_000)  # a busy machine is no broken page
PAGES = ("/", "/gallery", "/compare", "/map", "/runs", "/review", "/try", "/nothing", "/login")

pytestmark = pytest.mark.skipif(
    shutil.which(CHROMIUM) is None, reason=f"there is no browser at {CHROMIUM}"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser, server: Running) -> Iterator[Page]:
    """A page that fails its test when a script does, or when the policy refuses something."""
    context = browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    troubles: list[str] = []
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on(
        "console",
        lambda said: (
            troubles.append(said.text)
            if said.type == "error" and "Failed to load resource" not in said.text
            else None
        ),
    )
    yield opened
    context.close()
    assert troubles == []


def picture_of(study: Study) -> str:
    ids: list[str] = study.read("labels", ["picture_id"])["picture_id"].to_pylist()
    return ids[0]


def test_the_gallery_shows_filters_and_goes_back(page: Page) -> None:
    page.goto("/gallery")
    expect(page.locator("#count")).to_have_text("120 pictures")
    expect(page.locator(".cell img.here").first).to_be_visible()
    page.select_option("#label", "good")
    expect(page.locator("#count")).to_have_text("60 of 120 pictures")
    assert "label=good" in page.url
    page.fill("#tag", "nobody")
    expect(page.locator("#none")).to_be_visible()
    page.go_back()
    expect(page.locator("#count")).to_have_text("60 of 120 pictures")
    page.go_back()
    expect(page.locator("#count")).to_have_text("120 pictures")
    expect(page.locator("#label")).to_have_value("")


@pytest.mark.slow
def test_the_list_is_as_long_as_it_says_and_ends(page: Page) -> None:
    page.goto("/gallery?sort=likes")
    expect(page.locator("#count")).to_have_text("120 pictures")
    before = page.evaluate("document.documentElement.scrollHeight")
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    last = page.locator("a[data-at='119']")
    expect(last).to_be_visible()
    assert page.evaluate("document.documentElement.scrollHeight") == before
    assert page.locator(".cell").count() < 120  # only what is near the window exists


def test_by_keyboard_alone(page: Page) -> None:
    page.goto("/gallery")
    expect(page.locator("a[data-at='0']")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.locator("a[data-at='0']").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("a[data-at='1']")).to_be_focused()
    page.keyboard.press("End")
    expect(page.locator("a[data-at='119']")).to_be_focused()
    page.keyboard.press("Home")
    expect(page.locator("a[data-at='0']")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/picture/**")
    expect(page.locator("#neighbours li")).to_have_count(12)
    page.locator("[data-back]").click()
    page.wait_for_url("**/gallery*")


@pytest.mark.slow
def test_select_all_means_the_filter(page: Page) -> None:
    page.goto("/gallery?label=bad")
    button = page.locator("#all")
    expect(button).to_have_text("Select all 60")
    button.click()
    expect(page.locator("#selection-words")).to_contain_text("60 pictures: label bad")
    with page.expect_download() as download:
        page.locator("#export-csv").click()
    text = download.value.path().read_text(encoding="utf-8")
    assert len(text.splitlines()) == 61
    page.keyboard.press("Escape")
    expect(page.locator("#selection")).to_be_hidden()


@pytest.mark.slow
def test_a_picture_tells_what_is_known_and_runs_nothing(page: Page, server: Running) -> None:
    page.goto("/gallery?author=a000")
    page.locator("a[data-at='0']").click()
    expect(page.locator("h1")).to_have_text("<script>alert(1)</script>")
    expect(page.locator(".caption")).to_contain_text('<b>bold</b> & "quoted"')
    expect(page.locator("#faces rect").first).to_be_attached()
    page.locator("#show-faces").click()
    expect(page.locator("#faces")).to_be_hidden()
    page.locator("#forget").click()
    expect(page.locator("#forget-words")).to_contain_text("rows would be deleted")
    expect(page.locator("#forget-do")).to_be_disabled()
    page.locator("#forget-close").click()


@pytest.mark.slow
def test_the_map_is_drawn_when_it_is_asked_for(page: Page) -> None:
    page.goto("/map")
    if page.locator("#draw").is_visible():
        page.locator("#draw").click()
    expect(page.locator("canvas#map")).to_be_visible(timeout=240_000)
    expect(page.locator("#status")).to_contain_text("120 pictures")
    drawn = page.evaluate(
        "(() => { const c = document.getElementById('map'); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; return d.some((v) => v > 0); })()"
    )
    assert drawn


@pytest.mark.slow
def test_runs_are_live(page: Page) -> None:
    page.goto("/runs")
    expect(page.locator("#live")).to_have_text("live")
    expect(page.locator("#running")).to_contain_text("Nothing is at work")


def serious(page: Page) -> list[tuple[str, list[Any]]]:
    found = Axe().run(page).response["violations"]
    return [
        (one["id"], [node["target"] for node in one["nodes"]][:3])
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize("path", ["/gallery"])
def test_no_serious_violation_of_accessibility(page: Page, path: str) -> None:
    page.goto(path)
    page.wait_for_timeout(400)
    assert serious(page) == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_every_page_at_every_width(
    browser: Browser, server: Running, ranked_study: Study, width: int, scheme: Any
) -> None:
    """No page is wider than the window, and no state has a serious violation."""
    context = browser.new_context(
        base_url=server.url,
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    page = context.new_page()
    for path in (*PAGES, f"/picture/{picture_of(ranked_study)}", "/gallery?tag=nobody"):
        page.goto(path)
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert serious(page) == [], path
    page.goto("/gallery")
    page.locator("#more").click()
    page.locator("#all").click()
    assert serious(page) == []
    context.close()


@pytest.mark.slow
def test_two_hundred_percent(browser: Browser, server: Running) -> None:
    """200 % zoom of 1280 pixels is a window of 640 at two dots a pixel."""
    context = browser.new_context(
        base_url=server.url, viewport={"width": 640, "height": 450}, device_scale_factor=2
    )
    page = context.new_page()
    for path in PAGES:
        page.goto(path)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    context.close()


@pytest.mark.slow
def test_two_browsers_do_not_disturb_each_other(browser: Browser, server: Running) -> None:
    contexts = [browser.new_context(base_url=server.url) for _ in range(2)]
    first, second = (one.new_page() for one in contexts)
    first.goto("/gallery?label=good")
    second.goto("/gallery?label=bad&sort=likes")
    for page in (first, second):
        expect(page.locator("#count")).to_have_text("60 of 120 pictures")
    names = [
        re.sub(r"\D", "", page.locator(".cell").first.inner_text()) for page in (first, second)
    ]
    assert names[0] != names[1]
    for one in contexts:
        one.close()
