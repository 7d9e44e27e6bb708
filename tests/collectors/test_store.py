"""The token store under many processes: nothing is lost, nothing comes back, nothing is shown."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)
from rotating import Rotating
from serving import served

from collectors.tokens.consents import Consents, Invitation
from collectors.tokens.store import Token, TokenStore, new_token
from likewise.errors import CredentialsError

WORKER = Path(__file__).with_name("token_worker.py")


class Worker:
    """``token_worker.py`` in a process of its own."""

    def __init__(self, home: Path) -> None:
        self.child = subprocess.Popen(
            [sys.executable, str(WORKER), str(home)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={"LIKEWISE_CONFIG_HOME": str(home), "PYTHONPATH": ":".join(filter(None, sys.path))},
        )  # fmt: skip

    def start(self, name: str, *arguments: Any) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps([name, arguments]) + "\n")
        self.child.stdin.flush()

    def end(self) -> dict[str, Any]:
        assert self.child.stdout is not None
        answer: dict[str, Any] = json.loads(self.child.stdout.readline())
        return answer

    def do(self, name: str, *arguments: Any) -> dict[str, Any]:
        self.start(name, *arguments)
        return self.end()

    def close(self) -> None:
        self.child.communicate(timeout=20)


@contextlib.contextmanager
def workers(home: Path, count: int) -> Iterator[list[Worker]]:
    made = [Worker(home) for _ in range(count)]
    try:
        yield made
    finally:
        for one in made:
            one.close()


def bytes_of(home: Path) -> bytes:
    return b"".join(p.read_bytes() for p in home.rglob("*") if p.is_file())


def known(token: Token) -> dict[str, Any]:
    return {**token.shown(), "secret": dict(token.secret)}


# -- many at once -----------------------------------------------------------------------------


def test_forty_tokens_put_by_four_processes(tmp_path: Path) -> None:
    with workers(tmp_path, 4) as all_four:
        for n in range(10):
            for k, one in enumerate(all_four):
                one.start("put", f"t{k}-{n}", "h.example", {"access_token": f"a{k}-{n}"})
        answers = [one.end() for _ in range(10) for one in all_four]
    assert answers == [{"ok": None}] * 40
    assert {t.id for t in TokenStore(tmp_path).all()} == {
        f"t{k}-{n}" for k in range(4) for n in range(10)
    }


def test_twelve_friends_who_finish_at_once(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)

    def friend(n: int) -> str:
        token = new_token("mastodon", "h.example", {"access_token": f"secret-{n}"}, user=str(n))
        return Consents(TokenStore(tmp_path)).give(token, Invitation("Ada", "a test"))[0]

    with ThreadPoolExecutor(12) as pool:
        keys = list(pool.map(friend, range(12)))
    assert len(store.all()) == len(Consents(store).all()) == 12
    assert all(Consents(store).find(key) for key in keys)
    store.remove(Consents(store).find(keys[3])["token"])
    assert Consents(store).find(keys[3]) is None
    assert len(store.all()) == 11


def test_every_file_is_private_and_a_withdrawn_secret_is_overwritten(tmp_path: Path) -> None:
    home = tmp_path / "config"
    store = TokenStore(home)
    secret = "a-secret-that-nobody-may-find-again"
    token = new_token("bluesky", "h.example", {"app_password": secret})
    Consents(store).give(token, Invitation("Ada", "a test"))
    assert secret.encode() in bytes_of(home)
    assert home.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o077 for p in home.rglob("*")} == {0}
    store.remove(token.id)
    assert secret.encode() not in bytes_of(home)
    assert store.withdrawn(token.id)


# -- what older versions left -----------------------------------------------------------------


def old_files(home: Path) -> tuple[Path, Path]:
    tokens, consents = home / "tokens.json", home / "consents.json"
    entry = {"id": "1a", "platform": "mastodon", "host": "h.example", "user": "7", "app": "",
             "purpose": "p", "given_at": "2026-01-01T00:00:00+00:00", "expires_at": None,
             "secret": {"access_token": "old"}}  # fmt: skip
    tokens.write_text(json.dumps({"tokens": [entry]}), encoding="utf-8")
    tokens.chmod(0o600)
    consent = {"token": "1a", "host": "h.example", "asked_by": "Ada", "purpose": "p",
               "given_at": "2026-01-01T00:00:00+00:00", "withdrawn_at": "",
               "key": "d" * 64}  # fmt: skip
    consents.write_text(json.dumps([consent]), encoding="utf-8")
    return tokens, consents


def test_the_old_json_files_are_taken_over_once(tmp_path: Path) -> None:
    tokens, consents = old_files(tmp_path)
    raw = tokens.read_bytes()
    store = TokenStore(tmp_path)
    [token] = store.all()
    assert (token.id, token.user, token.secret) == ("1a", "7", {"access_token": "old"})
    [consent] = Consents(store).all()
    assert (consent["token"], consent["key"], consent["withdrawn_at"]) == ("1a", "d" * 64, "")
    assert not tokens.exists() and not consents.exists()
    store.remove("1a")
    # A process that died between taking over and deleting leaves the file behind.
    tokens.write_bytes(raw)
    tokens.chmod(0o600)
    assert store.all() == [], "a withdrawn token does not come back"
    assert not tokens.exists()


def test_many_processes_take_over_the_old_files_together(tmp_path: Path) -> None:
    old_files(tmp_path)
    with workers(tmp_path, 3) as three:
        for n, one in enumerate(three):
            one.start("put", f"t{n}", "h.example", {})
        assert [one.end() for one in three] == [{"ok": None}] * 3
    assert {t.id for t in TokenStore(tmp_path).all()} == {"1a", "t0", "t1", "t2"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"tokens": [{"id": 1}]}', '{"tokens": 7}'])
def test_damaged_old_files_are_named_and_stay(tmp_path: Path, text: str) -> None:
    tokens, _ = old_files(tmp_path)
    tokens.write_text(text, encoding="utf-8")
    for _ in range(2):
        with pytest.raises(CredentialsError, match=r"tokens\.json is damaged"):
            TokenStore(tmp_path).all()
    assert tokens.read_text(encoding="utf-8") == text


def test_an_old_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    tokens, _ = old_files(tmp_path)
    tokens.chmod(0o640)
    with pytest.raises(CredentialsError, match="other users"):
        TokenStore(tmp_path).all()


def test_a_store_that_is_written_for_long_is_said_to_be_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collectors.tokens.database._WAIT_S", 0.05)
    store = TokenStore(tmp_path)
    store.put(new_token("x", "h", {}))
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(CredentialsError, match="in use by another process"):
            store.put(new_token("x", "h", {}))


# -- one renewal for all ----------------------------------------------------------------------


def test_two_processes_that_renew_one_expired_token(tmp_path: Path) -> None:
    provider = Rotating()
    with served(provider.application) as url, workers(tmp_path, 2) as pair:
        token = Token("t1", "mastodon", "h.example", secret=provider.grant("ada"))
        TokenStore(tmp_path).put(token)
        for round_ in range(3):
            [stored] = TokenStore(tmp_path).all()
            provider.expire("ada")
            for one in pair:
                one.start("call", known(stored), url)
            answers = [one.end() for one in pair]
            [now] = TokenStore(tmp_path).all()
            assert answers == [{"ok": now.secret["access_token"]}] * 2
            assert provider.renewals == round_ + 1, "one renewal for both"
    assert not provider.revoked


def test_a_withdrawn_token_is_not_renewed(tmp_path: Path) -> None:
    provider = Rotating()
    with served(provider.application) as url, workers(tmp_path, 1) as [one]:
        token = Token("t1", "mastodon", "h.example", secret=provider.grant("ada"))
        TokenStore(tmp_path).put(token)
        TokenStore(tmp_path).remove("t1")
        provider.expire("ada")
        assert "CredentialsError" in one.do("call", known(token), url)["error"]
    assert provider.renewals == 0


def test_what_a_platform_gives_after_a_withdrawal_is_taken_back(tmp_path: Path) -> None:
    provider = Rotating()
    store = TokenStore(tmp_path)

    def withdrawn_meanwhile() -> None:
        store.remove("t1")

    provider.before = withdrawn_meanwhile
    with served(provider.application) as url, workers(tmp_path, 1) as [one]:
        token = Token("t1", "mastodon", "h.example", secret=provider.grant("ada"))
        store.put(token)
        provider.expire("ada")
        assert "CredentialsError" in one.do("call", known(token), url)["error"]
    assert provider.taken_back == [provider.access["ada"]]
    assert store.all() == []


def test_a_busy_server_at_renewal_is_waited_for_and_retires_nothing(tmp_path: Path) -> None:
    provider = Rotating()
    with served(provider.application) as url, workers(tmp_path, 1) as [one]:
        token = Token("t1", "mastodon", "h.example", secret=provider.grant("ada"))
        TokenStore(tmp_path).put(token)
        for status in (429, 502, 503):
            provider.expire("ada")
            left = [web.Response(status=status, headers={"Retry-After": "0"}) for _ in range(3)]
            provider.before = lambda left=left: left.pop() if left else None
            answer = one.do("call", known(TokenStore(tmp_path).all()[0]), url)
            assert answer == {"ok": provider.access["ada"]}
        for status in (429, 502, 503):
            provider.expire("ada")
            provider.before = lambda status=status: web.Response(status=status)
            stays = one.do("call", known(TokenStore(tmp_path).all()[0]), url)["error"]
            assert stays.startswith("CallError") and f"http_{status}" in stays
        provider.before = lambda: None
        assert "ok" in one.do("call", known(TokenStore(tmp_path).all()[0]), url)


# -- any order of put, refresh and withdraw ---------------------------------------------------


class Store(RuleBasedStateMachine):
    """Three processes change one store; a dictionary here knows what must be in it."""

    tokens = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.stack = contextlib.ExitStack()
        self.home = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.provider = Rotating()
        self.url = self.stack.enter_context(served(self.provider.application))
        self.workers = self.stack.enter_context(workers(self.home, 3))
        self.store = TokenStore(self.home)
        self.here: set[str] = set()
        self.gone: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self.count = 0

    def teardown(self) -> None:
        self.stack.close()

    def fresh(self) -> str:
        self.count += 1
        return f"t{self.count}"

    @initialize(target=tokens)
    def first(self) -> str:
        return self.put_one(0)

    @rule(target=tokens, by=st.integers(0, 2))
    def put_one(self, by: int) -> str:
        name = self.fresh()
        done = self.workers[by].do("put", name, "h.example", self.provider.grant(name))
        assert done == {"ok": None}
        self.here.add(name)
        return name

    @rule(target=tokens)
    def three_friends_at_once(self) -> Any:
        names = [self.fresh() for _ in self.workers]
        for name, one in zip(names, self.workers, strict=True):
            one.start("give", name, self.provider.grant(name))
        for name, one in zip(names, self.workers, strict=True):
            self.keys[name] = one.end()["ok"]
        self.here |= set(names)
        return multiple(*names)

    @rule(name=tokens)
    def all_renew_one(self, name: str) -> None:
        stored = self.store.find(name)
        if stored is None:
            return
        before = self.provider.renewals
        self.provider.expire(name)
        for one in self.workers:
            one.start("call", known(stored), self.url)
        answers = [one.end() for one in self.workers]
        assert answers == [{"ok": self.provider.access[name]}] * 3
        assert self.provider.renewals == before + 1

    @rule(name=consumes(tokens), at=st.integers(0, 2))
    def withdraw_while_others_renew(self, name: str, at: int) -> None:
        stored = self.store.find(name)
        assert stored is not None
        self.gone[name] = stored.secret["refresh_token"]
        self.provider.expire(name)
        for n, one in enumerate(self.workers):
            one.start("withdraw", name) if n == at else one.start("call", known(stored), self.url)
        for one in self.workers:
            answer = one.end()
            assert "ok" in answer or "CredentialsError" in answer["error"], answer
        self.here.discard(name)

    @invariant()
    def the_store_holds_what_was_given_and_not_taken_back(self) -> None:
        assert {t.id for t in self.store.all()} == self.here
        assert not self.provider.revoked & self.here
        for token in self.store.all():
            assert token.secret["refresh_token"] == self.provider.refresh[token.id]
        open_ = {c["token"] for c in Consents(self.store).all() if not c["withdrawn_at"]}
        assert open_ == self.here & set(self.keys)
        raw = bytes_of(self.home)
        for name, secret in self.gone.items():
            assert secret.encode() not in raw
            assert self.provider.refresh[name].encode() not in raw


TestAnyOrder = Store.TestCase
TestAnyOrder.settings = settings(max_examples=2, stateful_step_count=8, deadline=None)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_any_order_at_length() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Store, settings=settings(max_examples=15, stateful_step_count=20, deadline=None)
    )
