"""What a night tells monitoring and its log: counted by hand on small tables, no word of people."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

import likewise
from collectors.tokens.store import TokenStore, new_token
from likewise import metrics
from likewise.config import render
from likewise.errors import CircuitOpenError, PartialError, StudyBusyError
from likewise.logs import LARGEST, study_log, tell
from likewise.metrics import Observed, flipped_share, observe
from likewise.overview import AtWork, at_work
from likewise.study import Study
from likewise.tables import LABELS, POSTS
from likewise.working import changes_study


def lines(study: Study) -> list[dict[str, Any]]:
    text = (study.root / "logs" / "likewise.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def table_of(schema: pa.Schema, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows with the columns that matter; the others hold what their type begins with."""
    empty: dict[Any, Any] = {pa.string(): "", pa.int32(): 0, pa.int64(): 0, pa.bool_(): False}
    return pa.Table.from_pylist(
        [
            {
                field.name: row.get(
                    field.name, None if field.nullable else empty.get(field.type, 0)
                )
                for field in schema
            }
            for row in rows
        ],
        schema=schema,
    )


def publish(study: Study, table: str, rows: list[dict[str, Any]]) -> None:
    schema = {"posts": POSTS, "labels": LABELS}[table].schema
    stage = study.begin(table, redo=True)
    stage.write(table_of(schema, rows))
    stage.publish()


def posts(*ids: int) -> list[dict[str, Any]]:
    return [{"platform": "mastodon", "host": "a.example", "post_id": str(n)} for n in ids]


def labels(**of: int) -> list[dict[str, Any]]:
    return [{"picture_id": one, "label": label} for one, label in of.items()]


@pytest.fixture
def study(study_folder: Path) -> Study:
    return Study.open(study_folder)


def test_new_and_reused_rows_are_told_by_their_keys(study: Study) -> None:
    @changes_study("collect")
    def work(study: Study, *ids: int) -> None:
        publish(study, "posts", posts(*ids))

    work(study, 1, 2, 3)
    work(study, 2, 3, 4, 5, 6)  # the whole table is written anew: 1 is gone, 3 are new
    first, second = [one for one in lines(study) if one["message"] == "stage ends"]
    assert (first["new"], first["reused"]) == (3, 0)
    assert (second["new"], second["reused"]) == (3, 2)
    assert second["before"] == {"posts": 0} and second["after"] == {"posts": 1}
    assert second["bytes"] == sum(study.store.sizes("posts").values())
    assert second["run"] != first["run"] and second["seconds"] > 0


def test_a_failing_stage_counts_its_failures_and_tells_no_name(study: Study) -> None:
    @changes_study("collect")
    def work(study: Study) -> None:
        publish(study, "posts", posts(1))
        raise PartialError("alice's post failed", [("mastodon/a.example/alice", "http_404")] * 7)

    with pytest.raises(PartialError):
        work(study)
    (told,) = [one for one in lines(study) if one["message"] == "stage ends"]
    assert (told["failed"], told["exit_code"], told["new"]) == (7, 3, 1)
    assert "alice" not in (study.root / "logs" / "likewise.jsonl").read_text(encoding="utf-8")


def test_a_bug_is_told_by_its_places_in_the_code(study: Study) -> None:
    with pytest.raises(KeyError), study.lock():
        raise KeyError("alice")
    end = lines(study)[-1]
    assert (end["error"], end["exit_code"]) == ("KeyError", 1)
    assert __file__ in end["traceback"][-1] and "alice" not in json.dumps(end)


def test_python_functions_refuse_a_study_that_another_holds(study: Study) -> None:
    answers: list[BaseException] = []

    def other() -> None:
        try:
            likewise.prune(study.root)
        except StudyBusyError as error:
            answers.append(error)

    with study.lock():
        assert likewise.prune(study) == {}  # the same run goes in and out
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert [type(one) for one in answers] == [StudyBusyError]
    assert f"process {os.getpid()}" in str(answers[0])


def test_the_log_turns_over_and_follows_no_link(study: Study, tmp_path: Path) -> None:
    with study_log(study.root):
        for _ in range(40):
            tell("x" * (LARGEST // 30))
    kept = sorted(path.name for path in (study.root / "logs").iterdir())
    assert kept == ["likewise.jsonl", "likewise.jsonl.1"]
    (study.root / "logs" / "likewise.jsonl").unlink()
    aim = tmp_path / "aim"
    (study.root / "logs" / "likewise.jsonl").symlink_to(aim)
    with pytest.raises(OSError), study_log(study.root):
        pass
    assert not aim.exists()


def test_flipped_labels_of_pictures_on_both_sides(study: Study) -> None:
    publish(study, "labels", labels(a=1, b=0, c=1, d=0, gone=1))
    publish(study, "labels", labels(a=1, b=1, c=1, d=0, new=0))
    assert flipped_share(study, 0) == 0.25
    assert flipped_share(study, None) == flipped_share(study, 1) == 0.0


def night(study: Study, error: BaseException | None = None, *survived: BaseException) -> None:
    try:
        with study.lock(), observe(study) as others:
            others.extend(survived)
            if error is not None:
                raise error
    except (PartialError, KeyboardInterrupt):
        pass


def test_days_without_news_and_the_last_success(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = 86_400.0
    clock = [10 * day]
    monkeypatch.setattr(metrics.time, "time", lambda: clock[0])
    night(study)
    assert Observed.of(study).last_success == 10 * day
    for hours in (1, 2, 24, 48):
        clock[0] = 10 * day + hours * 3600
        night(study)
    assert len(Observed.of(study).quiet_days) == 3  # three runs of one day are one night
    publish(study, "posts", posts(1))
    night(study, PartialError("some", [("a", "b")]))
    found = Observed.of(study)
    assert found.quiet_days == [] and found.exit_code == 3 and found.last_success == clock[0]
    clock[0] += day
    for broken in (
        (KeyboardInterrupt(),),
        (CircuitOpenError("all", []),),
        (None, CircuitOpenError("", [])),
    ):
        night(study, *broken)
    found = Observed.of(study)
    assert found.last_success == clock[0] - day and found.last_run == clock[0]


def test_the_file_for_node_exporter_says_what_the_rules_ask(tmp_path: Path) -> None:
    folder, out = tmp_path / "study", tmp_path / "text"
    folder.mkdir()
    out.mkdir()
    source = {"platform": "instagram", "host": "https://graph.facebook.com", "tags": ["x"]}
    values = {"collect": {"sources": [source]}, "monitor": {"textfile": str(out)}}
    (folder / "likewise.toml").write_text(render(values), encoding="utf-8")
    study = Study.open(folder)
    host = "graph.facebook.com"
    TokenStore().put(new_token("instagram", host, {"access_token": "s3cret"}, expires_at=4e9))
    publish(study, "posts", posts(1, 2))
    night(study)
    (file,) = out.iterdir()
    text = file.read_text(encoding="utf-8")
    assert "s3cret" not in text
    found = {
        (sample.name, sample.labels.get("host", ""), sample.labels.get("table", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["likewise_token_expiry_timestamp_seconds", host, ""] == 4e9
    assert found["likewise_table_rows", "", "posts"] == 2
    on_disk = sum(f.stat().st_size for f in (folder / "tables").rglob("*") if f.is_file())
    assert found["likewise_store_bytes", "", ""] == on_disk
    assert found["likewise_last_exit_code", "", ""] == 0


def test_a_pushgateway_that_is_away_does_not_fail_the_night(
    study_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = render({"monitor": {"pushgateway": "http://127.0.0.1:9"}})
    (study_folder / "likewise.toml").write_text(text, encoding="utf-8")
    study = Study.open(study_folder)
    night(study)
    assert "metrics were not written" in capsys.readouterr().err
    assert Observed.of(study).last_success > 0


def test_who_is_at_work(study: Study) -> None:
    seen: list[AtWork | None] = []

    @changes_study("clean")
    def work(study: Study) -> None:
        seen.append(at_work(study))

    assert at_work(study) is None
    work(study)
    (found,) = seen
    assert found is not None and (found.pid, found.stage) == (os.getpid(), "clean")
    assert at_work(study) is None
