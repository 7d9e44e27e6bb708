"""What the log of a study still has to say of errors, once later runs have ended well."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from likewise.errors import DataError, PartialError
from likewise.logs import study_log
from web.running import recent, troubles


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write what a run of this verb writes that ends in this way."""

    def run(verb: str, error: BaseException | None = None) -> None:
        monkeypatch.setattr(sys, "argv", ["likewise", verb, str(tmp_path)])
        with contextlib.suppress(BaseException), study_log(tmp_path):
            if error is not None:
                raise error

    return run


INTERRUPTED = "end: KeyboardInterrupt, exit code 130"
HURT = "end: DataError, exit code 2"
PARTLY = "end: PartialError, exit code 3"


def test_a_later_good_run_makes_good(ran: Callable[..., None], tmp_path: Path) -> None:
    assert troubles(tmp_path, 500) == Counter()
    for verb in ("run", "clean", "import"):
        ran(verb, KeyboardInterrupt())
    assert troubles(tmp_path, 500) == {INTERRUPTED: 3}
    ran("clean")
    assert troubles(tmp_path, 500) == {INTERRUPTED: 2}, "that was one stage, not the run"
    ran("compare", DataError("one class only"))
    ran("run", PartialError("some", [("a", "gone")]))
    assert troubles(tmp_path, 500) == {INTERRUPTED: 1, PARTLY: 1}, "no run imports"
    ran("import")
    assert troubles(tmp_path, 500) == {PARTLY: 1}
    ran("run", DataError("one class only"))
    assert troubles(tmp_path, 500) == {PARTLY: 1, HURT: 1}, "that one ended badly itself"
    ran("run")
    assert troubles(tmp_path, 500) == Counter()
    assert sum(line["level"] == "error" for line in recent(tmp_path, 500)) == 6, "the log keeps all"
