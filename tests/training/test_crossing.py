"""Copies on both sides of the split are found by hash and pixels; what merely looks alike stays."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from fake_study import photographs
from fetched_rows import publish_fetched
from PIL import Image, ImageEnhance

import likewise
from filters.pictures.aligned import COPY, likeness, small
from filters.pictures.copies import phash
from likewise.study import Study
from training.comparison.crossing import RADIUS, SURE, crossing


def cropped(picture: Image.Image, share: float) -> Image.Image:
    w, h = picture.size
    return picture.crop((round(share * w), round(share * h), w - round(share * w), h))


def framed(picture: Image.Image) -> Image.Image:
    w, h = picture.size
    canvas = Image.new("RGB", (round(1.06 * w), round(1.06 * h)), "white")
    canvas.paste(picture, (round(0.03 * w), round(0.03 * h)))
    return canvas


CHANGES = {
    "cropped": lambda p: cropped(p, 0.04),
    "framed": framed,
    "brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.5),
    "smaller": lambda p: p.resize((p.width // 3, p.height // 3)),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_changed_copies_are_alike_and_other_photographs_are_not(change: str) -> None:
    pictures = [Image.fromarray(photo) for photo in photographs()]
    smalls = [small(np.asarray(picture)) for picture in pictures]
    for i, picture in enumerate(pictures):
        changed = small(np.asarray(CHANGES[change](picture)))
        assert likeness(smalls[i], changed) >= COPY
        assert all(likeness(other, changed) < 0.7 for j, other in enumerate(smalls) if j != i)


def test_a_flat_picture_is_like_nothing() -> None:
    flat = np.full((50, 60, 3), 90, np.uint8)
    assert likeness(small(flat), small(flat)) == 0


def jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=92)
    return file.getvalue()


def made(folder: Path, files: list[tuple[bytes, int]]) -> tuple[Study, list[str]]:
    """A study of these pictures with these hashes."""
    opened = likewise.init(folder)
    names = [f"picture {i}" for i in range(len(files))]
    rows = [
        {
            "platform": "mastodon",
            "host": "a.example",
            "post_id": str(i),
            "media_index": 0,
            "author_id": str(i),
            "bucket": 0,
            "url": "u",
            "status": "ok",
            "attempts": 1,
            "picture_id": name,
            "bytes": data,
            "n_bytes": len(data),
            "phash": code,
        }
        for i, (name, (data, code)) in enumerate(zip(names, files, strict=True))
    ]
    publish_fetched(opened, rows)
    return opened, names


def test_the_training_copy_goes_whatever_its_order(tmp_path: Path) -> None:
    """Pairs of 5 to 12 bits: a cropped copy goes, a stranger with such a hash stays."""
    photos = [Image.fromarray(photo) for photo in photographs()]
    crop = next(
        c
        for share in np.arange(0.02, 0.08, 0.005)
        if SURE < bits(photos[0], c := cropped(photos[0], share)) <= RADIUS
    )
    own = phash(np.asarray(photos[0]))
    files = [
        (jpeg(crop), phash(np.asarray(crop))),  # 0: training, a copy of 1
        (jpeg(photos[0]), own),  # 1: held out
        (jpeg(photos[1]), own ^ 0b111111),  # 2: training, six bits from 1 and another picture
        (jpeg(photos[2]), own ^ 0b111 << 20),  # 3: training, three bits from 1: sure by hash
        (b"no picture", own ^ 0xFF << 30),  # 4: training, eight bits from 1, cannot be read
        (jpeg(photos[3]), phash(np.asarray(photos[3]))),  # 5: training, far from all
    ]
    opened, names = made(tmp_path / "s", files)
    held_out = np.array([False, True, False, False, False, False])
    found = crossing(opened, names, held_out)
    assert found.tolist() == [True, False, False, True, True, False]
    order = [3, 1, 5, 0, 4, 2]
    again = crossing(opened, [names[i] for i in order], held_out[order])
    assert again.tolist() == found[order].tolist()


def bits(one: Image.Image, other: Image.Image) -> int:
    return (phash(np.asarray(one)) ^ phash(np.asarray(other))).bit_count()


def test_equal_hashes_go_together_and_without_pictures_nothing_goes(tmp_path: Path) -> None:
    photo = Image.fromarray(photographs()[0])
    code = phash(np.asarray(photo))
    opened, names = made(tmp_path / "s", [(jpeg(photo), code)] * 3)
    assert crossing(opened, names, np.array([True, False, False])).tolist() == [False, True, True]
    empty = likewise.init(tmp_path / "empty")
    assert not crossing(empty, names, np.array([True, False, False])).any()
