# ruff: noqa: E501 - records are easier to read in one line
"""Other programs' folders and platforms' exports, in the shapes of their own documentation."""

from __future__ import annotations

import datetime as dt
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from import_files import outcomes, picture

from collectors.import_ import import_
from collectors.imports.base import Options
from likewise.errors import DataError
from likewise.study import Study

Pictures = Callable[..., list[str]]


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = json.dumps(content).encode()
    path.write_bytes(lzma.compress(data) if path.suffix == ".xz" else data)


def posts(study: Study) -> dict[str, dict[str, Any]]:
    return {row["post_id"]: row for row in study.read("posts").to_pylist()}


def followers(study: Study) -> dict[str, int | None]:
    rows = study.read("authors").to_pylist()
    return {r["author_id"]: r["followers"] for r in sorted(rows, key=lambda r: r["fetched_at"])}


# -- instaloader ------------------------------------------------------------------------------


def instaloader_post(code: str, likes: int, **more: Any) -> dict[str, Any]:
    node = {
        "__typename": "GraphImage", "id": "31", "shortcode": code, "taken_at_timestamp": 1684310400,
        "edge_media_to_caption": {"edges": [{"node": {"text": "sea #Sun #sand"}}]},
        "edge_media_preview_like": {"count": likes}, "edge_media_to_comment": {"count": 3},
        "is_video": False, "owner": {"id": "777", "username": "ann"},
        "accessibility_caption": "a beach", **more,
    }  # fmt: skip
    return {"node": node, "instaloader": {"version": "4.14", "node_type": "Post"}}


def test_instaloader(study: Study, source: Path, pictures: Pictures) -> None:
    pictures("ann/2023-05-17_08-00-00_UTC.jpg", "ann/2023-05-18_08-00-00_UTC_1.jpg",
             "ann/2023-05-18_08-00-00_UTC_2.jpg", "ann/2023-05-19_08-00-00_UTC.jpg")  # fmt: skip
    write(source / "ann/2023-05-17_08-00-00_UTC.json.xz", instaloader_post("AAA", 12))
    children = {"edges": [{"node": {"is_video": False}}, {"node": {"is_video": False}}]}
    side = instaloader_post("BBB", -1, edge_sidecar_to_children=children)
    write(source / "ann/2023-05-18_08-00-00_UTC.json.xz", side)
    (source / "ann/2023-05-19_08-00-00_UTC.mp4").write_bytes(b"film")
    write(
        source / "ann/2023-05-19_08-00-00_UTC.json",
        instaloader_post("CCC", 5, is_video=True, video_view_count=99),
    )
    profile = {"id": "777", "username": "ann", "edge_followed_by": {"count": 4321}}
    about = {"version": "4.14", "node_type": "Profile"}
    write(source / "ann/ann_777.json.xz", {"node": profile, "instaloader": about})
    (source / "ann/2023-05-20_08-00-00_UTC.json.xz").write_bytes(b"\xfd7zXZ half")
    (source / "ann/2023-05-21_08-00-00_UTC.json").write_text('{"node": {\n"sh', encoding="utf-8")
    done = import_(study, source)
    found = posts(study)
    assert done.kind == "instaloader"
    assert (found["AAA"]["likes"], found["BBB"]["likes"], found["CCC"]["views"]) == (12, None, 99)
    assert found["AAA"]["created_at"] == dt.datetime(2023, 5, 17, 8, tzinfo=dt.UTC)
    assert found["AAA"]["tags"] == ["sun", "sand"]
    assert [m["kind"] for m in found["BBB"]["media"]] == ["image", "image"]
    assert found["CCC"]["media"][0]["kind"] == "video"
    assert found["CCC"]["media"][0]["preview_url"].endswith("2023-05-19_08-00-00_UTC.jpg")
    assert followers(study)["777"] == 4321
    assert {place for place, _ in done.refused} == {
        "source/ann/2023-05-20_08-00-00_UTC.json.xz", "source/ann/2023-05-21_08-00-00_UTC.json:2",
    }  # fmt: skip
    assert outcomes(study)["AAA"] == "ok"


# -- gallery-dl -------------------------------------------------------------------------------


def test_records_that_contradict_each_other(study: Study, source: Path, pictures: Pictures) -> None:
    stems = ["ann/2023-05-17_08-00-00_UTC", "ann/copy", "ann/newer"]
    pictures(*(f"{stem}.jpg" for stem in stems))
    for stem, likes in zip(stems, (12, 12, 40), strict=True):
        write(source / f"{stem}.json.xz", instaloader_post("AAA", likes))
    done = import_(study, source)
    assert posts(study)["AAA"]["likes"] == 12
    assert done.dropped == {"id given before": 1}
    assert done.refused == (("source: AAA", "id given before with another likes"),)


def test_gallery_dl(study: Study, source: Path, pictures: Pictures) -> None:
    pictures("t/1_1.jpg", "t/1_2.jpg", "m/9.png", "f/5.jpg")
    tweet = {
        "category": "twitter", "tweet_id": 1, "favorite_count": 44, "retweet_count": 2,
        "view_count": 900, "date": "2023-05-17 08:00:00", "content": "hi #Sea", "num": 1,
        "author": {"id": 5, "name": "ann", "followers_count": 1000, "friends_count": 3},
    }  # fmt: skip
    write(source / "t/1_1.jpg.json", tweet)
    write(source / "t/1_2.jpg.json", {**tweet, "num": 2})
    toot = {
        "category": "mastodon", "id": "9", "favourites_count": 7, "tags": ["Sun"],
        "visibility": "unlisted", "account": {"id": "8", "acct": "bob@x.example", "followers_count": 50},
    }  # fmt: skip
    write(source / "m/9.png.json", toot)
    flickr = {
        "category": "flickr", "id": 5, "views": 300, "date": "2020-01-01 00:00:00",
        "owner": {"nsid": "77@N00", "username": "eve"},
    }  # fmt: skip
    write(source / "f/5.jpg.json", flickr)
    write(source / "f/6.jpg.json", {"category": "flickr"})
    done = import_(study, source)
    found = posts(study)
    assert done.kind == "gallery-dl"
    assert done.dropped == {"not_public": 1}
    assert found["twitter 1"]["likes"] == 44
    assert [m["index"] for m in found["twitter 1"]["media"]] == [0, 1]
    assert found["flickr 5"]["views"] == 300
    assert followers(study)["5"] == 1000
    assert done.refused == (("source/f/6.jpg.json", "no id or author"),)


# -- img2dataset ------------------------------------------------------------------------------


def shard(source: Path, shape: str) -> None:
    keys = ["000000000", "000000001", "000000002"]
    table = {
        "url": [f"https://x.example/{k}.jpg" for k in keys], "key": keys, "caption": ["a", "b", "c"],
        "status": ["success", "success", "failed_to_download"], "error_message": [None, None, "404"],
        "width": [240, 240, None], "height": [240, 240, None], "likes": [3, 4, 5],
        "followers": [10, 20, 30], "user": ["ann", "bob", "eve"],
        "date": ["2023-01-01T00:00:00Z"] * 3,
    }  # fmt: skip
    files = {f"{key}.jpg": picture(n) for n, key in enumerate(keys[:2])}
    if shape == "parquet":
        table["jpg"] = [*files.values(), None]
    elif shape == "files":
        (source / "00000").mkdir()
        for name, data in files.items():
            (source / "00000" / name).write_bytes(data)
    else:
        with tarfile.open(source / "00000.tar", "w") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    table["label"] = [1.0, float("nan"), None]
    pq.write_table(pa.table(table), source / "00000.parquet")
    write(source / "00000_stats.json", {"count": 3})


@pytest.mark.parametrize("shape", ["tar", "files", "parquet"])
def test_img2dataset(study: Study, source: Path, shape: str) -> None:
    shard(source, shape)
    (source / "00001.parquet").write_bytes(b"PAR1 half")
    done = import_(study, source)
    assert done.kind == "img2dataset"
    assert [reason for _, reason in done.refused][:1] == ["img2dataset: failed_to_download"]
    assert "source/00001.parquet" in dict(done.refused)
    found = posts(study)
    assert {k: v["likes"] for k, v in found.items()} == {"00000/000000000": 3, "00000/000000001": 4}
    assert {k: v["labels"] for k, v in found.items()} == {
        "00000/000000000": ["class:1"],
        "00000/000000001": [],
    }
    assert followers(study) == {"ann": 10, "bob": 20}
    assert set(outcomes(study).values()) == {"ok"}


# -- archives of the fediverse ----------------------------------------------------------------

PUBLIC = "https://www.w3.org/ns/activitystreams#Public"


def note(number: int, url: str, **more: Any) -> dict[str, Any]:
    body = {
        "id": f"https://m.example/users/ann/statuses/{number}", "type": "Note",
        "published": "2023-05-17T08:00:00Z", "attributedTo": "https://m.example/users/ann",
        "to": [PUBLIC], "cc": [], "sensitive": False, "content": "<p>sea</p>",
        "tag": [{"type": "Hashtag", "name": "#Sun"}],
        "attachment": [{"type": "Document", "mediaType": "image/jpeg", "url": url, "name": "alt"}],
        **more,
    }  # fmt: skip
    return {"id": f"{body['id']}/activity", "type": "Create", "object": body}


ACTOR = {"id": "https://m.example/users/ann", "preferredUsername": "ann", "type": "Person"}


def test_mastodon_archive(study: Study, source: Path, pictures: Pictures) -> None:
    pictures("media_attachments/files/1/original/a.jpg", "media_attachments/files/2/original/b.jpg")
    write(source / "actor.json", ACTOR)
    where = "/m-example/media_attachments/files/{}/original/{}.jpg"
    items = [
        note(1, where.format(1, "a"), likes={"type": "Collection", "totalItems": 6}),
        note(2, where.format(2, "b"), to=["https://m.example/users/ann/followers"]),
        {"type": "Announce", "object": "https://else.example/1"},
        note(3, where.format(3, "gone")),
        note(4, where.format(1, "a"), sensitive=True),
    ]
    write(source / "outbox.json", {"type": "OrderedCollection", "orderedItems": items})
    done = import_(study, source)
    assert done.kind == "mastodon-archive"
    assert done.dropped == {"not_public": 1, "sensitive": 1}
    assert done.refused == (("source/outbox.json item 3", "a boost of another's post"),)
    row = posts(study)["https://m.example/users/ann/statuses/1"]
    assert (row["likes"], row["tags"], row["text"]) == (6, ["sun"], "sea")
    assert any("no followers" in line for line in done.forbids)
    import_(study, source, options=Options(constants={"followers": "250"}))
    assert followers(study) == {"https://m.example/users/ann": 250}
    assert outcomes(study)["https://m.example/users/ann/statuses/1"] == "ok"


def test_a_person_who_does_not_want_to_be_found(study: Study, source: Path) -> None:
    write(source / "actor.json", {**ACTOR, "discoverable": False, "indexable": False})
    write(source / "outbox.json", {"orderedItems": [note(1, "/a.jpg")]})
    with pytest.raises(DataError, match="not_discoverable"):
        import_(study, source)


def test_pixelfed_export(study: Study, source: Path) -> None:
    items = [note(1, "https://p.example/a.jpg"), note(2, "https://p.example/b.jpg")]
    write(source / "outbox.json", {"type": "OrderedCollection", "orderedItems": items})
    write(source / "followers.json", ["https://a.example/1", "https://a.example/2"])
    done = import_(study, source)
    assert done.kind == "pixelfed-export"
    assert {r["media"][0]["url"] for r in posts(study).values()} == {
        "https://p.example/a.jpg", "https://p.example/b.jpg",
    }  # fmt: skip
    assert followers(study) == {"https://m.example/users/ann": 2}
    assert any("no likes" in line for line in done.forbids)


# -- downloads of one's information -----------------------------------------------------------


def test_instagram_download(study: Study, source: Path, pictures: Pictures) -> None:
    pictures("media/posts/202305/a.jpg", "media/posts/202305/b.jpg")
    wrong = "Zürich #See".encode().decode("latin-1")
    media = [
        {"uri": f"media/posts/202305/{n}.jpg", "creation_timestamp": 1684310400, "title": ""}
        for n in ("a", "b")
    ]
    items = [{"media": media, "title": wrong, "creation_timestamp": 1684310400}, {"media": []}]
    write(source / "your_instagram_activity/content/posts_1.json", items)
    name = {"string_map_data": {"Username": {"value": "ann"}}}
    write(source / "personal_information/personal_information.json", {"profile_user": [name]})
    write(source / "connections/followers_1.json", [{"string_list_data": []}] * 7)
    done = import_(study, source)
    assert done.kind == "instagram-download"
    [row] = posts(study).values()
    assert (row["text"], row["author_id"], row["likes"]) == ("Zürich #See", "ann", None)
    assert [m["kind"] for m in row["media"]] == ["image", "image"]
    assert followers(study) == {"ann": 7}
    assert done.n_refused == 1
    assert any("no likes" in line for line in done.forbids)
    assert set(outcomes(study).values()) == {"ok"}


def test_flickr_download(study: Study, source: Path, pictures: Pictures) -> None:
    pictures("data/sea_5123456789_o.jpg")
    photo = {
        "id": "5123456789", "name": "sea", "count_views": "120", "count_faves": "9",
        "count_comments": "1", "date_imported": "2015-03-04 10:00:00", "privacy": "public",
        "photopage": "https://www.flickr.com/photos/ann/5123456789/", "tags": [{"tag": "Sun"}],
    }  # fmt: skip
    write(source / "photo_5123456789.json", photo)
    write(source / "photo_5123456790.json", {**photo, "id": "5123456790", "privacy": "private"})
    write(source / "account_profile.json", {"nsid": "7@N00", "screen_name": "ann"})
    done = import_(study, source)
    [row] = posts(study).values()
    assert done.kind == "flickr-download"
    assert (row["likes"], row["views"], row["author_id"]) == (9, 120, "7@N00")
    assert done.dropped == {"not_public": 1}
    assert set(outcomes(study).values()) == {"ok"}


# -- folders ----------------------------------------------------------------------------------


def test_class_folders(study: Study, source: Path, pictures: Pictures) -> None:
    pictures("cats/a.jpg", "cats/b.jpg", "dögs & co/c.jpg")
    done = import_(study, source)
    assert (done.kind, done.posts) == ("classes", 3)
    assert "cats (2)" in done.recognised
    assert posts(study)["dögs & co/c.jpg"]["labels"] == ["class:dögs & co"]


def test_folders_of_a_taxonomy_are_classes_where_that_is_said(
    study: Study, source: Path, pictures: Pictures
) -> None:
    pictures("animal/cat/a.jpg", "animal/dog/b.jpg", "plant/c.jpg", "d.jpg")
    done = import_(study, source, kind="classes")
    assert done.kind == "classes" and "animal/cat (1)" in done.recognised
    labels = {name: row["labels"] for name, row in posts(study).items()}
    assert labels == {
        "animal/cat/a.jpg": ["class:animal/cat"],
        "animal/dog/b.jpg": ["class:animal/dog"],
        "plant/c.jpg": ["class:plant"],
    }
    assert done.n_refused == 1  # d.jpg is told, not lost


def test_folders_of_days_are_no_classes_unless_said(
    study: Study, source: Path, pictures: Pictures
) -> None:
    pictures("2024/05/a.jpg", "2024/06/b.jpg")
    assert import_(study, source).kind == "pictures"


def test_one_class_folder_is_a_class_and_names_are_said_in_one_line(
    study: Study, source: Path, pictures: Pictures
) -> None:
    pictures("dog\n\u202eold/a.jpg")
    done = import_(study, source)
    assert (done.kind, done.recognised) == ("classes", "1 folder of pictures: dog old (1)")
    assert [row["labels"] for row in posts(study).values()] == [["class:dog old"]]


def test_a_table_beside_pictures_is_found(study: Study, source: Path, pictures: Pictures) -> None:
    pictures("photos/a.jpg")
    (source / "t.csv").write_text("id,likes,author,file\n1,2,a,photos/a.jpg\n", encoding="utf-8")
    done = import_(study, source)
    assert (done.kind, posts(study)["1"]["media"][0]["url"]) == ("csv", "import:photos/a.jpg")
    assert import_(study, source, kind="pictures").kind == "pictures"
    with pytest.raises(DataError, match="instaloader"):
        import_(study, source, kind="instaloader")


def test_stills_of_films_when_asked_for(study: Study, source: Path, pictures: Pictures) -> None:
    pictures("ann/a_UTC.jpg")
    (source / "ann/a_UTC.mp4").write_bytes(b"film")
    write(source / "ann/a_UTC.json", instaloader_post("AAA", 5, is_video=True))
    import_(study, source)
    assert outcomes(study) == {}
    text = (study.root / "likewise.toml").read_text(encoding="utf-8")
    asked = text.replace("# stills = false", "stills = true")
    assert asked != text
    (study.root / "likewise.toml").write_text(asked, encoding="utf-8")
    again = Study.open(study.root)
    assert outcomes(again) == {"AAA": "ok"}
    assert posts(again)["AAA"]["media"][0]["kind"] == "video"  # the mark stays in the post
