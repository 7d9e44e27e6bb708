"""The class tree against WordNet's own files, and what lint says of category maps."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from infra.wordnet import nouns, tables
from likewise.errors import ConfigError, UsageError
from training.categories.maps import SHIPPED, lint, load_map
from training.categories.tree import class_tree

NOUNS = Path("/usr/share/wordnet/data.noun")
TREE = class_tree()


def _errors(text: str) -> list[str]:
    return [f"{f.category}: {f.says}" for f in lint(text)[1] if f.level == "error"]


def test_the_tables_are_those_of_the_independently_made_ones(shared: Path) -> None:
    for name in ("classes.tsv", "hypernyms.tsv"):
        shipped = (files("training.categories") / "data" / name).read_bytes()
        assert shipped == (shared / "imagenet_classes" / name).read_bytes()


@pytest.mark.skipif(not NOUNS.is_file(), reason="Debian's wordnet-base is not installed")
def test_the_tables_are_what_wordnets_own_file_says() -> None:
    order = json.dumps({str(i): wnid for i, wnid in enumerate(TREE.order)})
    made = tables(nouns(NOUNS.read_text(encoding="utf-8").splitlines()), json.loads(order))
    folder = files("training.categories") / "data"
    for name, text in zip(("classes.tsv", "hypernyms.tsv"), made, strict=True):
        assert (folder / name).read_text(encoding="utf-8") == text


def test_wordnets_notice_goes_with_the_tables() -> None:
    notice = (files("training.categories") / "data" / "WORDNET-NOTICE.txt").read_text("utf-8")
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in notice
    assert "appear on ALL copies" in notice


def test_every_class_hangs_on_the_root_and_nothing_is_its_own_ancestor() -> None:
    assert len(TREE.order) == 1000
    assert len(set(TREE.order)) == 1000
    for wnid in TREE.order:
        above = TREE.ancestors(wnid)
        assert "n00001740" in above  # entity
        for parent in TREE.synsets[wnid].parents:
            assert wnid not in TREE.ancestors(parent)


def test_dogs_are_the_118_breeds_from_151_to_268() -> None:
    # The well-known range of dog classes in ILSVRC-2012.
    assert TREE.classes_below("n02084071") == tuple(range(151, 269))


def test_an_ambiguous_word_is_an_error_that_names_both_meanings() -> None:
    (error,) = _errors("name: m\ncategories: {cat: {ancestors: [cat]}}")
    assert "n02121620" in error
    assert "n02127808" in error
    (error,) = _errors("name: m\ncategories: {bird: {classes: [crane]}}")
    assert "n02012849" in error
    assert "n03126707" in error


def test_a_class_in_two_categories_is_an_error() -> None:
    text = "name: m\ncategories: {dog: {ancestors: [n02084071]}, pug: {classes: [pug]}}"
    (error,) = _errors(text)
    assert "pug (n02110958) is in 'dog'" in error


def test_a_category_without_a_class_is_a_warning_and_shown_as_uncovered() -> None:
    found, findings = lint("name: m\ncategories: {rainbow: , dog: {ancestors: [n02084071]}}")
    assert found.uncovered == ("rainbow",)
    assert [(f.level, f.category) for f in findings] == [("warning", "rainbow")]


def test_a_list_that_its_ancestor_contradicts_is_told_both_ways() -> None:
    text = "name: m\ncategories: {flower: {ancestors: [flower], classes: [daisy, vase]}}"
    says = [f.says for f in lint(text)[1]]
    assert says == [
        "listed, but not below its ancestors: vase (n04522168)",
        "below its ancestors, but not listed: yellow lady's slipper (n12057211)",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: m\ncategories: {x: {classes: [dog]}}", "a group, not a class"),
        ("name: m\ncategories: {x: {ancestors: [n99999999]}}", "neither an ImageNet class"),
        ("name: m\ncategories: {x: {ancestors: [strawbery]}}", "strawberry"),
    ],
)
def test_words_that_name_nothing_are_errors(text: str, says: str) -> None:
    assert any(says in error for error in _errors(text))


@pytest.mark.parametrize(
    "text",
    [
        "categories: {}",
        "- a list",
        "name: m\ncategories: {x: {klasses: [pug]}}",
        "name: m\ncategories: {x: {classes: pug}}",
        "name: m\ncategories: {x: {}, x: {}}",
        "name: [",
        "",
    ],
)
def test_what_is_not_a_map_is_refused_with_its_source(text: str) -> None:
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        lint(text, "mine.yaml")


def test_a_missing_map_names_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_map(tmp_path / "none.yaml")
    assert all(name in str(caught.value.hint) for name in SHIPPED)


def test_paper_twos_table_is_there_as_printed_and_as_the_tree_has_it() -> None:
    printed, warnings = load_map("paper2-table1")
    strict, _ = load_map("paper2-tree")
    assert len(printed.names) == 12
    assert printed.names == strict.names
    assert printed.uncovered == ("night sky", "rainbow")  # the paper's own exceptions
    assert strict.uncovered == ("night sky", "rainbow", "waterfall")
    vase = TREE.index["n04522168"]
    assert vase in printed.members[printed.names.index("flower")]
    assert vase not in strict.members[strict.names.index("flower")]
    assert any("vase" in finding.says for finding in warnings)


@pytest.mark.parametrize("scale", [0.0, 1.0, 300.0])
def test_probabilities_are_sums_of_the_softmax(scale: float) -> None:
    found, _ = load_map("paper2-tree")
    logits = np.random.default_rng(1).normal(0, scale, (1, 1000)).astype(np.float32)
    answer = found.probabilities(logits)
    assert answer.sum() == pytest.approx(1)
    dogs = softmax(logits.astype(np.float64), axis=1)[0, 151:269].sum()
    assert answer[0, found.names.index("dog")] == pytest.approx(dogs, abs=1e-12)
    assert answer[0, found.names.index("rainbow")] == 0
