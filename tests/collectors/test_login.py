"""Logins against real servers on loopback; no secret appears anywhere but in the token file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner
from serving import free_port, served

from collectors import platforms
from collectors.platforms.base import Platform
from collectors.tokens.consent import Consents, Invitation, application, withdraw
from collectors.tokens.oauth import OOB, Listener, answers_of
from collectors.tokens.store import Token, TokenStore, from_environment, new_token
from infra.sandbox.server import Sandbox, running
from infra.sandbox.world import World, WorldSpec
from likewise.commands.auth import command as auth
from likewise.config import Source, render
from likewise.errors import CredentialsError

SECRET = "s3cr3t-0123456789abcdef"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running(World(WorldSpec(authors=30, posts=120))) as server:
        yield server


def mastodon(url: str) -> Platform:
    return platforms.get("mastodon")(Source(platform="mastodon", host=url))


def browser(url: str) -> requests.Session:
    """A browser that has this page open: it sends the page's origin with every form."""
    session = requests.Session()
    session.headers["Origin"] = url
    return session


def agree(address: str, *, answer: str = "yes") -> requests.Response:
    """What a person does in the browser: open the page, press the button, follow the way back."""
    page = requests.get(address, timeout=10).text
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page))
    return requests.post(address.partition("?")[0], data={**fields, "answer": answer}, timeout=10)


# -- flows ------------------------------------------------------------------------------------


def test_code_flow_with_pkce_and_a_loopback_callback(sandbox: Sandbox) -> None:
    adapter = mastodon(sandbox.url)
    with Listener() as listener:
        flow = adapter.login({}, listener.redirect_uri)
        address = flow.address(listener.redirect_uri)
        assert "code_challenge_method=S256" in address
        assert agree(address).text == "Done. You can close this page."
        token = flow.token(listener.wait(5))
    assert token.user
    value = token.secret["access_token"]
    assert sandbox.oauth.tokens[value].user is not None
    assert value not in repr(token) and value not in str(token.shown())


def test_a_person_who_refuses_gives_no_token(sandbox: Sandbox) -> None:
    adapter = mastodon(sandbox.url)
    with Listener() as listener:
        flow = adapter.login({}, listener.redirect_uri)
        agree(flow.address(listener.redirect_uri), answer="no")
        with pytest.raises(CredentialsError, match="refused"):
            listener.wait(5)


def test_an_answer_to_another_login_is_refused(sandbox: Sandbox) -> None:
    flow = mastodon(sandbox.url).login({}, OOB)
    flow.address(OOB)
    with pytest.raises(CredentialsError, match="another login"):
        flow.token({"code": "x", "state": "forged"})
    with pytest.raises(CredentialsError, match="gave no token"):
        flow.token({"code": "made-up"})


def test_pasted_answers() -> None:
    assert answers_of(" abc ") == {"code": "abc"}
    assert answers_of("http://127.0.0.1:1/callback?code=a&state=b") == {"code": "a", "state": "b"}


def test_app_token_and_revocation(sandbox: Sandbox, tmp_path: Path) -> None:
    adapter = mastodon(sandbox.url)
    token = adapter.app_token()
    assert sandbox.oauth.tokens[token.secret["access_token"]].user is None
    flow = adapter.login({}, OOB)
    shown = agree(flow.address(OOB)).text
    token = flow.token({"code": re.search("<code>(.+)</code>", shown)[1]})
    store = TokenStore(tmp_path)
    store.put(token)
    assert withdraw(adapter, store, token.id) is True
    assert store.all() == []
    known = sandbox.oauth.tokens.get(token.secret["access_token"])
    assert known is None or known.revoked


# -- the consent page -------------------------------------------------------------------------


@pytest.fixture
def invited(sandbox: Sandbox, tmp_path: Path) -> Iterator[tuple[str, TokenStore]]:
    """A consent page on loopback, and the store behind it."""
    store = TokenStore(tmp_path / "config")
    invitation = Invitation("Ada <script>", "a study of pictures")
    port = free_port()
    page = application(mastodon(sandbox.url), invitation, {}, f"http://127.0.0.1:{port}", store)
    with served(page, port) as url:
        yield url, store


def test_a_friend_agrees_and_takes_it_back(
    invited: tuple[str, TokenStore], sandbox: Sandbox
) -> None:
    url, store = invited
    friend = browser(url)
    asked = friend.get(url, timeout=10).text
    assert "a study of pictures" in asked
    assert "<script>" not in asked
    assert "did not agree" in friend.post(f"{url}/agree", timeout=10).text
    assert store.all() == []
    went = friend.post(f"{url}/agree", data={"agree": "yes"}, allow_redirects=False, timeout=10)
    address = went.headers["Location"]
    assert address.startswith(sandbox.url)
    page = friend.get(address, timeout=10).text
    form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page))
    form["answer"] = "yes"
    thanks = friend.post(address.partition("?")[0], data=form, timeout=10).text
    [token] = store.all()
    assert token.purpose == "a study of pictures"
    [consent] = Consents(store).all()
    assert consent["token"] == token.id and consent["given_at"] and not consent["withdrawn_at"]
    key = re.search(r'href="(/withdraw/[^"]+)"', thanks)[1]
    assert token.secret["access_token"] not in thanks
    assert "Taken back" in friend.post(url + key, timeout=10).text
    assert store.all() == []
    assert Consents(store).all()[0]["withdrawn_at"]
    assert friend.post(url + key, timeout=10).status_code == 404


def test_a_callback_without_a_login_stores_nothing(invited: tuple[str, TokenStore]) -> None:
    url, store = invited
    assert requests.get(f"{url}/callback?code=x&state=y", timeout=10).status_code == 400
    assert store.all() == []


# -- the store --------------------------------------------------------------------------------


def test_the_token_file_is_private_and_replaced_at_once(tmp_path: Path) -> None:
    store = TokenStore(tmp_path / "config")
    first = new_token("mastodon", "h.example", {"access_token": SECRET}, user="7")
    store.put(first)
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.all() == [first]
    store.put(new_token("mastodon", "other.example", {"access_token": "b"}))
    assert [t.id for t in store.of("mastodon", "h.example")] == [first.id]
    renewed = store.update(first, {"access_token": "fresh"}, None)
    assert store.of("mastodon", "h.example") == [renewed]
    store.remove(first.id)
    store.update(renewed, {"access_token": "late"}, None)
    assert store.of("mastodon", "h.example") == [], "a withdrawn token does not come back"
    assert [p.name for p in store.path.parent.iterdir()] == ["tokens.sqlite"]


def test_a_readable_or_damaged_token_file_is_refused(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    store.put(new_token("mastodon", "h", {"access_token": SECRET}))
    store.path.chmod(0o644)
    with pytest.raises(CredentialsError, match="other users") as caught:
        store.all()
    assert SECRET not in str(caught.value)
    store.path.chmod(0o600)
    store.path.write_text('{"tokens": [{"id": 1}]}', encoding="utf-8")
    with pytest.raises(CredentialsError, match="damaged"):
        store.all()


def test_tokens_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"LIKEWISE_X_TOKEN": "access_token"}
    assert from_environment("x", "h", names) is None
    monkeypatch.setenv("LIKEWISE_X_TOKEN", SECRET)
    token = from_environment("x", "h", names)
    assert isinstance(token, Token)
    assert token.secret == {"access_token": SECRET}
    assert SECRET not in repr(token) and SECRET not in token.id


# -- no secret anywhere -----------------------------------------------------------------------


def test_auth_command_lists_and_withdraws(sandbox: Sandbox, tmp_path: Path) -> None:
    run = CliRunner().invoke
    added = run(auth, ["add", "mastodon", "--host", sandbox.url, "--app-only", "--json"])
    assert added.exit_code == 0, added.output
    token = TokenStore().all()[0]
    listed = run(auth, ["list"])
    assert token.id in listed.output
    assert token.secret["access_token"] not in listed.output + added.output
    gone = run(auth, ["withdraw", token.id])
    assert gone.exit_code == 0, gone.output
    assert TokenStore().all() == []


def test_no_secret_is_ever_written(sandbox: Sandbox, tmp_path: Path) -> None:
    """A token that works, one that is refused, a crash: grep everything the program wrote."""
    home, folder = tmp_path / "home", tmp_path / "study"
    folder.mkdir()
    good = sandbox.new_token(user=1)
    store = TokenStore(home)
    store.put(new_token("mastodon", sandbox.url.removeprefix("http://"), {"access_token": good}))
    refused = new_token("mastodon", sandbox.url.removeprefix("http://"), {"access_token": SECRET})
    store.put(refused)
    source = {"platform": "mastodon", "host": sandbox.url, "permission": "x", "tags": ["photo"]}
    toml = folder / "likewise.toml"
    toml.write_text(render({"collect": {"sources": [source], "keep_raw": True}}), encoding="utf-8")
    environment = {
        **os.environ,
        "LIKEWISE_CONFIG_HOME": str(home),
        "LIKEWISE_MASTODON_TOKEN": f"{SECRET}-env",
        "PYTHONASYNCIODEBUG": "1",
        "LIKEWISE_DEBUG": "1",
    }
    written = b""
    main = "from likewise.cli import main; main()"
    verbs = ("collect STUDY", "tokens STUDY", "tokens STUDY --json", "auth list", "auth withdraw x")
    for verb in verbs:
        words = verb.replace("STUDY", str(folder)).split()
        call = [sys.executable, "-c", main, *words]
        done = subprocess.run(call, env=environment, capture_output=True, timeout=120)
        written += done.stdout + done.stderr
    assert refused.id.encode() in written, "the refused token is named"
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert any(p.suffix == ".gz" for p in files)
    written += b"".join(_plain(p) for p in files)
    assert SECRET.encode() not in written
    assert good.encode() not in written
    assert store.all()


def _plain(path: Path) -> bytes:
    import gzip

    raw = path.read_bytes()
    return gzip.decompress(raw) if path.suffix == ".gz" else raw
