"""Preprocessing against Pillow used the long way, and against numbers computed by hand."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import backbones
from backbones import preprocess
from backbones.preprocess import crop_box, prepare, prepare_views, to_input, to_square
from backbones.registry import get
from filters.pictures.decode import PictureError, decode_rgb

ALL = backbones.names()


def encode(image: Image.Image, form: str = "PNG", **save) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **save)
    return file.getvalue()


def photographs(shared: Path, n: int) -> list[Path]:
    return sorted((shared / "images" / "coco128" / "train2017").glob("*.jpg"))[:n]


@pytest.mark.parametrize("name", ALL)
def test_shape_type_and_flip(name, make_jpeg):
    side = backbones.get(name).input_size
    views = backbones.prepare_views(make_jpeg(1), name)
    assert views.shape == (2, 3, side, side) and views.dtype == np.float32
    assert np.array_equal(views[1], views[0][:, :, ::-1])


def test_flat_colour_by_hand():
    red = encode(Image.new("RGB", (300, 260), (200, 100, 50)))
    caffe = backbones.prepare(red, "alexnet-caffe")[:, 5, 7]
    assert caffe == pytest.approx([50 - 104.007, 100 - 116.669, 200 - 122.679], abs=1e-4)
    official = backbones.prepare(red, "alexnet")[:, 5, 7]
    expected = [
        (200 / 255 - 0.485) / 0.229,
        (100 / 255 - 0.456) / 0.224,
        (50 / 255 - 0.406) / 0.225,
    ]
    assert official == pytest.approx(expected, abs=1e-5)
    lite = backbones.prepare(red, "efficientnet-lite0")[:, 5, 7]
    assert lite == pytest.approx([(200 - 127) / 128, (100 - 127) / 128, (50 - 127) / 128])


@pytest.mark.parametrize("size", [(640, 480), (333, 517), (256, 256), (120, 90)])
def test_box_equals_resizing_everything_and_cropping(size, make_jpeg):
    """Pillow's resize of the whole picture, then a crop: what torchvision does to a PIL image."""
    spec = backbones.get("alexnet").preprocess
    image = Image.open(io.BytesIO(make_jpeg(3, *size)))
    width, height = size
    long = (int(256 * width / min(size)), int(256 * height / min(size)))
    whole = np.asarray(image.resize(long, Image.Resampling.BILINEAR), np.int16)
    top, left = round((long[1] - 224) / 2), round((long[0] - 224) / 2)
    expected = whole[top : top + 224, left : left + 224]
    found = to_square(np.asarray(image), spec).astype(np.int16)
    assert np.abs(found - expected).max() <= 1


def test_reduced_decoding_keeps_the_input(shared):
    """The stated tolerance: below 1 of 255 on average over photographs of 1080 x 1080."""
    backbone = backbones.get("alexnet-caffe")  # its input is in levels of 255
    differences = []
    for path in photographs(shared, 16):
        large = Image.open(path).convert("RGB").resize((1080, 1080), Image.Resampling.LANCZOS)
        data = encode(large, "JPEG", quality=90)
        full = to_input(decode_rgb(data), backbone.preprocess)
        differences.append(float(np.abs(backbones.prepare(data, backbone) - full).mean()))
    assert 0 < np.mean(differences) < 1
    assert max(differences) < 2


def test_small_pictures_are_decoded_in_full(make_jpeg):
    data = make_jpeg(4, 640, 640)
    spec = backbones.get("alexnet").preprocess
    assert np.array_equal(backbones.prepare(data, "alexnet"), to_input(decode_rgb(data), spec))


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from(ALL))
def test_box_lies_in_the_picture_and_in_its_middle(width, height, name):
    spec = backbones.get(name).preprocess
    left, top, right, bottom = crop_box(width, height, spec)
    assert -1e-6 <= left < right <= width + 1e-6
    assert -1e-6 <= top < bottom <= height + 1e-6
    # Whole pixels of the resized picture are at most this large in the original.
    pixel = max(1.0, width / spec.resize if spec.fit == "warp" else min(width, height) / 224)
    assert left + right == pytest.approx(width, abs=2 * pixel)
    if spec.fit != "warp":
        wanted = min(width, height) * spec.size / spec.resize
        assert right - left == pytest.approx(wanted, abs=pixel)
        assert bottom - top == pytest.approx(wanted, abs=pixel)


@pytest.mark.parametrize("size", [(1, 1), (3000, 10), (10, 3000), (1, 700)])
@pytest.mark.parametrize("name", ["alexnet", "alexnet-caffe", "efficientnet-lite0"])
def test_odd_sizes(size, name):
    data = encode(Image.new("RGB", size, (10, 250, 90)))
    inputs = backbones.prepare(data, name)
    assert np.isfinite(inputs).all()
    assert inputs.std(axis=(1, 2)) == pytest.approx([0, 0, 0], abs=1e-4)


def test_a_strip_of_30000_by_10():
    inputs = backbones.prepare(encode(Image.new("RGB", (30_000, 10), (1, 2, 3))), "alexnet-caffe")
    assert inputs.shape == (3, 227, 227)


@pytest.mark.parametrize(
    ("mode", "form"),
    [("L", "PNG"), ("P", "PNG"), ("RGBA", "PNG"), ("I;16", "PNG"), ("1", "PNG"), ("CMYK", "JPEG")],
)
def test_every_colour_mode_becomes_three_channels(mode, form):
    image = Image.effect_noise((64, 64), 60)
    image = image if mode == "I;16" else image.convert(mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    inputs = backbones.prepare(encode(image, form), "efficientnet-lite0")
    assert inputs.shape == (3, 224, 224) and np.isfinite(inputs).all()


def test_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (64, 64), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    red, green, _ = backbones.prepare(data, "efficientnet-lite0").mean(axis=(1, 2))
    assert red > 0.9 and green < -0.9


def test_exif_orientation_is_applied(shared):
    folder = shared / "hostile" / "exif_orientation"
    upright = {}
    for path in sorted(folder.rglob("*.jp*g")):
        kind, _, number = path.stem.rpartition("_")
        if number in "12345678" and number:
            view = backbones.prepare(path.read_bytes(), "efficientnet-lite0")
            upright.setdefault(kind, []).append(view)
    assert upright
    for views in upright.values():
        for view in views[1:]:
            assert np.abs(view - views[0]).mean() < 0.12


def test_a_broken_file_has_an_error_class(make_jpeg):
    with pytest.raises(PictureError) as caught:
        backbones.prepare(b"\xff\xd8\xff\xe0 not really", "alexnet")
    assert caught.value.error_class


def test_channel_order_is_the_networks_own(make_jpeg):
    spec = backbones.get("alexnet").preprocess
    rgb = decode_rgb(make_jpeg(9))
    unit = replace(spec, mean=(0, 0, 0), std=(1, 1, 1))
    swapped = to_input(rgb, replace(unit, colour="bgr"))
    assert np.array_equal(to_input(rgb, unit), swapped[::-1])


# -- by hand ---------------------------------------------------------------------------------


def test_warp_takes_the_middle_of_the_squeezed_picture_whatever_its_shape():
    """Caffe: all becomes 256 x 256, then 227 of it: 14.5 pixels are left out on each side."""
    spec = get("alexnet-caffe").preprocess
    left, top, right, bottom = crop_box(512, 1024, spec)
    assert (left, right) == (14 * 2, (14 + 227) * 2)
    assert (top, bottom) == (14 * 4, (14 + 227) * 4)


def test_short_side_keeps_the_shape():
    spec = get("alexnet").preprocess  # the short side to 256, then 224
    assert crop_box(512, 1024, spec) == (32, 288, 480, 736)
    assert crop_box(1024, 512, spec) == (288, 32, 736, 480)
    # 300 x 401: to 256 x 342 (342.19 without its fraction), 16 and 59 pixels are left out.
    assert crop_box(300, 401, spec) == pytest.approx(
        (16 * 300 / 256, 59 * 401 / 342, 240 * 300 / 256, 283 * 401 / 342)
    )


def test_crop_first_cuts_the_middle_square():
    spec = get("efficientnet-lite0").preprocess  # 224 of 256 of the short side
    assert crop_box(512, 600, spec) == (32, 76, 480, 524)
    # An odd rest leaves its larger half before the square, as EfficientNet's own program does.
    assert crop_box(513, 600, spec) == (33, 76, 481, 524)
    assert crop_box(1, 1, spec) == (0, 0, 1, 1)


def test_bgr_means_are_those_of_their_channel():
    spec = get("alexnet-caffe").preprocess
    flat = np.full((300, 300, 3), (10, 20, 30), np.uint8)
    x = to_input(flat, spec)
    assert x.shape == (3, 227, 227) and x.dtype == np.float32
    for place, (value, mean) in enumerate(zip((30, 20, 10), spec.mean, strict=True)):
        assert x[place] == pytest.approx(value - mean, abs=1e-4)


def test_a_warped_picture_is_squeezed_and_not_cut():
    """Left half black, right half white: in the middle stands the edge, at both shapes."""
    spec = get("alexnet-caffe").preprocess
    for shape in ((100, 800), (800, 100)):
        rgb = np.zeros((*shape, 3), np.uint8)
        rgb[:, shape[1] // 2 :] = 255
        square = to_square(rgb, spec)
        assert square.shape == (227, 227, 3)
        assert (square[:, :105] < 40).all() and (square[:, 122:] > 215).all()


def test_two_views_are_the_picture_and_its_mirror_image(make_jpeg):
    views = prepare_views(make_jpeg(1, 300, 260), "alexnet")
    assert views.shape == (2, 3, 224, 224)
    assert (views[1] == views[0][:, :, ::-1]).all() and (views[0] != views[1]).any()
    assert (views[0] == prepare(make_jpeg(1, 300, 260), "alexnet")).all()


@pytest.mark.parametrize(
    ("short", "decoded"),
    [(767, None), (768, 384), (1535, 767), (1536, 384), (3071, 767), (3072, 384), (6000, 750)],
)
def test_jpegs_are_halved_while_1_5_times_the_side_is_left(short, decoded):
    """256 x 1.5 = 384 pixels, and at most three times."""
    spec = get("alexnet").preprocess
    file = encode(Image.new("L", (short, short + 8)), "JPEG", quality=1)
    assert preprocess._least_side(file, spec) == decoded


def test_the_middle_square_of_a_long_picture():
    spec = get("efficientnet-lite0").preprocess
    assert crop_box(512, 2048, spec) == (32, 800, 480, 1248)
    assert crop_box(2048, 512, spec) == (800, 32, 1248, 480)
