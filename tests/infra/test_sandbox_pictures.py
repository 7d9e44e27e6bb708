"""The sandbox's pictures, looked at with other libraries than those that made them."""

from __future__ import annotations

import datetime as dt
import io
import time
from dataclasses import replace
from pathlib import Path

import dlib
import imagehash
import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from infra.sandbox import World, WorldSpec, pictures
from infra.sandbox.actors import ACTORS, actor
from infra.sandbox.media import Located, MediaStore
from infra.sandbox.photographs import backdrop, backdrop_count, known_faces
from infra.sandbox.world import Kind, Picture
from likewise.errors import UsageError

EPOCH = dt.date(2026, 11, 1)


@pytest.fixture(scope="module")
def world() -> World:
    return World(WorldSpec(epoch=EPOCH))


def opened(world: World, post: int, media: int = 0) -> Image.Image:
    data = MediaStore(world).render(Located(post, media, False, "jpg"))
    return Image.open(io.BytesIO(data))


def posts(world: World, kind: Kind, *, originals: bool = True) -> list[int]:
    mine = (world.kind == kind) & (world.original == np.arange(len(world.kind)))
    chosen = mine if originals else world.kind == kind
    return [int(i) for i in np.flatnonzero(chosen)]


def has_face(detector: object, image: Image.Image) -> bool:
    image.thumbnail((400, 400))
    return len(detector(np.asarray(image.convert("RGB")), 1)) > 0  # type: ignore[operator]


def test_dlib_finds_the_people_and_nobody_elsewhere(world: World) -> None:
    detector = dlib.get_frontal_face_detector()
    people = [has_face(detector, opened(world, i)) for i in posts(world, Kind.PEOPLE)[:30]]
    others = posts(world, Kind.SCENE)[:10] + posts(world, Kind.QUOTE)[:4]
    assert np.mean(people) >= 0.85
    assert np.mean([has_face(detector, opened(world, i)) for i in others]) <= 0.05


def test_brightness_and_warmth_are_what_the_law_says(world: World) -> None:
    for post in (posts(world, Kind.PEOPLE) + posts(world, Kind.SCENE))[::40]:
        picture = world.picture(post)
        pixels = np.asarray(opened(world, post).convert("RGB"), dtype=float)
        red, _, blue = pixels.reshape(-1, 3).mean(axis=0)
        luma = float((pixels @ [0.299, 0.587, 0.114]).mean())
        assert luma == pytest.approx(pictures.brightness_of(picture), abs=6)
        assert np.log(red / blue) == pytest.approx(pictures.warmth_of(picture), abs=0.08)


def test_closer_people_have_larger_faces(world: World) -> None:
    detector = dlib.get_frontal_face_detector()
    picture = world.picture(posts(world, Kind.PEOPLE)[0])
    widths = []
    for closeness in (-1.5, 0.0, 1.5):
        pixels = pictures.compose(replace(picture, closeness=closeness, actor=1))
        found = max(detector(pixels[..., ::-1].copy(), 1), key=lambda box: box.width())
        widths.append(found.width())
    assert widths[0] < widths[1] < widths[2]


def test_files_have_the_announced_size_and_the_mark(world: World) -> None:
    for post in posts(world, Kind.PEOPLE)[:20] + posts(world, Kind.QUOTE)[:3]:
        store = MediaStore(world)
        picture = world.picture(post)
        data = store.render(Located(post, 0, False, "jpg"))
        assert b"synthetic world" in data[:200]
        image = Image.open(io.BytesIO(data))
        assert image.size == (picture.width, picture.height)
        assert image.format == ("PNG" if world.is_png(post) else "JPEG")
        small = Image.open(io.BytesIO(store.render(Located(post, 0, True, "jpg"))))
        assert max(small.size) == 400


def test_exact_copies_are_equal_and_near_copies_almost(world: World) -> None:
    copies = np.flatnonzero(world.original != np.arange(len(world.kind)))
    store = MediaStore(world)
    seen = {True: 0, False: 0}
    for post in (int(i) for i in copies[:40]):
        source = int(world.original[post])
        one, other = (store.render(Located(i, 0, False, "jpg")) for i in (source, post))
        near = bool(world.near[post])
        seen[near] += 1
        assert (one == other) is not near
        hashes = [imagehash.phash(Image.open(io.BytesIO(data))) for data in (one, other)]
        assert hashes[0] - hashes[1] <= 4
    assert all(seen.values())


def test_different_pictures_are_not_taken_for_copies(world: World) -> None:
    chosen = (posts(world, Kind.PEOPLE) + posts(world, Kind.SCENE))[::8]
    hashes = np.array([imagehash.phash(opened(world, i)).hash.ravel() for i in chosen])
    distance = (hashes[:, None] != hashes[None]).sum(axis=-1)
    close = np.triu(distance <= 4, k=1).sum()
    assert close <= 0.02 * len(chosen)


@pytest.mark.parametrize("kind", [Kind.TRUNCATED, Kind.GARBAGE, Kind.EMPTY, Kind.PAGE])
def test_broken_files_cannot_be_decoded(kind: Kind) -> None:
    data = pictures.render(_picture(kind), png=False, small=False, folder=None)
    with pytest.raises((UnidentifiedImageError, OSError)):
        Image.open(io.BytesIO(data)).load()


def test_odd_files_are_odd() -> None:
    def image(kind: Kind) -> Image.Image:
        data = pictures.render(_picture(kind), png=False, small=False, folder=None)
        return Image.open(io.BytesIO(data))

    assert image(Kind.TINY).size == (64, 64)
    assert np.asarray(image(Kind.UNIFORM)).std(axis=(0, 1)).max() < 1
    assert getattr(image(Kind.ANIMATED), "n_frames", 1) == 2


def _picture(kind: Kind) -> Picture:
    return Picture(kind, (1, 2, 3), 4, 0.0, 0.0, 0.0, 640, 640)


def test_actors_differ_and_stay_the_same() -> None:
    faces = []
    for number in range(ACTORS):
        who = actor(number)
        x, y = (round(c) for c in who.centre)
        half = round(who.face_height / 2)
        face = Image.fromarray(who.pixels[y - half : y + half, x - half : x + half, 2])
        faces.append(np.asarray(face.resize((24, 24)), dtype=float).ravel())
    alike = np.corrcoef(np.array(faces))
    assert (np.triu(alike > 0.995, k=1)).sum() == 0
    assert actor(3) is actor(3 + ACTORS)


def test_sources_are_photographs_without_a_download() -> None:
    assert known_faces().shape == (100, 25, 25)
    for number in range(backdrop_count()):
        assert min(backdrop(number).shape[:2]) >= 300


def test_rendering_a_study_takes_well_under_a_minute(world: World) -> None:
    store = MediaStore(world)
    for number in range(ACTORS):
        actor(number)
    chosen = [i for i in range(0, 1500, 15) if world.n_media[i]]
    before = time.process_time()
    for post in chosen:
        store.render(Located(post, 0, False, "jpg"))
    assert (time.process_time() - before) / len(chosen) * 1500 < 60


def test_a_folder_keeps_what_was_rendered(world: World, tmp_path: Path) -> None:
    post = posts(world, Kind.PEOPLE)[0]
    found = Located(post, 0, False, "jpg")
    made = MediaStore(world, folder=tmp_path).render(found)
    [kept] = tmp_path.glob("*/*")
    assert kept.read_bytes() == made
    kept.write_bytes(b"kept")
    assert MediaStore(world, folder=tmp_path).render(found) == b"kept"


# -- a user's own photographs -------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "photos"
    (home / "deeper").mkdir(parents=True)
    for number in range(4):
        pixels = np.ascontiguousarray(backdrop(number)[..., ::-1])
        Image.fromarray(pixels).save(home / "deeper" / f"{number}.jpg")
    (home / "broken.jpg").write_bytes(b"no picture")
    (home / "notes.txt").write_text("not looked at")
    return home


def test_a_folder_of_photographs_makes_the_world(folder: Path) -> None:
    world = World(WorldSpec(authors=60, posts=150, epoch=EPOCH, pictures=folder))
    assert set(world.kind.tolist()) & {Kind.PEOPLE, Kind.SCENE} == set()
    assert world.law.weights()[2] == 0
    for post in posts(world, Kind.FOLDER)[:25]:
        picture = world.picture(post)
        pixels = np.asarray(opened(world, post).convert("RGB"), dtype=float)
        luma = float((pixels @ [0.299, 0.587, 0.114]).mean())
        assert luma == pytest.approx(pictures.brightness_of(picture), abs=6)


def test_another_folder_is_another_world(folder: Path) -> None:
    spec = WorldSpec(authors=20, posts=30, epoch=EPOCH, pictures=folder)
    before = World(spec).digest()
    (folder / "deeper" / "0.jpg").unlink()
    assert World(spec).digest() != before


def test_folders_without_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no pictures"):
        World(WorldSpec(pictures=tmp_path))
    with pytest.raises(UsageError, match="is not a folder"):
        World(WorldSpec(pictures=tmp_path / "missing"))
    (tmp_path / "only.jpg").write_bytes(b"broken")
    with pytest.raises(UsageError, match="none of the 1 files"):
        World(WorldSpec(authors=5, posts=9, epoch=EPOCH, pictures=tmp_path))


def test_real_faces_stay_faces(shared: Path) -> None:
    world = World(
        WorldSpec(authors=20, posts=60, epoch=EPOCH, pictures=shared / "faces" / "caltech_people")
    )
    detector = dlib.get_frontal_face_detector()
    found = [has_face(detector, opened(world, i)) for i in posts(world, Kind.FOLDER)[:20]]
    assert np.mean(found) >= 0.7
