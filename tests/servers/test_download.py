"""The verb against servers that misbehave: rows, reasons, resuming, asking again."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from kept_posts import keep, rows_of
from misbehaving import Misbehaving, picture

from collectors.download import download
from likewise.cli import run
from likewise.errors import CircuitOpenError, MissingTableError, PartialError
from likewise.pictures import picture_bytes
from likewise.study import Study
from likewise.tables import FETCHES, PICTURES, bucket_of, check_schema, media_key

Make = Callable[..., Study]


def test_rows_hold_what_was_served(server: Misbehaving, make_study: Make) -> None:
    study = make_study([server.url(f"/ok/{number}") for number in range(30)], buckets=4)
    manifest = download(study)
    fetches, pictures = study.read("fetches"), study.read("pictures")
    check_schema(fetches.schema, FETCHES.schema, "fetches")
    check_schema(pictures.schema, PICTURES.schema, "pictures")
    assert manifest.rows == len(fetches) == len(pictures) == 30
    by_id = {row["picture_id"]: row for row in pictures.to_pylist()}
    for row in fetches.to_pylist():
        brought = by_id[row["picture_id"]]
        assert brought["bytes"] == picture(int(row["post_id"]))
        assert brought["n_bytes"] == row["n_bytes"] == len(brought["bytes"])
        assert (brought["width"], brought["height"], brought["format"]) == (320, 280, "jpeg")
        assert (row["width"], row["height"]) == (320, 280)
        assert row["status"] == "ok" and row["attempts"] == 1 and row["http_status"] == 200
        key = media_key(row["platform"], row["host"], row["post_id"], row["media_index"])
        assert row["bucket"] == bucket_of(key, 4)
    assert manifest.funnel is not None
    assert (manifest.funnel["rows_in"], manifest.funnel["rows_out"]) == (30, 30)


def test_a_second_run_asks_nothing(server: Misbehaving, make_study: Make) -> None:
    study = make_study([server.url(f"/ok/{number}") for number in range(10)])
    first = download(study)
    asked = len(server.seen)
    assert download(study).fingerprint == first.fingerprint
    assert len(server.seen) == asked == 10


def test_new_posts_are_fetched_and_old_ones_are_kept(server: Misbehaving, make_study: Make) -> None:
    study = make_study([server.url(f"/ok/{number}") for number in range(10)])
    first = download(study)
    parts = set(study.parts("pictures"))
    keep(study, [server.url(f"/ok/{number}") for number in range(13)])
    second = download(study)
    assert second.fingerprint != first.fingerprint
    assert len(rows_of(study)) == 13
    assert Counter(seen.path for seen in server.seen).most_common(1)[0][1] == 1
    keep(study, [server.url(f"/ok/{number}") for number in range(5)])
    assert parts < set(study.parts("pictures")), "what was there is not written again"
    third = download(study)
    assert third.funnel is not None and third.funnel["rows_out"] == 5
    assert len(rows_of(study)) == third.rows == 13, "pictures stay, whoever asks for them"
    assert len(server.seen) == 13


def test_another_number_of_buckets_fetches_nothing_and_doubles_nothing(
    server: Misbehaving, make_study: Make
) -> None:
    urls = [server.url(f"/ok/{number}") for number in range(20)]
    before = make_study(urls, buckets=3)
    download(before)
    parts = before.parts("pictures")
    study = make_study(urls, buckets=7)
    download(study)
    names = ["post_id", "media_index", "bucket", "picture_id"]
    rows = study.read("fetches", names).to_pylist()
    assert len({row["post_id"] for row in rows}) == len(rows) == 20
    assert len(server.seen) == 20
    assert study.parts("pictures") == parts, "no picture is written again for it"
    files = dict(picture_bytes(study, [row["picture_id"] for row in rows]))
    for row in rows:
        key = media_key("mastodon", "a.example", row["post_id"], row["media_index"])
        assert row["bucket"] == bucket_of(key, 7)
        assert files[row["picture_id"]] == picture(int(row["post_id"]))


def test_other_hygiene_looks_at_the_stored_bytes(server: Misbehaving, make_study: Make) -> None:
    urls = [server.url(f"/ok/{number}") for number in range(8)]
    download(make_study(urls))
    study = make_study(urls, min_side=300)
    download(study)
    assert {row["error_class"] for row in rows_of(study).values()} == {"too_small"}
    assert len(server.seen) == 8
    assert study.read("pictures").num_rows == study.require("pictures").rows == 0
    looser = make_study(urls, min_side=100)
    download(looser)
    assert {row["status"] for row in rows_of(looser).values()} == {"ok"}
    assert len(server.seen) == 16  # rejected pictures keep no bytes: they are asked for again


@pytest.mark.parametrize("table", ["fetches", "pictures"])
def test_a_part_that_is_lost_is_fetched_again(
    server: Misbehaving, make_study: Make, table: str
) -> None:
    study = make_study([server.url(f"/ok/{number}") for number in range(12)], buckets=3)
    download(study)
    before, part = rows_of(study), study.parts(table)[0]
    held = pq.read_table(part).num_rows
    Path(part).unlink()
    download(study)
    after = rows_of(study)
    assert {k: v["picture_id"] for k, v in after.items()} == {
        k: v["picture_id"] for k, v in before.items()
    }
    assert len(server.seen) == 12 + held
    assert study.read("pictures").num_rows == 12


def test_failures_are_named_listed_and_asked_again_on_request(
    server: Misbehaving, make_study: Make
) -> None:
    urls = [server.url(f"/ok/{n}") for n in range(6)]
    urls += [server.url(path) for path in ("/status/404", "/html", "/drip", "/empty")]
    study = make_study(urls, max_attempts=1, timeout_s=0.7)
    with pytest.raises(PartialError) as partial:
        download(study)
    reasons = {row["post_id"]: row["error_class"] for row in rows_of(study).values()}
    wanted = ["http_404", "html", "timeout", "empty"]
    assert [reasons[f"{number:05d}"] for number in range(6, 10)] == wanted
    assert {item.split("/")[2]: why for item, why in partial.value.failures} == {
        f"{number:05d}": why for number, why in zip(range(6, 10), wanted, strict=True)
    }
    manifest = study.require("fetches")
    assert manifest.funnel is not None
    assert manifest.funnel["dropped"] == dict.fromkeys(sorted(wanted), 1)

    before = Counter(seen.path for seen in server.seen)
    with pytest.raises(PartialError):
        download(study, retry="timeouts")
    assert Counter(seen.path for seen in server.seen) - before == Counter(["/drip"])
    before = Counter(seen.path for seen in server.seen)
    with pytest.raises(PartialError):
        download(study, retry="failed")
    again = Counter(seen.path for seen in server.seen) - before
    assert again == Counter(["/status/404", "/html", "/drip", "/empty"])


def test_a_body_longer_than_promised_is_no_picture(server: Misbehaving, make_study: Make) -> None:
    study = make_study([server.url("/shorter"), server.url("/ok/1")])
    with pytest.raises(PartialError):
        download(study)
    # The rest of the body is no HTTP; whether it is seen depends on when it arrives.
    assert rows_of(study)["00000"]["error_class"] in {"bad_http", "truncated"}


def test_retry_all_asks_for_rejected_ones_too(server: Misbehaving, make_study: Make) -> None:
    study = make_study([server.url("/ok/1"), server.url("/robots?noai")])
    download(study)
    assert rows_of(study)["00001"]["error_class"] == "robots_noai"
    download(study, retry="failed")
    assert len(server.times("/robots?noai")) == 1
    download(study, retry="all")
    assert len(server.times("/robots?noai")) == 2
    assert len(server.times("/ok/1")) == 1
    [good] = study.read("pictures", ["picture_id"]).to_pylist()
    assert good["picture_id"] == rows_of(study)["00000"]["picture_id"]


def test_passing_trouble_is_tried_again_at_once(server: Misbehaving, make_study: Make) -> None:
    study = make_study([server.url(f"/once/{n}") for n in range(4)])
    download(study)
    assert {row["status"] for row in rows_of(study).values()} == {"ok"}
    assert {row["attempts"] for row in rows_of(study).values()} == {2}


def test_retry_after_is_honoured(server: Misbehaving, make_study: Make) -> None:
    server.window, server.allowed = 1.0, 5
    urls = [server.url(f"/limited/{number}") for number in range(14)]
    study = make_study(urls, per_host=4)
    download(study)
    assert {row["status"] for row in rows_of(study).values()} == {"ok"}
    for number in range(14):
        times = server.times(f"/limited/{number}")
        assert all(later - earlier >= 0.95 for earlier, later in pairwise(times))
    assert server.most_open <= 4


def test_a_host_that_only_refuses_is_given_up(server: Misbehaving, make_study: Make) -> None:
    study = make_study([server.url(f"/never/{n}") for n in range(8)], max_attempts=2)
    with pytest.raises(PartialError):
        download(study)
    assert {row["error_class"] for row in rows_of(study).values()} == {"http_429"}
    assert len(server.seen) <= 3 * 8


def test_circuit_breaker(server: Misbehaving, make_study: Make) -> None:
    urls = [server.url("/status/403") for _ in range(200)]
    study = make_study(urls)
    with pytest.raises(CircuitOpenError, match="http_403"):
        download(study)
    assert study.manifest("pictures") is None
    assert len(server.seen) < 120
    server.seen.clear()
    mended = make_study([server.url(f"/ok/{n % 9}") for n in range(200)])
    download(mended)
    assert len(rows_of(mended)) == 200
    assert {row["status"] for row in rows_of(mended).values()} == {"ok"}


def test_nearly_all_failed_is_no_result_even_in_a_small_study(
    server: Misbehaving, make_study: Make
) -> None:
    study = make_study([server.url("/status/403") for _ in range(12)])
    with pytest.raises(CircuitOpenError, match="12 of 12 pictures failed as http_403"):
        download(study)
    download(make_study([server.url("/ok/1") for _ in range(12)]))


def test_exit_codes(server: Misbehaving, make_study: Make, capfd: pytest.CaptureFixture) -> None:
    study = make_study([server.url("/ok/1"), server.url("/status/404")])
    assert run(["download", str(study.root)]) == 3
    assert "mastodon/a.example/00001/0: http_404" in capfd.readouterr().err
    assert run(["download", str(study.root)]) == 0
    gone = make_study([server.url("/status/404")] * 20)
    assert run(["download", str(gone.root)]) == 3
    assert "failed as http_404" in capfd.readouterr().err


def test_without_kept_posts(tmp_path, make_study: Make) -> None:
    study = make_study([])
    assert download(study).rows == 0
    shutil.rmtree(study.root / "tables" / "kept_posts")
    with pytest.raises(MissingTableError, match="kept_posts") as missing:
        download(study, retry="all")
    assert "likewise clean" in str(missing.value.hint)


def test_addresses_inside_are_refused_by_the_verb(server: Misbehaving, make_study: Make) -> None:
    urls = ["http://10.0.0.1/a.jpg", "file:///etc/passwd", server.url("/to?url=http://[::1]/")]
    study = make_study([*urls, server.url("/ok/1")], allow_hosts=[f"127.0.0.1:{server.port}"])
    with pytest.raises(PartialError):
        download(study)
    reasons = [rows_of(study)[f"{number:05d}"]["error_class"] for number in range(4)]
    assert reasons == ["refused_address", "refused_scheme", "refused_address", None]


def test_signed_addresses_that_end_first_are_fetched_first(
    server: Misbehaving, make_study: Make
) -> None:
    far, soon = 4_000_000_000, 3_900_000_000
    urls = [server.url(f"/ok/{n}") for n in range(20)]
    urls += [server.url(f"/same?Expires={far}"), server.url(f"/same?Expires={soon}")]
    download(make_study(urls, concurrency=1, per_host=1))
    order = [seen.path for seen in server.seen]
    assert order[:2] == [f"/same?Expires={soon}", f"/same?Expires={far}"]
