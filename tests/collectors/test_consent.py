"""The consent page: what can be forged, lured away or misunderstood."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from provider import Provider
from serving import free_port, served

from collectors import platforms
from collectors.platforms.base import Platform
from collectors.tokens.consent import application
from collectors.tokens.consents import Consents, Invitation
from collectors.tokens.oauth import OOB, Flow, Listener, check_scope
from collectors.tokens.store import TokenStore, new_token
from collectors.tokens.web import check_encrypted
from likewise.commands.auth import command as auth
from likewise.config import Source
from likewise.errors import CredentialsError

INVITATION = Invitation("Ada", "a study")


def adapter(name: str, url: str) -> Platform:
    return platforms.get(name)(Source(platform=name, host=url))


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    with served(made.application) as url:
        made.url = url
        yield made


class Page:
    """A consent page on loopback, and browsers that visit it."""

    def __init__(self, url: str, store: TokenStore) -> None:
        self.url = url
        self.store = store

    def browser(self) -> requests.Session:
        session = requests.Session()
        session.headers["Origin"] = self.url
        return session

    def start(self, browser: requests.Session) -> dict[str, str]:
        """Press the button and agree at the provider; the answer that would come back."""
        went = browser.post(
            f"{self.url}/agree", data={"agree": "yes"}, allow_redirects=False, timeout=30
        )
        assert went.status_code == 303, went.text
        back = requests.get(went.headers["Location"], allow_redirects=False, timeout=10)
        return {k: v[0] for k, v in parse_qs(urlsplit(back.headers["Location"]).query).items()}

    def finish(self, browser: requests.Session, answer: Any) -> requests.Response:
        return browser.get(f"{self.url}/callback", params=answer, timeout=30)


@pytest.fixture
def page(provider: Provider, tmp_path: Path) -> Iterator[Page]:
    store = TokenStore(tmp_path / "config")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    made = application(adapter("mastodon", provider.url), INVITATION, {}, url, store)
    with served(made, port):
        yield Page(url, store)


# -- state ------------------------------------------------------------------------------------


def test_a_login_ends_once_in_the_browser_that_started_it(page: Page) -> None:
    friend = page.browser()
    answer = page.start(friend)
    assert page.finish(friend, answer).status_code == 200
    assert len(page.store.all()) == len(Consents(page.store).all()) == 1
    assert page.finish(friend, answer).status_code == 400, "an answer is good once"
    assert len(page.store.all()) == 1


FORGED = {
    "no state": lambda a: {"code": a["code"]},
    "an empty state": lambda a: {**a, "state": ""},
    "another state": lambda a: {**a, "state": "x" * len(a["state"])},
    "a state that is not ASCII": lambda a: {**a, "state": "é" * 30},
    "a state with a null": lambda a: {**a, "state": a["state"] + "\0"},
    "the state twice": lambda a: [("state", a["state"]), ("state", a["state"]), ("code", "c")],
    "an error without state": lambda a: {"error": "access_denied"},
    "nothing": lambda a: {},
}


@pytest.mark.parametrize("name", FORGED)
def test_an_answer_without_the_right_state_is_refused(page: Page, name: str) -> None:
    friend = page.browser()
    answer = page.start(friend)
    assert page.finish(friend, FORGED[name](answer)).status_code == 400
    assert page.store.all() == []
    assert page.finish(friend, answer).status_code == 200, "the login under way is not harmed"


def test_another_browser_cannot_finish_a_login(page: Page) -> None:
    friend, attacker = page.browser(), page.browser()
    answer, lure = page.start(friend), page.start(attacker)
    assert page.finish(attacker, answer).status_code == 400
    assert page.finish(friend, lure).status_code == 400, "no login into the attacker's account"
    assert page.finish(requests.Session(), answer).status_code == 400
    assert page.store.all() == []
    assert page.finish(friend, answer).status_code == 200
    assert page.finish(attacker, lure).status_code == 200


def test_two_logins_in_one_browser_do_not_disturb_each_other(page: Page) -> None:
    friend = page.browser()
    first, second = page.start(friend), page.start(friend)
    assert page.finish(friend, first).status_code == 200
    assert page.finish(friend, second).status_code == 200


def test_who_says_no_is_believed(page: Page) -> None:
    friend = page.browser()
    answer = page.start(friend)
    said = page.finish(friend, {"error": "access_denied", "state": answer["state"]})
    assert said.status_code == 200 and "Nothing was stored" in said.text
    assert page.store.all() == []


def test_an_old_login_is_refused(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectors.tokens.consent.LIFE_S", -1)
    friend = page.browser()
    answer = page.start(friend)
    cookies = "; ".join(f"{c.name}={c.value}" for c in friend.cookies)
    assert page.finish(friend, answer).status_code == 400, cookies
    assert page.store.all() == []


def test_twelve_friends_at_once_and_one_application(page: Page, provider: Provider) -> None:
    def friend(_: int) -> int:
        browser = page.browser()
        return page.finish(browser, page.start(browser)).status_code

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(friend, range(12))) == [200] * 12
    assert len(page.store.all()) == len(Consents(page.store).all()) == 12
    assert len({t.id for t in page.store.all()}) == 12
    assert len(provider.applications) == 1, "one registered application for all"
    provider.applications.clear()
    assert friend(0) == 200
    assert len(provider.applications) == 1, "a server that forgot it is asked for another one"


# -- any callback -----------------------------------------------------------------------------

NAMES = st.sampled_from(["state", "code", "error", "error_description", "oauth_token", "scope"])
VALUES = st.one_of(
    st.sampled_from(["", "STATE", "CODE", "access_denied"]),
    st.text(max_size=20),
    st.binary(max_size=8),
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=5), st.sampled_from(["own", "none", "foreign"]))
@settings(max_examples=60, deadline=None)
def test_any_callback(pairs: list[tuple[str, Any]], cookie: str) -> None:
    """Whatever comes back: a token only for state and cookie of one login, else 400; never 500."""
    asyncio.run(_any_callback(pairs, cookie))


class Fake(platforms.get("mastodon")):  # type: ignore[misc]
    """Logins without a network: every code but ``CODE`` is refused."""

    def login(self, answers: Any, redirect_uri: str) -> Any:
        from collectors.tokens.oauth import CodeFlow

        class Quick(CodeFlow):
            def _fetch(self, code: str | None) -> dict[str, str]:
                if code != "CODE":
                    raise ValueError("refused")
                return {"access_token": "a", "scope": "read"}

        make = lambda secret: new_token("mastodon", "h.example", secret)  # noqa: E731
        site = "https://h.example"
        return Quick(
            f"{site}/oauth/authorize", f"{site}/oauth/token", "id", "hush-hush", "read", make
        )


@contextlib.asynccontextmanager
async def quick_page(home: Path) -> AsyncIterator[tuple[TestClient[Any, Any], TokenStore, str]]:
    store = TokenStore(home)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    platform = Fake(Source(platform="mastodon", host="https://h.example"))
    app = application(platform, INVITATION, {}, url, store)
    async with TestServer(app, port=port) as server, TestClient(server) as client:
        yield client, store, url


async def _any_callback(pairs: list[tuple[str, Any]], cookie: str) -> None:
    import tempfile
    from urllib.parse import quote_plus

    with tempfile.TemporaryDirectory() as home:
        async with quick_page(Path(home)) as (client, store, url):
            went = await client.post(
                "/agree", data={"agree": "yes"}, headers={"Origin": url}, allow_redirects=False
            )
            state = parse_qs(urlsplit(went.headers["Location"]).query)["state"][0]
            [own] = went.cookies.values()
            client.session.cookie_jar.clear()
            jar = {"own": {own.key: own.value}, "none": {}, "foreign": {own.key: "x" * 32}}[cookie]
            given_ = [(n, state if v == "STATE" else v) for n, v in pairs]
            query = "&".join(f"{n}={quote_plus(v)}" for n, v in given_)
            head = {"Cookie": "; ".join(f"{k}={v}" for k, v in jar.items())} if jar else {}
            answer = await client.get(f"/callback?{query}", headers=head)
            mine = [v for n, v in given_ if n == "state"] == [state] and cookie == "own"
            refused = any(n == "error" for n, _ in given_)
            codes = [v for n, v in given_ if n == "code"]
            once = len({n for n, _ in given_}) == len(given_)
            good = mine and not refused and codes == ["CODE"] and once
            assert answer.status == (200 if good or (mine and refused) else 400), given_
            assert len(store.all()) == len(Consents(store).all()) == int(good)


async def test_an_oauth1_login_is_bound_by_its_request_token(tmp_path: Path) -> None:
    class Flickr1(Flow):
        state_name = "oauth_token"

        def address(self, redirect_uri: str) -> str:
            self.state = "request-token"
            return f"https://h.example/authorize?oauth_token={self.state}"

        def token(self, answers: Any) -> Any:
            return new_token("flickr", "h.example", {"oauth_token": answers["oauth_verifier"]})

    platform = platforms.get("flickr")(Source(platform="flickr", host="https://h.example"))
    platform.login = lambda *_: Flickr1()  # type: ignore[method-assign]
    store = TokenStore(tmp_path)
    url = f"http://127.0.0.1:{(port := free_port())}"
    own = {"api_key": "k", "api_secret": "s"}
    app = application(platform, INVITATION, own, url, store)
    async with TestServer(app, port=port) as server, TestClient(server) as client:
        await client.post("/agree", data={"agree": "yes"}, headers={"Origin": url},
                          allow_redirects=False)  # fmt: skip
        for query in ("", "?oauth_verifier=v", "?oauth_token=other&oauth_verifier=v"):
            assert (await client.get(f"/callback{query}")).status == 400
        right = "/callback?oauth_token=request-token&oauth_verifier=v"
        assert (await client.get(right)).status == 200
        assert (await client.get(right)).status == 400
    assert len(store.all()) == 1


# -- Origin and Host --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin", [None, "null", "https://evil.example", "http://127.0.0.1", "http://localhost:1", ""]
)
def test_forms_from_elsewhere_are_refused(page: Page, origin: str | None) -> None:
    friend = page.browser()
    page.finish(friend, page.start(friend))
    stranger = requests.Session()
    if origin is not None:
        stranger.headers["Origin"] = origin
    for path in ("/agree", "/withdraw/anything"):
        sent = stranger.post(page.url + path, data={"agree": "yes"}, timeout=10)
        assert sent.status_code == 403, path
    assert len(page.store.all()) == 1


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "", "a b"])
def test_other_names_in_host_are_refused(page: Page, host: str) -> None:
    answer = requests.get(page.url, headers={"Host": host}, timeout=10)
    assert answer.status_code == 400
    assert "a study" not in answer.text


async def test_the_page_behind_a_proxy_knows_both_names(tmp_path: Path) -> None:
    platform = Fake(Source(platform="mastodon", host="https://h.example"))
    app = application(
        platform, INVITATION, {}, "https://Ask.Example/", TokenStore(tmp_path),
        hosts=["127.0.0.1:8099"],
    )  # fmt: skip
    async with TestServer(app) as server, TestClient(server) as client:
        for host, status in (("ask.example", 200), ("127.0.0.1:8099", 200), ("x.example", 400)):
            assert (await client.get("/", headers={"Host": host})).status == status
        went = await client.post(
            "/agree", data={"agree": "yes"}, allow_redirects=False,
            headers={"Host": "ask.example", "Origin": "https://ask.example"},
        )  # fmt: skip
        assert went.status == 303
        [cookie] = went.cookies.values()
        assert cookie.key.startswith("__Host-") and cookie["secure"] and cookie["httponly"]
        assert (cookie["path"], cookie["domain"], cookie["samesite"]) == ("/", "", "Lax")
        assert went.headers["Referrer-Policy"] == "same-origin"


# -- scopes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("granted", "good"),
    [
        ("read", True),
        ("read:accounts read:statuses", True),
        ("read write follow", True),
        ("read:statuses,read:accounts", True),
        ("read:statuses", False),
        ("write", False),
        ("", False),
        ("readable", False),
        ("profile", False),
    ],
)
def test_a_scope_that_covers_ours_is_accepted_and_another_is_said(
    page: Page, provider: Provider, granted: str, good: bool
) -> None:
    provider.scope = granted
    friend = page.browser()
    answer = page.finish(friend, page.start(friend))
    assert answer.status_code == (200 if good else 400)
    assert len(page.store.all()) == int(good)
    if not good:
        assert "does not cover" in answer.text
    asks_app = lambda: adapter("mastodon", provider.url).app_token()  # noqa: E731
    with contextlib.nullcontext() if good else pytest.raises(CredentialsError, match="cover"):
        asks_app()


@given(
    st.sets(st.sampled_from(["read", "write", "read:a", "read:b", "write:a"]), min_size=1),
    st.sets(st.sampled_from(["read:a", "read:b", "write:a"]), min_size=1),
)
def test_what_a_scope_covers(granted: set[str], asked: set[str]) -> None:
    covers = all(one in granted or one.split(":")[0] in granted for one in asked)
    with contextlib.nullcontext() if covers else pytest.raises(CredentialsError):
        check_scope(" ".join(granted), " ".join(asked), "https://h.example")
    check_scope(None, " ".join(asked), "https://h.example")


# -- where secrets go -------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("path", ["/api/v1/apps", "/oauth/token"])
def test_a_secret_does_not_follow_a_redirect(provider: Provider, path: str, status: int) -> None:
    away = Provider()
    with served(away.application) as elsewhere:
        provider.spoil[path] = lambda: web.Response(
            status=status, headers={"Location": f"{elsewhere}{path}"}
        )
        with pytest.raises(CredentialsError, match=f"sends elsewhere .HTTP {status}"):
            adapter("mastodon", provider.url).app_token()
        flow_error = contextlib.suppress(CredentialsError)
        with flow_error:
            flow = adapter("mastodon", provider.url).login({}, OOB)
            flow.address(OOB)
            flow.token({"code": "c"})
    assert away.forms == [], "nothing was sent there"


def test_a_password_does_not_follow_a_redirect(provider: Provider) -> None:
    away = Provider()
    with served(away.application) as elsewhere:
        path = "/xrpc/com.atproto.server.createSession"
        provider.spoil[path] = lambda: web.Response(
            status=307, headers={"Location": elsewhere + path}
        )
        flow = adapter("bluesky", provider.url).login(
            {"identifier": "ada.example", "app_password": "abcd-efgh-ijkl-mnop"}, OOB
        )
        with pytest.raises(CredentialsError, match="sends elsewhere") as caught:
            flow.token({"identifier": "ada.example", "app_password": "abcd-efgh-ijkl-mnop"})
    assert "abcd" not in str(caught.value)
    assert away.forms == []


@pytest.mark.parametrize(
    ("address", "fine"),
    [
        ("https://h.example", True),
        ("http://localhost:3000", True),
        ("http://127.0.0.1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:8080", True),
        ("http://h.example", False),
        ("http://localhost.evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("http://0.0.0.0", False),
        ("http://192.168.1.7", False),
        ("http://user@127.0.0.1@evil.example", False),
        ("ftp://h.example", False),
    ],
)
def test_secrets_go_over_encrypted_lines_or_stay_on_this_machine(address: str, fine: bool) -> None:
    with contextlib.nullcontext() if fine else pytest.raises(CredentialsError, match="encrypted"):
        check_encrypted(address)


@pytest.mark.parametrize("words", [["mastodon"], ["mastodon", "--app-only"], ["bluesky"]])
def test_auth_add_refuses_plain_http(words: list[str]) -> None:
    from likewise.cli import guarded

    line = ["add", *words, "--host", "http://far.example"]
    run = CliRunner().invoke(auth, line, input="name\nsecret\n")
    assert isinstance(run.exception, CredentialsError) and "not encrypted" in str(run.exception)
    assert guarded(lambda: auth.main(line, standalone_mode=False)) == 4
    assert TokenStore().all() == []


# -- a busy server, and a server that speaks --------------------------------------------------


@pytest.mark.parametrize("status", [429, 502, 503])
def test_a_busy_login_endpoint_is_asked_again(
    provider: Provider, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    sleep, me = time.sleep, threading.current_thread()

    def noted(seconds: float) -> None:  # of this thread: others of the process sleep, too
        waits.append(seconds) if threading.current_thread() is me else sleep(seconds)

    monkeypatch.setattr("urllib3.util.retry.time.sleep", noted)
    left = dict.fromkeys(("/api/v1/apps", "/oauth/token"), 2)

    def busy(path: str) -> web.Response | None:
        left[path] -= 1
        if left[path] < 0:
            return None
        return web.Response(status=status, headers={"Retry-After": "7"})

    for path in left:
        provider.spoil[path] = lambda path=path: busy(path)
    assert adapter("mastodon", provider.url).app_token().secret["access_token"]
    assert waits == [7, 7, 7, 7]


def test_a_login_endpoint_that_stays_busy_is_named(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib3.util.retry.time.sleep", lambda _: None)
    provider.spoil["/oauth/token"] = lambda: web.Response(status=503)
    with pytest.raises(CredentialsError, match="HTTP 503"):
        adapter("mastodon", provider.url).app_token()


def test_the_servers_own_sentence_is_told_without_the_secret(provider: Provider) -> None:
    def answer() -> web.Response:
        secret = provider.forms[-1][1]["client_secret"]
        words = f"No such client; you sent {secret}, and code c0de-c0de"
        return web.json_response(
            {"error": "invalid_client", "error_description": words}, status=401
        )

    provider.spoil["/oauth/token"] = answer
    flow = adapter("mastodon", provider.url).login({}, OOB)
    flow.address(OOB)
    with pytest.raises(CredentialsError) as caught:
        flow.token({"code": "c0de-c0de"})
    told = str(caught.value)
    assert "No such client; you sent (removed), and code (removed)" in told
    assert flow.client_secret not in told  # type: ignore[attr-defined]
    assert "c0de" not in told


def test_the_loopback_callback_asks_for_the_state_too(provider: Provider) -> None:
    with Listener() as listener:
        flow = adapter("mastodon", provider.url).login({}, listener.redirect_uri)
        flow.address(listener.redirect_uri)
        for answer in ({"code": "c"}, {"code": "c", "state": ""}, {"code": "c", "state": "é"}):
            with pytest.raises(CredentialsError, match="another login"):
                flow.token(answer)


def test_the_loopback_callback_waits_for_its_own_answer() -> None:
    with Listener() as listener:
        listener.expected = ("state", "mine")
        for query in ("code=x", "code=x&state=", "error=access_denied&state=other", "state=mine"):
            answer = requests.get(f"{listener.redirect_uri}?{query}", timeout=10)
            assert answer.status_code == 404
        assert requests.get(f"{listener.redirect_uri}?code=c&state=mine", timeout=10).ok
        assert listener.wait(5) == {"code": "c", "state": "mine"}


@pytest.mark.parametrize(
    ("told", "waited"), [("86400", 600), ("5", 5), ("-3", 0), ("soon", 0), ("", 0)]
)
def test_what_a_login_endpoint_asks_for_is_bounded(
    provider: Provider, told: str, waited: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    sleep, me = time.sleep, threading.current_thread()

    def noted(seconds: float) -> None:  # of this thread: others of the process sleep, too
        waits.append(seconds) if threading.current_thread() is me else sleep(seconds)

    monkeypatch.setattr("urllib3.util.retry.time.sleep", noted)
    busy = [web.Response(status=429, headers={"Retry-After": told})]
    provider.spoil["/oauth/token"] = lambda: busy.pop() if busy else None
    adapter("mastodon", provider.url).app_token()
    assert sum(waits) == waited


# -- what the page says -----------------------------------------------------------------------


def test_the_bluesky_page_tells_what_an_app_password_can_do(tmp_path: Path) -> None:
    sessions = web.Application()
    password, ended = "abcd-efgh-ijkl-mnop", []

    async def create(request: web.Request) -> web.Response:
        assert (await request.json())["password"] == password
        return web.json_response({"accessJwt": "a", "refreshJwt": "r" * 40, "did": "did:plc:ada"})

    async def delete(request: web.Request) -> web.Response:
        ended.append(request.headers["Authorization"])
        return web.json_response({})

    sessions.router.add_post("/xrpc/com.atproto.server.createSession", create)
    sessions.router.add_post("/xrpc/com.atproto.server.deleteSession", delete)
    store = TokenStore(tmp_path)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        served(sessions) as host,
        served(application(adapter("bluesky", host), INVITATION, {}, url, store), port),
    ):
        friend = requests.Session()
        asked = friend.get(url, timeout=10).text
        assert "can do nearly everything" in asked and "post, follow, delete" in asked
        assert "can not post" not in asked and "cannot post" not in asked
        form = {"agree": "yes", "identifier": "ada.example", "app_password": password}
        thanks = friend.post(f"{url}/agree", data=form, headers={"Origin": url}, timeout=30).text
        key = re.search(r'href="(/withdraw/[^"]+)"', thanks)[1]
        gone = friend.post(url + key, headers={"Origin": url}, timeout=30).text
    assert "delete the app password" in gone and "App passwords" in gone
    assert ended == [f"Bearer {'r' * 40}"]
    assert store.all() == []


@pytest.mark.parametrize("name", ["mastodon", "pixelfed", "bluesky", "flickr", "instagram"])
def test_every_page_says_what_the_permission_allows(name: str) -> None:
    assert len(adapter(name, "https://h.example").grants) > 60


@pytest.mark.slow
def test_a_real_browser_can_agree_and_take_back(page: Page) -> None:
    """Chromium sends ``Origin: null`` where a page forbids all referrers; this one must not."""
    sync_api = pytest.importorskip("playwright.sync_api")
    path = Path("/usr/bin/chromium")
    if not path.exists():
        pytest.skip("no chromium here")
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(
            executable_path=str(path), args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        tab = chromium.new_page()
        tab.goto(page.url)
        tab.check("input[name=agree]")
        tab.click("button")
        tab.wait_for_url("**/callback**")
        assert "Thank you" in tab.inner_text("h1")
        assert len(page.store.all()) == 1
        tab.click("a")
        tab.click("button")
        assert "Taken back" in tab.inner_text("h1")
        chromium.close()
    assert page.store.all() == []
