"""Detectors on real photographs: where, how sure, and how often wrong."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from filters.faces.calibration import measure
from filters.faces.detectors import find_faces, load, shrunk
from filters.faces.known import DETECTORS, choose, model_of
from filters.pictures.decode import PictureError
from likewise.errors import WeightsError

# Background pictures that are photographs of people: all of them were looked at.
KNOWN_PEOPLE = {
    *(7, 14, 27, 46, 64, 93, 94, 114, 140, 147, 154, 165, 175, 176, 185),
    *(195, 197, 204, 208, 212, 218, 222, 224, 226, 233, 256, 267, 268, 276, 288),
}


@pytest.fixture
def weights(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that holds YuNet's model."""
    folder = tmp_path / "weights"
    folder.mkdir()
    shutil.copy(shared / "weights" / "face_detection_yunet_2026may.onnx", folder)
    monkeypatch.setenv("LIKEWISE_WEIGHTS", str(folder))
    return folder


@pytest.fixture
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIKEWISE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def portrait(shared: Path) -> bytes:
    return (shared / "faces" / "caltech_people" / "image_0001.jpg").read_bytes()


def look(name: str, data: bytes) -> np.ndarray:
    spec = DETECTORS[name]
    found = find_faces(data, load(name, model_of(name)), input_side=spec.input_side)
    assert found.count(spec.min_confidence) == 1
    return found.boxes[0]


def overlap(one: np.ndarray, two: np.ndarray) -> float:
    low, high = np.maximum(one[:2], two[:2]), np.minimum(one[:2] + one[2:], two[:2] + two[2:])
    common = float(np.prod(np.clip(high - low, 0, None)))
    return common / (one[2] * one[3] + two[2] * two[3] - common)


@pytest.mark.parametrize("name", ["yunet", "haar"])
def test_detectors_agree_where_the_face_is(name: str, portrait: bytes, weights: Path) -> None:
    assert overlap(look("dlib-hog", portrait), look(name, portrait)) > 0.4


def test_boxes_are_in_pixels_of_the_upright_original(portrait: bytes) -> None:
    """The same photograph lying on its side, with the EXIF note that says so."""
    upright = Image.open(io.BytesIO(portrait)).convert("RGB")
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    lying.save(file, "JPEG", quality=95, exif=exif)
    assert overlap(look("dlib-hog", portrait), look("dlib-hog", file.getvalue())) > 0.8


def test_a_larger_copy_gives_a_larger_box(portrait: bytes) -> None:
    picture = Image.open(io.BytesIO(portrait)).convert("RGB")
    file = io.BytesIO()
    picture.resize((3 * picture.width, 3 * picture.height)).save(file, "JPEG", quality=95)
    assert overlap(3 * look("dlib-hog", portrait), look("dlib-hog", file.getvalue())) > 0.7


@pytest.mark.parametrize("name", ["yunet", "dlib-hog", "haar"])
def test_the_same_picture_gives_the_same_answer(name: str, portrait: bytes, weights: Path) -> None:
    detect, side = load(name, model_of(name)), DETECTORS[name].input_side
    one = find_faces(portrait, detect, input_side=side)
    find_faces(
        cv2.imencode(".jpg", np.zeros((90, 200, 3), np.uint8))[1].tobytes(), detect, input_side=side
    )
    two = find_faces(portrait, detect, input_side=side)
    assert np.array_equal(one.boxes, two.boxes) and np.array_equal(one.confidences, two.confidences)


def test_landmarks_lie_inside_the_face(portrait: bytes, weights: Path) -> None:
    spec = DETECTORS["yunet"]
    found = find_faces(portrait, load("yunet", model_of("yunet")), input_side=spec.input_side)
    left, top, width, height = found.boxes[0]
    assert found.landmarks is not None
    x, y = found.landmarks[0][::2], found.landmarks[0][1::2]
    assert (left < x).all() and (x < left + width).all()
    assert (top < y).all() and (y < top + height).all()


def test_pictures_are_never_enlarged() -> None:
    small = np.zeros((40, 60, 3), np.uint8)
    assert shrunk(small, 480).shape == (40, 60, 3)
    assert shrunk(np.zeros((900, 1200, 3), np.uint8), 480).shape == (360, 480, 3)
    assert shrunk(np.zeros((1, 2000, 3), np.uint8), 480).shape == (1, 480, 3)


def test_undecodable_files_have_a_class() -> None:
    with pytest.raises(PictureError) as caught:
        find_faces(b"<html>not found</html>", load("dlib-hog"), input_side=480)
    assert caught.value.error_class == "html"


def test_auto_takes_yunet_where_its_model_is(weights: Path) -> None:
    assert choose("auto").name == "yunet"


def test_auto_takes_dlib_where_no_model_is(no_weights: Path) -> None:
    choice = choose("auto")
    assert choice.name == "dlib-hog" and "YuNet" in choice.reason


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><html></html>", b"x" * 229_738, b""])
def test_another_file_under_yunets_name_is_refused(weights: Path, content: bytes) -> None:
    file = weights / "face_detection_yunet_2026may.onnx"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="face_detection_yunet_2026may"):
        choose("auto")


def test_dlib_cnn_without_its_package_says_what_to_install() -> None:
    pytest.importorskip("dlib")
    try:
        import face_recognition_models  # noqa: F401
    except ImportError:
        with pytest.raises(WeightsError, match="dlib-cnn") as caught:
            load("dlib-cnn")
        assert "pip install" in str(caught.value.hint)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yunet", "dlib-hog"])
def test_default_thresholds_keep_precision(name: str, shared: Path, weights: Path) -> None:
    """At most 2 % of what is called a picture of people is none, and few are missed."""
    folder = shared / "faces"
    background = sorted((folder / "caltech_background").glob("*.jpg"))
    others = [path for path in background if int(path.stem[-4:]) not in KNOWN_PEOPLE]
    seen, _ = measure(name, sorted((folder / "caltech_people").glob("*.jpg")))
    false, _ = measure(name, others)
    threshold = DETECTORS[name].min_confidence
    found, wrong = int((seen >= threshold).sum()), int((false >= threshold).sum())
    assert found / (found + wrong) >= 0.98
    assert found / seen.size >= 0.98
