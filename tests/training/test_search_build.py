"""Data sets from a search, against services on loopback: sources, licences, copies, quotas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from PIL import Image

import likewise
from collectors.platforms.openverse import Openverse
from infra.sandbox.search import SearchServices, searching
from likewise.cli import run
from likewise.errors import DataError, PartialError, UsageError
from likewise.study import Study
from training.search.build import Built, build, study_for


def picture(path: Path, seed: int, size: tuple[int, int] = (320, 256), **save: Any) -> None:
    """A photograph-like picture: smooth random fields, unlike any other seed's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, **save)


@pytest.fixture
def web_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "web"
    for at, keyword in enumerate(("cat", "dog")):
        for number in range(24):
            picture(folder / keyword / f"{number:02d}.jpg", 100 * at + number, quality=90)
    return folder


@pytest.fixture
def services(web_folder: Path) -> Iterator[SearchServices]:
    with searching(web_folder, limits_factor=0) as found:
        yield found


def both(found: SearchServices) -> list[str]:
    return [f"openverse={found.url}", f"commons={found.url}"]


def built(path: Path, found: SearchServices, per_class: int = 8, **options: Any) -> Built:
    options.setdefault("sources", both(found))
    study = study_for(path, options.pop("classes", ["cat", "dog"]), per_class=per_class, **options)
    with study.lock():
        return build(study)


def test_sources_are_filled_in_turn_and_licences_kept_to_the_end(
    tmp_path: Path, services: SearchServices
) -> None:
    done = built(tmp_path / "s", services, per_class=12)
    assert not done.too_few and dict(done.pictures) == {"cat": 12, "dog": 12}
    assert done.left_out["other_licence"] > 0  # by-nc is not asked for, Commons shows it anyway
    study = Study.open(tmp_path / "s")
    rows = {row["post_id"]: row for row in study.read("licences").to_pylist()}
    truth = {work.key: work for work in services.works} | {
        str(work.number): work for work in services.works
    }
    for post_id, row in rows.items():
        work = truth[post_id]
        assert (row["licence"], row["licence_version"]) == work.licence
        assert row["creator"] == work.maker and row["landing_page"].endswith(work.key)
        assert row["source"] in {work.collection, "wikimedia"}
    text = (tmp_path / "s" / "ATTRIBUTION.md").read_text()
    labels = study.read("labels", ["picture_id", "post_id"]).to_pylist()
    for row in labels:
        [line] = [x for x in text.splitlines() if f"`{row['picture_id'][:12]}`" in x]
        told = rows[row["post_id"]]
        assert told["creator"] in line and told["licence_url"] in line
        assert told["landing_page"] in line
    assert services.most_inside["commons"] == 1


@pytest.mark.slow
def test_commons_is_not_asked_while_openverse_has_enough(
    tmp_path: Path, services: SearchServices
) -> None:
    done = built(tmp_path / "s", services, per_class=5)
    assert not done.too_few and services.calls["commons"] == 0


def test_too_few_is_told_by_source_and_reason_and_the_next_line_goes_on(
    tmp_path: Path, services: SearchServices
) -> None:
    done = built(tmp_path / "s", services, per_class=30)
    assert done.too_few and set(done.pictures.values()) == {min(done.usable.values())}
    told = dict(done.lacking)
    assert set(told) == {f"{s}, {c}" for s in ("openverse", "commons") for c in ("cat", "dog")}
    assert all("has no more" in why for why in told.values())
    calls = services.calls.copy()
    assert built(tmp_path / "s", services, per_class=30).usable == done.usable
    assert services.calls["files"] == calls["files"]  # nothing is downloaded twice


def test_nothing_found_is_an_error_that_names_every_source(
    tmp_path: Path, services: SearchServices, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="openverse, unicorn: has no more: 0 results") as error:
        built(tmp_path / "s", services, classes=["unicorn", 'gr"if/fin 🐈'])
    assert "commons" in str(error.value)
    code = run(["classify", "build", "cat", "--study", str(tmp_path / "t")])
    assert code == 2 and "at least 2 different" in capsys.readouterr().err


@pytest.mark.slow
def test_a_licence_filter_that_leaves_nothing(tmp_path: Path, services: SearchServices) -> None:
    with pytest.raises(DataError, match=r"0 results in all"):
        built(tmp_path / "s", services, licences=["by-nc-nd"])


@pytest.mark.slow
def test_nc_comes_only_when_asked_for(tmp_path: Path, services: SearchServices) -> None:
    built(tmp_path / "open", services, per_class=20)
    built(tmp_path / "nc", services, per_class=20, licences=["by", "by-nc"])
    found = {
        name: set(Study.open(tmp_path / name).read("licences", ["licence"])["licence"].to_pylist())
        for name in ("open", "nc")
    }
    assert found["open"] <= {"cc0", "pdm", "by", "by-sa"} and found["nc"] == {"by", "by-nc"}


@pytest.mark.slow
def test_the_same_picture_and_its_resized_copies_under_two_keywords(
    tmp_path: Path, web_folder: Path
) -> None:
    for name in ("by", "in"):  # copies of whatever licence: all services show them
        for number in range(3):
            source = web_folder / "cat" / f"{number:02d}.jpg"
            (web_folder / "dog" / f"exact-{name}-{number}.jpg").write_bytes(source.read_bytes())
    Image.open(web_folder / "cat" / "05.jpg").resize((640, 512)).save(
        web_folder / "cat" / "05-larger.jpg"
    )
    picture(web_folder / "cat" / "small.jpg", 999, (200, 180))
    with searching(web_folder, limits_factor=0) as found:
        done = built(tmp_path / "s", found, per_class=40, licences=["cc0", "pdm", "by", "by-sa",
                     "by-nc"])  # fmt: skip
    study = Study.open(tmp_path / "s")
    labels = study.read("labels", ["picture_id", "class", "split"]).to_pylist()
    ids = [row["picture_id"] for row in labels]
    assert len(ids) == len(set(ids)) and done.left_out["in two classes"] == 3
    assert done.left_out["near copy"] == 1 and done.left_out["too_small"] == 1
    assert done.usable == {"cat": 24 - 3, "dog": 24}
    assert done.pictures == {"cat": 21, "dog": 21}  # balance to the smallest


@pytest.mark.slow
def test_results_that_are_html_dead_or_no_picture_cost_themselves_only(
    tmp_path: Path, services: SearchServices
) -> None:
    bad = {work.key: at % 3 for at, work in enumerate(services.works[:12])}

    def spoil(request: web.Request) -> web.StreamResponse | None:
        kind = bad.get(request.match_info.get("key", ""))
        if kind is None or request.path.startswith("/v1/images/?"):
            return None
        if kind == 0:
            return web.Response(text="<!doctype html><p>log in", content_type="text/html")
        return web.Response(status=404) if kind == 1 else web.Response(body=b"\xff\xd8\xff\xe0junk")

    services.spoil = spoil
    done = built(tmp_path / "s", services, per_class=40)
    truth = [w for w in services.works if w.licence[0] != "by-nc" and w.key not in bad]
    expected = {name: sum(w.keyword == name for w in truth) for name in ("cat", "dog")}
    assert done.usable == expected


@pytest.mark.slow
def test_a_quota_that_is_used_up_says_when_and_the_next_run_goes_on(
    tmp_path: Path, web_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(Openverse, "longest_wait_s", 0.5)
    with searching(web_folder, limits_factor=0.005, period_factor=0.00004) as found:
        assert [t.limit for t in found._throttles] == [1, 1]
        line = ["classify", "build", "cat", "dog", "--study", str(tmp_path / "s"), "--json"]
        line += ["--per-class", "6", "--source", f"openverse={found.url}"]
        assert run(line) in {2, 3}
        said = capsys.readouterr()
        assert "quota_used_up (no more calls until" in said.out + said.err
        monkeypatch.setattr(Openverse, "longest_wait_s", 60.0)
        assert run(line) == 0
        assert json.loads(capsys.readouterr().out)["usable"].keys() == {"cat", "dog"}


@pytest.mark.slow
def test_another_publisher_is_the_test_part(tmp_path: Path, services: SearchServices) -> None:
    done = built(tmp_path / "s", services, per_class=17, test_from=["commons"])
    assert set(done.sources["test"]) == {"wikimedia"}
    assert "wikimedia" not in done.sources["train"] | done.sources["validation"]
    study = Study.open(tmp_path / "s")
    assert study.require("labels").extra["parts"].keys() == {"train", "validation", "test"}


def test_a_folder_of_other_classes_is_refused(tmp_path: Path) -> None:
    study_for(tmp_path / "s", ["cat", "dog"])
    with pytest.raises(UsageError, match="a study of cat, dog, not of cat, newt"):
        study_for(tmp_path / "s", ["cat", "newt"])


def test_refresh_tells_changed_licences_and_forget_takes_a_maker_out(
    tmp_path: Path,
    services: SearchServices,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Openverse, "read_again_after_s", 0.0)
    built(tmp_path / "s", services, per_class=8, sources=[f"openverse={services.url}"])
    study = Study.open(tmp_path / "s")
    rows = study.read("licences", ["post_id", "licence", "creator"]).to_pylist()
    to_other, to_unwanted, deleted = (row["post_id"] for row in rows[:3])
    before = {row["post_id"]: row["licence"] for row in rows}
    other = "by" if before[to_other] != "by" else "by-sa"
    services.licences = {to_other: (other, "4.0"), to_unwanted: ("by-nc-nd", "4.0")}
    services.gone.add(deleted)
    likewise.refresh(study)
    said = capsys.readouterr().err
    assert f"{to_other}: licence {before[to_other]} before, {other} now: it stays" in said
    assert f"{to_unwanted}: licence {before[to_unwanted]} before, by-nc-nd now: it leaves" in said
    after = {row["post_id"]: row for row in study.read("licences").to_pylist()}
    assert after[to_other]["licence_before"] == before[to_other]
    assert after[to_other]["licence"] == other
    assert not {to_unwanted, deleted} & after.keys()
    pictures = study.read("fetches", ["post_id"])["post_id"].to_pylist()
    assert not {to_unwanted, deleted} & set(pictures)
    maker = after[to_other]["creator"]
    likewise.forget(study, maker)
    left = (tmp_path / "s" / "ATTRIBUTION.md").read_text()
    assert f"[{maker}]" not in left
    assert maker not in study.read("licences", ["creator"])["creator"].to_pylist()


def test_partial_errors_that_name_no_search_are_not_swallowed(
    tmp_path: Path, services: SearchServices
) -> None:
    services.spoil = lambda request: (
        web.Response(status=403, text="no") if request.path.startswith("/v1/images/") else None
    )
    with pytest.raises((PartialError, DataError), match="http_403"):
        built(tmp_path / "s", services, sources=[f"openverse={services.url}"])
