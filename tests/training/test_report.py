"""The report: whole, closed to the network, hostile text shown as text, honest about gaps."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_study import RTL, make
from sklearn.metrics import roc_auc_score

from likewise import cli
from likewise.config import render
from likewise.errors import StudyError
from likewise.glossary import GLOSSARY
from likewise.study import Study
from likewise.tables import LABELS, PICTURES
from training.explain import explain
from training.rank import rank
from training.report import report
from training.report.words import FILTERS, noted


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.rank._wants_spark", lambda *_: False)
    monkeypatch.setattr("training.report.heat.paint", lambda *_: "not in this test")


class Page(HTMLParser):
    """Elements with their attributes, texts, and ids of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in {"script", "style"}:
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if self._inside == ["script"]:
            self.scripts.append(data)
        elif not self._inside:
            self.texts.append(data)

    def values(self, attribute: str) -> list[str]:
        return [a[attribute] or "" for _, a in self.elements if attribute in a]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    patch = pytest.MonkeyPatch()
    patch.setattr("training.rank._wants_spark", lambda *_: False)
    made = make(tmp_path_factory.mktemp("report") / "study", n_authors=40)
    rank(made)
    patch.undo()
    return made


@pytest.fixture(scope="module")
def page(study: Study) -> Page:
    patch = pytest.MonkeyPatch()
    patch.setattr("training.report.heat.paint", lambda *_: "not in this test")
    path = report(study, redo=True)
    patch.undo()
    return Page(path.read_text(encoding="utf-8"))


def html(study: Study) -> str:
    return report(study, redo=True).read_text(encoding="utf-8")


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    assert all(value.startswith("data:image/webp;base64,") for value in page.values("src"))
    for tag, attributes in page.elements:
        link = attributes.get("href") or attributes.get("xlink:href") or "#"
        local = link.startswith(("#", "figures/"))
        assert local or (tag == "a" and link.startswith("https://pixelfed.example/p/"))
        assert not any(name.startswith("on") for name in attributes)
        assert tag not in {"link", "iframe", "object", "embed", "form", "base"}


def test_the_only_script_is_the_one_that_the_policy_names(page: Page) -> None:
    (policy,) = [
        attributes["content"] or ""
        for tag, attributes in page.elements
        if tag == "meta" and "http-equiv" in attributes
    ]
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert len(script.splitlines()) <= 40


def test_hostile_names_and_captions_are_text(study: Study, page: Page) -> None:
    raw = (study.root / "reports" / "report.html").read_text(encoding="utf-8")
    assert raw.count("<script") == 1
    shown = {one["handle"] for end in ("top", "bottom") for one in _galleries(study)[end]}
    for handle in shown:
        assert handle in page.text
    assert "javascript:" not in raw


def _galleries(study: Study) -> dict[str, list[dict[str, str]]]:
    content: dict[str, list[dict[str, str]]] = json.loads(
        (study.root / "reports" / "galleries.json").read_text(encoding="utf-8")
    )
    return content


def test_right_to_left_and_emoji_text_come_through(tmp_path: Path) -> None:
    study = make(tmp_path / "study", n_authors=12, config={"study": {"name": RTL}})
    page = Page(html(study))
    assert RTL in page.text


def test_every_figure_lies_beside_it_twice(study: Study, page: Page) -> None:
    names = {link for link in page.values("href") if link.startswith("figures/")}
    assert len(names) >= 10
    for name in names:
        assert (study.root / "reports" / name).stat().st_size > 500
        assert str(Path(name).with_suffix(".svg")) in names


def test_ids_are_unique_and_anchors_lead_somewhere(page: Page) -> None:
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    anchors = {link[1:] for link in page.values("href") if link.startswith("#")}
    assert anchors <= set(ids)


def test_every_picture_and_plot_has_words(page: Page) -> None:
    for tag, attributes in page.elements:
        if tag == "img":
            assert "alt" in attributes
        if tag == "svg":
            assert len(attributes["aria-label"] or "") > 20


def test_fairness_numbers_are_scikit_learns(study: Study, page: Page) -> None:
    labels = study.read("labels", ["picture_id", "label", "split", "n_faces"]).to_pandas()
    rows = labels.merge(study.read("scores", ["picture_id", "score"]).to_pandas())
    rows = rows[rows["split"] == "test"]
    truth = roc_auc_score(rows["label"], rows["score"])
    assert f"all held-out pictures {len(rows)}" in page.text
    assert f"{truth:.3f}" in page.text


@pytest.mark.slow
def test_a_real_comparison_stands_in_tables_figures_and_the_first_sentence(tmp_path: Path) -> None:
    from training.compare import compare

    settings = {"classifiers": ["linear-svc"], "c_values": [0.01, 1.0], "bootstrap": 100}
    study = make(tmp_path / "study", n_authors=40, config={"compare": settings})
    compare(study)
    rank(study, redo=True)
    path = report(study, redo=True)
    page = Page(path.read_text(encoding="utf-8"))
    content = json.loads((study.root / "reports" / "comparison.json").read_text(encoding="utf-8"))
    best = next(row for row in content["results"] if row["model"] == content["best"])
    for metric in ("average_precision", "roc_auc"):
        for end in ("value", "low", "high"):
            assert f"{best['metrics'][metric][end]:.3f}" in page.text
    bare = re.sub(r'<span class="tip".*?</span>', "", path.read_text(encoding="utf-8"))
    text = first_screen(bare)
    assert len(content["answer"]) >= 3
    places = [text.index(sentence) for sentence in content["answer"]]
    assert places == sorted(places)
    for baseline in content["baselines"]:
        assert baseline["description"] in page.text
    for figure in content["figures"]:
        assert f"figures/{figure['name']}.png" in page.values("href")


def test_an_empty_study_and_each_stage_after_it_make_a_page(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole", n_authors=12)
    rank(whole)
    folder = tmp_path / "growing"
    folder.mkdir()
    shutil.copy(whole.root / "likewise.toml", folder)
    growing = Study.open(folder)
    assert "This study is empty so far." in html(growing)
    seen = "likewise run"
    stages = (
        ("posts", "Posts have been collected"),
        ("authors", "likewise clean"),
        ("kept_posts", "said nothing about bounds"),
        ("fetches pictures", "likewise label"),
        ("labels", "no face detections"),
        ("features", "likewise rank"),
        ("scores", "among authors that it has never seen"),
    )
    for tables, words in stages:
        for table in tables.split():
            shutil.copytree(whole.root / "tables" / table, folder / "tables" / table)
        seen = html(growing)
        assert words in seen
    assert "no face detections" in seen and "Nothing has been compared yet" in seen


def test_missing_pictures_are_counted_and_shown_as_gaps(tmp_path: Path) -> None:
    study = make(tmp_path / "study", n_authors=12)
    rank(study)
    for path in study.parts("pictures"):
        rows = pq.read_table(path).to_pylist()
        for number, row in enumerate(rows):
            row["picture_id"] = row["picture_id"][:-1] if number % 2 else row["picture_id"]
        pq.write_table(pa.Table.from_pylist(rows, PICTURES.schema), path)
    page = Page(html(study))
    assert "no longer in the study, or cannot be decoded" in page.text
    assert ("span", "no-picture") in [(tag, a.get("class")) for tag, a in page.elements]


def test_labels_of_one_class_and_no_likes_at_all(tmp_path: Path) -> None:
    study = make(tmp_path / "study", n_authors=12)
    rank(study)
    (path,) = study.parts("labels")
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        row |= {"label": 0, "likes": 0, "ratio": 0.0}
    pq.write_table(pa.Table.from_pylist(rows, LABELS.schema), path)
    assert "The groups are too small to be measured" in html(study)


def test_a_synthetic_world_says_so_and_a_real_one_does_not(tmp_path: Path) -> None:
    source = {
        "platform": "mastodon",
        "host": "http://127.0.0.1:1",
        "permission": "a synthetic world of ours",
    }
    study = make(tmp_path / "study", n_authors=4)
    assert "Synthetic world." not in html(study)
    text = render({"collect": {"sources": [source]}})
    (study.root / "likewise.toml").write_text(text, encoding="utf-8")
    assert "Synthetic world." in html(Study.open(study.root))


def test_the_same_study_is_not_reported_twice(tmp_path: Path) -> None:
    study = make(tmp_path / "study", n_authors=4)
    path = report(study)
    before = path.stat().st_mtime_ns
    assert report(study) == path and path.stat().st_mtime_ns == before
    rank(study)
    assert report(study).stat().st_mtime_ns > before
    elsewhere = report(study, output=tmp_path / "other" / "page.html")
    assert elsewhere.is_file() and (tmp_path / "other" / "figures" / "labels.png").is_file()
    with pytest.raises(StudyError, match="is a folder"):
        report(study, output=tmp_path)


def test_the_command_prints_where_it_is(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report", str(study.root), "--json"]) == 0
    assert Path(json.loads(capsys.readouterr().out)["report"]).is_file()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("count", 1234567, "1,234,567"),
        ("number", 0.04567, "0.0457"),
        ("number", 12.0, "12"),
        ("number", -0.0, "0"),
        ("number", float("nan"), "–"),
        ("number", 1234.5, "1,234"),
        ("signed", -0.125, "\u22120.12"),
        ("percent", 0.256, "26 %"),
        ("reason", "too_few-posts", "too few posts"),
        ("pvalue", 0.0004, "< 0.001"),
        ("date", "2026-06-01T12:05:00+00:00", "1 June 2026, 12:05 UTC"),
    ],
)
def test_numbers_in_words(name: str, value: object, words: str) -> None:
    assert FILTERS[name](value) == words


# -- the first screen -----------------------------------------------------------------------------


def first_screen(raw: str) -> str:
    return Page(raw[raw.index("<header") : raw.index("</header>")]).text


def test_the_first_screen_answers_in_order_and_the_strongest_first(study: Study) -> None:
    raw = html(study)
    text = first_screen(raw)
    questions = ["What makes a picture liked here?", "from how many?", "posts", "labelled"]
    places = [text.index(words) for words in questions]
    assert places == sorted(places)
    found = explain(study)
    said = [d for d in found.in_likes if d.words]
    assert "brighter" in {d.words for d in said}  # what the study was made with
    shown = [text.index(f"{d.words} +{abs(d.effect):.2f}") for d in said[:6]]
    assert shown == sorted(shown)
    sizes = [abs(d.effect) for d in said]
    assert sizes == sorted(sizes, reverse=True)
    assert raw.index("</header>") < raw.index('id="galleries"')


def test_without_an_effect_the_first_screen_says_so(tmp_path: Path) -> None:
    study = make(tmp_path / "study", n_authors=16, signal=0.0, seed=4)
    rank(study)
    assert not [d for d in explain(study).in_likes if d.words]
    assert "Nothing that these data can show" in first_screen(html(study))


def test_every_count_of_the_first_screen_is_of_the_tables(study: Study, page: Page) -> None:
    statuses = study.read("fetches", ["status"])["status"].to_pylist()
    labels = study.read("labels", ["author_id"])
    for words in (
        f"collected; one may have several attachments {study.require('posts').rows:,}",
        f"fetched, of {len(statuses):,} attachments {statuses.count('ok'):,}",
        f"pictures that are called good or bad {labels.num_rows:,}",
        f"of the labelled pictures {len(set(labels['author_id'].to_pylist())):,}",
    ):
        assert words in page.text


def test_words_have_notes_that_lead_to_the_glossary(page: Page) -> None:
    terms = [a["href"] for tag, a in page.elements if a.get("class") == "term"]
    assert len(set(terms)) >= 3
    assert {f"#word-{word.lower().replace(' ', '-')}" for word in GLOSSARY} >= set(terms)
    assert all(meaning in page.text for meaning in GLOSSARY.values())
    assert "&lt;b&gt;" in noted("<b>MAD</b>") and noted("MAD MAD").count("<a ") == 1


# -- what a browser says ------------------------------------------------------------------------

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
RUN_AXE = """
<script>
axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})
  .then((found) => {
    const answer = document.createElement("pre");
    answer.id = "axe-answer";
    const wide = document.documentElement.scrollWidth > innerWidth;
    answer.textContent = JSON.stringify({passes: found.passes.length, wide, violations:
      found.violations.map((v) => [v.id, v.nodes.map((n) => n.html.slice(0, 120))])});
    document.body.replaceChildren(answer);
  });
</script>
"""


def _axe() -> str:
    """axe-core's source from a folder where ``npm install axe-core`` was run."""
    given = os.environ.get("LIKEWISE_AXE")
    npm = shutil.which("npm")
    roots = [Path(given)] if given else []
    if npm:
        answer = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, timeout=60)
        roots.append(Path(answer.stdout.strip()) / "axe-core" / "axe.min.js")
    for path in roots:
        if path.is_file():
            return path.read_text(encoding="utf-8")
    pytest.skip("no axe-core: npm install axe-core, then set LIKEWISE_AXE to its axe.min.js")


@pytest.mark.oracle
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [500, 1280])
def test_axe_core_finds_no_wcag_aa_violation(
    study: Study, tmp_path: Path, scheme: str, width: int
) -> None:
    if BROWSER is None:
        pytest.skip("no Chromium on PATH")
    axe = _axe()
    source = html(study)
    source = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", source)
    copy = tmp_path / "page.html"
    copy.write_text(
        source.replace("</body>", f"<script>{axe}</script>{RUN_AXE}</body>"), encoding="utf-8"
    )
    answer = subprocess.run(
        [
            BROWSER,
            *FLAGS,
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},900",
            f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
            "--virtual-time-budget=60000",
            "--dump-dom",
            f"file://{copy}",
        ],
        capture_output=True,
        text=True,
        timeout=280,
    )
    text = Page(answer.stdout).text
    found = json.loads(text[text.index("{") : text.rindex("}") + 1])
    assert found["violations"] == []
    assert found["passes"] > 15 and not found["wide"]


NARROWEST_PRINT = 688
"""Pixels between the margins of an A4 page."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "media"), [(390, "screen"), (1280, "screen"), (NARROWEST_PRINT, "print")]
)
def test_no_column_is_cut(tmp_path: Path, width: int, media: Any) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    if BROWSER is None:
        pytest.skip("no Chromium on PATH")
    from training.compare import compare

    settings = {"classifiers": ["linear-svc"], "c_values": [0.01, 1.0], "bootstrap": 100}
    study = make(tmp_path / "study", n_authors=40, config={"compare": settings})
    compare(study)
    rank(study)
    path = report(study)
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=FLAGS)
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.emulate_media(media=media)
        page.goto(f"file://{path}")
        cut = page.evaluate(
            "[...document.querySelectorAll('.scroll, table, .plot, .gallery')].filter(e => "
            "e.scrollWidth > e.clientWidth + 1 || e.getBoundingClientRect().right > innerWidth + 1)"
            ".map(e => e.getAttribute('aria-label') ?? e.className)"
        )
        wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
        browser.close()
    assert cut == [] and not wide


def test_measures_of_groups_stay_silent_where_too_few() -> None:
    from training.report.sections.fairness import _measures

    label = np.array([1] * 9 + [0] * 30)
    found = _measures(label, np.arange(39.0), np.arange(39), 1)
    assert all(np.isnan(value) for value in found.values())
