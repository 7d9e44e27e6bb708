"""Order, augmentation, canvases and the parts of the data."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_tuning as tt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import backbones
from backbones import registry
from likewise.errors import DataError, StudyError
from training.tuning.batches import Augmentation, centre, prefetch, to_input
from training.tuning.canvases import Canvases, canvas, decode_all, decoded
from training.tuning.measure import measure, score_of
from training.tuning.samples import Order


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 17), st.integers(0, 9))
def test_every_epoch_shows_every_picture_once(n: int, size: int, seed: int) -> None:
    order = Order(np.arange(n) * 3, seed)
    stream = [place for i in range(3 * n) for place in order.batch(i, size)][: 3 * n]
    for epoch in range(3):
        assert sorted(i for e, i in stream if e == epoch) == [3 * i for i in range(n)]
    fresh = Order(np.arange(n) * 3, seed)
    assert fresh.batch(2 * n, size) == order.batch(2 * n, size)


def test_epochs_and_seeds_differ() -> None:
    def epoch(seed: int, number: int) -> list[int]:
        return [i for _, i in Order(np.arange(50), seed).batch(number, 50)]

    assert epoch(1, 0) != epoch(1, 1)
    assert epoch(1, 0) != epoch(2, 0)


@settings(deadline=None)
@given(st.integers(1, 4))
def test_workers_share_the_batch_of_one(workers: int) -> None:
    batches = tt.run(Path(), batch_size=12, colour=0.4).batches
    whole = batches(5)
    parts = [batches(5, worker=w, workers=workers) for w in range(workers)]
    for w, part in enumerate(parts):
        assert torch.equal(part.pictures, whole.pictures[w::workers])
        assert torch.equal(part.labels, whole.labels[w::workers])


def test_augmentation_crops_and_flips() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8)
    windows = {picture[t : t + 16, s : s + 16].tobytes() for t in range(5) for s in range(5)}
    mirrored = {
        picture[t : t + 16, s : s + 16][:, ::-1].tobytes() for t in range(5) for s in range(5)
    }
    seen = {
        Augmentation()(picture, 16, np.random.default_rng(seed)).tobytes() for seed in range(600)
    }
    assert seen == windows | mirrored
    still = Augmentation(flip=False, crop=False)
    assert np.array_equal(still(picture, 16, np.random.default_rng(1)), picture[2:18, 2:18])


def test_colour_changes_stay_within_bounds() -> None:
    grey = np.full((20, 20, 3), 100, np.uint8)
    change = Augmentation(colour=0.3)
    means = [change(grey, 16, np.random.default_rng(seed)).mean() for seed in range(300)]
    assert 69 < min(means) < 75 and 125 < max(means) < 131
    assert not change(grey, 16, np.random.default_rng(0)).std()


def test_prefetch_keeps_the_order_and_hands_errors_on() -> None:
    assert list(prefetch(lambda i: i, 3, 10)) == list(range(3, 10))  # type: ignore[arg-type]

    def fails(i: int) -> int:
        return 1 // (2 - i)

    with pytest.raises(ZeroDivisionError):
        list(prefetch(fails, 0, 5))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["alexnet", "alexnet-caffe", "inception-v3", "efficientnet-lite0"])
def test_the_middle_of_a_canvas_is_what_extraction_sees(name: str) -> None:
    backbone = registry.get(name)
    rng = np.random.default_rng(2)
    smooth = cv2.resize(rng.integers(0, 255, (9, 12, 3), np.uint8), (640, 480))
    data = cv2.imencode(".png", smooth)[1].tobytes()
    view = centre(canvas(data, backbone.preprocess), backbone.input_size)
    mine = to_input(torch.from_numpy(view.copy())[None], backbone.preprocess)[0].numpy()
    theirs = backbones.prepare(data, backbone)
    levels = np.abs(mine - theirs) * np.array(backbone.preprocess.std)[:, None, None]
    # An odd margin (Inception's 342 - 299) puts the whole-pixel middle half a pixel aside.
    odd = (backbone.preprocess.resize - backbone.input_size) % 2
    assert levels.mean() < (4 if odd else 1.5)


def _part(path: Path, files: dict[str, bytes | None]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "picture_id": pa.array(files.keys(), pa.string()),
            "bytes": pa.array(files.values(), pa.binary()),
        }
    )
    pq.write_table(table, path)
    return path


def _png(value: int) -> bytes:
    return cv2.imencode(".png", np.full((30, 30, 3), value, np.uint8))[1].tobytes()


def test_canvases_are_decoded_once_and_named_when_not(tmp_path: Path) -> None:
    parts = [
        _part(tmp_path / "in" / "0.parquet", {"a": _png(1), "x": _png(9), "b": b"<html>"}),
        _part(tmp_path / "in" / "1.parquet", {"c": _png(3), "a": _png(1), "d": None}),
        _part(tmp_path / "in" / "2.parquet", {"y": _png(8)}),
    ]
    wanted = {"a", "b", "c", "d", "e"}
    failed = decode_all(parts, wanted, tt.SPEC, tmp_path / "out")
    assert failed.keys() == {"b", "d", "e"}
    assert failed["b"] == "html" and failed["e"] == "picture_missing"
    assert decoded(tmp_path / "out") == {"a", "c"}
    shown = Canvases(tmp_path / "out", ["c", "a"])
    assert [int(shown[i].mean()) for i in range(len(shown))] == [3, 1]
    for part in parts:
        part.unlink()
    assert decode_all(parts, wanted, tt.SPEC, tmp_path / "out") == failed


def test_a_killed_decoding_goes_on_at_the_next_part(tmp_path: Path) -> None:
    good = _part(tmp_path / "in" / "0.parquet", {"a": _png(1)})
    with pytest.raises(FileNotFoundError):
        decode_all([good, tmp_path / "in" / "1.parquet"], {"a", "b"}, tt.SPEC, tmp_path / "out")
    good.unlink()
    other = _part(tmp_path / "in" / "1.parquet", {"b": _png(2)})
    assert decode_all([good, other], {"a", "b"}, tt.SPEC, tmp_path / "out") == {}


def test_a_full_disk_is_told_before_anything_is_decoded(tmp_path: Path) -> None:
    spec = dataclasses.replace(tt.SPEC, resize=10**6)
    with pytest.raises(StudyError, match="GiB are free"):
        decode_all([], {str(i) for i in range(1000)}, spec, tmp_path)


def test_parts_share_no_author_and_validation_is_of_training_authors() -> None:
    data = tt.samples(120)
    parts = data.parts(1)
    authors = [set(data.groups[indices].tolist()) for indices in parts.values()]
    assert not authors[0] & authors[1] and not (authors[0] | authors[1]) & authors[2]
    assert not data.test[parts["validation"]].any()
    assert sum(map(len, parts.values())) == 120
    assert len(data.parts(-1)["validation"]) == 0


def test_parts_that_cannot_be_trained_on_are_refused() -> None:
    data = tt.samples()
    with pytest.raises(DataError, match=r"train part has no picture of class 0"):
        dataclasses.replace(data, labels=np.ones(60, np.int64)).parts(0)
    with pytest.raises(DataError, match=r"no picture of class 1"):
        dataclasses.replace(data, labels=np.zeros(60, np.int64)).parts(0)
    with pytest.raises(DataError, match=r"validation part has 0 author"):
        data.parts(7)
    one = np.ones(60, np.int64)
    with pytest.raises(DataError, match=r"train part has 1 author"):
        dataclasses.replace(data, groups=one).parts(0)


def test_measures_by_hand() -> None:
    logits = np.array([[0.0, 2.0], [1.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    labels = np.array([1, 0, 0, 1])
    assert np.allclose(score_of(logits), [2, -1, 1, -3])
    values = measure(logits, labels)
    assert values["accuracy"] == 0.5
    assert values["average_precision"] == pytest.approx((1 / 1 + 2 / 4) / 2)
    losses = np.log1p(np.exp([-2, -1, 1, 3]))
    assert values["loss"] == pytest.approx(losses.mean())
    three = np.array([[1.0, 2.0, 3.0]])
    odds = 3 - np.log(np.exp(1) + np.exp(2))
    assert score_of(three)[0] == pytest.approx(odds)
