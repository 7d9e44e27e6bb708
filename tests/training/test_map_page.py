"""The map in a real browser: lasso, label, undo, reload, download; hostile names stay text."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from training.maps.atlas import MAX_SIDE, layout, write_atlases
from training.maps.writer import write_map

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = '</script><img src=x onerror="document.title=1">'


def _write(path: Path, n: int = 40) -> None:
    rng = np.random.default_rng(0)
    left = np.arange(n) < n // 2
    places = rng.normal(0, 1, (n, 2)) + np.where(left, -20, 20)[:, None]
    labels = ["cat" if x else HOSTILE for x in left]
    pictures = ((i, np.full((80, 60, 3), i * 5, np.uint8)) for i in range(n - 1))
    ids = [f"p{i:02d}" for i in range(n)]
    assert write_map(path, "A <b>map</b>", ids, places.astype("f"), labels, pictures, None) == 1


def test_a_thumbnail_lies_where_the_page_looks_for_it(tmp_path: Path) -> None:
    plan = layout(9000)
    assert (plan.side, plan.across, plan.atlases) == (32, 64, 3)
    for number in (0, 63, 64, 4095, 4096, 8999):
        grey = np.full((50, 90, 3), 250, np.uint8)
        assert write_atlases(tmp_path, [(number, grey)], plan) == 8999
        atlas, at = divmod(number, plan.each)
        picture = cv2.imread(str(tmp_path / f"atlas-{atlas:03d}.webp"))
        assert max(picture.shape) <= MAX_SIDE
        top, left = at // plan.across * 32, at % plan.across * 32
        assert picture[top + 4 : top + 28, left + 4 : left + 28].mean() > 245
        assert picture.mean() < 129


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    if not CHROMIUM.is_file():
        pytest.skip("no /usr/bin/chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    _write(tmp_path / "map.html")
    flags = ["--disable-quic", "--disable-background-networking", "--disable-sync"]
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=flags)
        opened = browser.new_page(viewport={"width": 1000, "height": 800})
        faults: list[str] = []
        opened.on("pageerror", lambda error: faults.append(str(error)))
        opened.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        opened.goto((tmp_path / "map.html").as_uri())
        yield opened
        assert faults == []
        browser.close()


def _lasso_left_half(page: Any) -> None:
    box = page.locator("canvas").bounding_box()
    x, y, w, h = box["x"], box["y"], box["width"], box["height"]
    page.get_by_role("button", name="Lasso").click()
    page.mouse.move(x + 2, y + 2)
    page.mouse.down()
    for point in ((x + w / 2, y + 2), (x + w / 2, y + h - 2), (x + 2, y + h - 2)):
        page.mouse.move(*point, steps=4)
    page.mouse.up()


@pytest.mark.slow
def test_lasso_label_undo_reload_and_download(page: Any, tmp_path: Path) -> None:
    status = page.locator("#status")
    assert status.text_content() == "40 pictures, 0 selected, 0 relabelled"
    assert page.title() == "A <b>map</b>"
    assert page.locator("#legend img").count() == 0  # the hostile name is text
    _lasso_left_half(page)
    assert status.text_content() == "40 pictures, 20 selected, 0 relabelled"
    page.locator("#label").fill("dog, or not")
    page.locator("#apply").click()
    assert status.text_content() == "40 pictures, 20 selected, 20 relabelled"
    page.locator("#undo").click()
    assert status.text_content() == "40 pictures, 20 selected, 0 relabelled"
    page.locator("#apply").click()
    page.reload()
    assert status.text_content() == "40 pictures, 0 selected, 20 relabelled"
    with page.expect_download() as caught:
        page.locator("#save").click()
    caught.value.save_as(tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["picture_id"] for row in rows} == {f"p{i:02d}" for i in range(20)}
    assert {(row["old_label"], row["new_label"]) for row in rows} == {("cat", "dog, or not")}


@pytest.mark.slow
def test_the_keyboard_does_what_the_mouse_does(page: Any) -> None:
    page.locator("canvas").focus()
    page.keyboard.press("v")
    assert "40 selected" in page.locator("#status").text_content()
    for _ in range(12):
        page.keyboard.press("+")
    page.keyboard.press("v")  # zoomed into the empty middle
    assert " 0 selected" in page.locator("#status").text_content()
    page.keyboard.press("0")
    page.keyboard.press("v")
    page.locator("#label").fill("x")
    page.keyboard.press("Enter")
    assert "40 relabelled" in page.locator("#status").text_content()
    page.locator("canvas").focus()
    page.keyboard.press("Control+z")
    assert " 0 relabelled" in page.locator("#status").text_content()
