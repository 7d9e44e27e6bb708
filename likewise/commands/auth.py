"""``likewise auth``: tokens that people gave."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from collectors import platforms
from collectors.tokens.consents import Consents
from collectors.tokens.consents import withdraw as take_back
from collectors.tokens.oauth import OOB, Listener, answers_of
from collectors.tokens.store import TokenStore
from collectors.tokens.web import check_encrypted, is_loopback
from likewise.commands._common import emit, json_option
from likewise.config import Source
from likewise.errors import UsageError

if TYPE_CHECKING:
    from collectors.platforms.base import Platform

LOGIN_S = 300.0

host_option = click.option(
    "--host", metavar="URL", help="Server, e.g. https://pixelfed.example; needed by the fediverse."
)


@click.group("auth", epilog="Example: likewise auth add mastodon --host https://example.social")
def command() -> None:
    """Add, list and withdraw the tokens that people gave."""


@command.command("add", epilog="Example: likewise auth add bluesky")
@click.argument("platform")
@host_option
@click.option("--paste", is_flag=True, help="Paste a code instead of waiting for the browser.")
@click.option("--app-only", is_flag=True, help="A token of the application itself, of no person.")
@click.option("--port", default=0, help="Port of the loopback callback; 0 takes a free one.")
@click.option("--purpose", default="", help="What the token is for; shown by `auth list`.")
@json_option
def add(
    platform: str,
    host: str | None,
    paste: bool,
    app_only: bool,
    port: int,
    purpose: str,
    as_json: bool,
) -> None:
    """Log in at a platform and keep the token in the configuration folder (mode 0600).

    A server that is busy (429, 502, 503) is waited for; a redirect is not followed.
    """
    adapter = _adapter(platform, host)
    token = adapter.app_token() if app_only else _login(adapter, paste=paste, port=port)
    token = replace(token, purpose=purpose or token.purpose)
    store = TokenStore()
    store.put(token)
    text = f"token {token.id} for {token.host} stands in {store.path}"
    emit(token.shown(), as_json=as_json, text=text)


@command.command("list", epilog="Example: likewise auth list")
@json_option
def show(as_json: bool) -> None:
    """Show every token without its secret, and every consent."""
    store = TokenStore()
    tokens = [token.shown() for token in store.all()]
    consents = [{k: v for k, v in c.items() if k != "key"} for c in Consents(store).all()]
    lines = [
        f"{t['id']}  {t['platform']:<10} {t['host']:<28} {t['user'] or '-':<20} {t['purpose']}"
        for t in tokens
    ]
    lines += [
        f"consent for {c['token']} given {c['given_at']}"
        + (f", withdrawn {c['withdrawn_at']}" if c["withdrawn_at"] else "")
        for c in consents
    ]
    text = "\n".join(lines) or "no tokens yet: likewise auth add PLATFORM --host URL"
    emit({"tokens": tokens, "consents": consents}, as_json=as_json, text=text)


@command.command("withdraw", epilog="Example: likewise auth withdraw 1a2b3c4d")
@click.argument("token_id")
@json_option
def withdraw(token_id: str, as_json: bool) -> None:
    """Delete a token here and revoke it at its platform."""
    store = TokenStore()
    found = [token for token in store.all() if token.id == token_id]
    if not found:
        store.remove(token_id)
    host = found[0].host
    adapter = _adapter(found[0].platform, host if not _loopback(host) else f"http://{host}")
    told = take_back(adapter, store, token_id)
    usual = f"{host} could not be told: end the permission in your settings there"
    left = "" if told else adapter.left_to_do or usual
    at = f"and revoked at {host}" if told else f"here. {left}"
    result = {"withdrawn": token_id, "revoked": told, "left_to_do": left}
    emit(result, as_json=as_json, text=f"token {token_id} is deleted {at}")


@command.command("invite", epilog="Example: likewise auth invite mastodon --host https://x.example")
@click.argument("platform")
@host_option
@click.option("--who", prompt="Your name, as your friends know it", help="Who asks.")
@click.option("--purpose", prompt="What the data is for", help="What the data is for.")
@click.option("--bind", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8099, show_default=True, help="Port to listen on.")
@click.option("--address", help="Public address of the page, behind your own TLS proxy.")
def invite(
    platform: str,
    host: str | None,
    who: str,
    purpose: str,
    bind: str,
    port: int,
    address: str | None,
) -> None:
    """Serve a page on which friends log in, see what for, and can withdraw."""
    from aiohttp import web

    from collectors.tokens.consent import Invitation, application

    adapter = _adapter(platform, host)
    own = {"api_key", "api_secret", "app_id", "app_secret"}
    answers = _ask(adapter, [q.name for q in adapter.questions if q.name in own])
    public = address or f"http://{bind}:{port}"
    check_encrypted(public, "put it behind a TLS proxy: --address https://ask.your.example")
    own_names = {f"{bind}:{port}", f"localhost:{port}"} if _loopback(bind) else {f"{bind}:{port}"}
    page = application(
        adapter, Invitation(who, purpose), answers, public, TokenStore(), hosts=own_names
    )
    click.echo(f"the invitation stands at {public} (Ctrl-C ends it)", err=True)
    web.run_app(page, host=bind, port=port, access_log=None, print=None)


def _adapter(name: str, host: str | None) -> Platform:
    cls = platforms.get(name)
    given = host or cls.usual_host
    if not given:
        raise UsageError(f"{name} has many servers: which one?", hint="add --host URL")
    adapter = cls(Source(platform=name, host=given))
    if not adapter.offline:
        check_encrypted(adapter.base)
    return adapter


def _loopback(host: str) -> bool:
    return is_loopback(urlsplit(f"//{host}").hostname)


def _ask(adapter: Platform, names: list[str]) -> dict[str, str]:
    asked = [q for q in adapter.questions if q.name in names]
    return {q.name: click.prompt(q.prompt, hide_input=q.hidden, err=True) for q in asked}


def _login(adapter: Platform, *, paste: bool, port: int) -> Any:
    answers = _ask(adapter, [q.name for q in adapter.questions])
    if paste:
        flow = adapter.login(answers, OOB)
        address = flow.address(OOB)
        if address is None:
            return flow.token(answers)
        click.echo(f"open this address, agree, and copy the code:\n{address}", err=True)
        return flow.token(answers_of(click.prompt("Code", hide_input=True, err=True)))
    with Listener(port) as listener:
        flow = adapter.login(answers, listener.redirect_uri)
        address = flow.address(listener.redirect_uri)
        if address is None:
            return flow.token(answers)
        listener.expected = (flow.state_name, flow.state)
        click.echo(f"open this address and agree:\n{address}", err=True)
        click.launch(address)
        return flow.token(listener.wait(LOGIN_S))
