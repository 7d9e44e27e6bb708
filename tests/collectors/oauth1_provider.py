"""An OAuth 1.0a provider built on oauthlib's own server side: ``python oauth1_provider.py``.

It speaks Flickr's paths: request_token, authorize (which agrees at once), access_token, and a
``rest`` endpoint that answers only to a request whose signature oauthlib accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, urlencode
from wsgiref.simple_server import WSGIRequestHandler, make_server

from oauthlib.oauth1 import RequestValidator, WebApplicationServer

KEY, SECRET = "key-of-the-application", "secret-of-the-application"


class Validator(RequestValidator):
    """Keeps everything in memory; one application, one user."""

    enforce_ssl = False
    dummy_client = dummy_request_token = dummy_access_token = "dummy"
    client_key_length = nonce_length = (3, 100)
    request_token_length = access_token_length = verifier_length = (3, 100)

    def __init__(self) -> None:
        super().__init__()
        self.requests: dict[str, dict[str, str]] = {}
        self.tokens: dict[str, str] = {}
        self.verifiers: dict[str, str] = {}
        self.seen: set[tuple[str, ...]] = set()

    @property
    def safe_characters(self) -> set[str]:
        return super().safe_characters | set("-._~")

    def get_client_secret(self, client_key: str, request: Any) -> str:
        return SECRET

    def validate_client_key(self, client_key: str, request: Any) -> bool:
        return client_key == KEY

    def validate_timestamp_and_nonce(self, client_key: str, timestamp: str, nonce: str,
                                     request: Any, request_token: str | None = None,
                                     access_token: str | None = None) -> bool:  # fmt: skip
        mark = (client_key, timestamp, nonce, request_token or "", access_token or "")
        fresh = mark not in self.seen
        self.seen.add(mark)
        return fresh

    def validate_requested_realms(self, client_key: str, realms: Any, request: Any) -> bool:
        return True

    def get_default_realms(self, client_key: str, request: Any) -> list[str]:
        return []

    def get_realms(self, token: str, request: Any) -> list[str]:
        return []

    def validate_realms(self, *arguments: Any, **named: Any) -> bool:
        return True

    def validate_redirect_uri(self, client_key: str, redirect_uri: str, request: Any) -> bool:
        return True

    def save_request_token(self, token: dict[str, str], request: Any) -> None:
        self.requests[token["oauth_token"]] = {**token, "callback": request.redirect_uri}

    def verify_request_token(self, token: str, request: Any) -> bool:
        return token in self.requests

    def get_redirect_uri(self, token: str, request: Any) -> str:
        return self.requests[token]["callback"]

    def save_verifier(self, token: str, verifier: dict[str, str], request: Any) -> None:
        self.verifiers[token] = verifier["oauth_verifier"]

    def validate_request_token(self, client_key: str, token: str, request: Any) -> bool:
        return token in self.requests

    def get_request_token_secret(self, client_key: str, token: str, request: Any) -> str:
        return self.requests[token]["oauth_token_secret"]

    def validate_verifier(self, client_key: str, token: str, verifier: str, request: Any) -> bool:
        return self.verifiers.get(token) == verifier

    def invalidate_request_token(self, client_key: str, request_token: str, request: Any) -> None:
        self.requests.pop(request_token)

    def save_access_token(self, token: dict[str, str], request: Any) -> None:
        self.tokens[token["oauth_token"]] = token["oauth_token_secret"]

    def validate_access_token(self, client_key: str, token: str, request: Any) -> bool:
        return token in self.tokens

    def get_access_token_secret(self, client_key: str, token: str, request: Any) -> str:
        return self.tokens[token]


VALIDATOR = Validator()
SERVER = WebApplicationServer(VALIDATOR)
PHOTOS = (
    '<?xml version="1.0" encoding="utf-8" ?><rsp stat="ok"><photos page="1" pages="1" perpage="500"'
    ' total="1"><photo id="53637883806" owner="34427469121@N01" ownername="G" title="t" '
    'dateupload="1712509720" count_faves="5" count_views="9" ispublic="1" tags="photo" '
    'url_l="https://h.example/1.jpg" height_l="10" width_l="20" media="photo" /></photos></rsp>'
)


def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    uri = f"http://{environ['HTTP_HOST']}{path}" + (f"?{query}" if query else "")
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length).decode()
    headers = {"Authorization": environ.get("HTTP_AUTHORIZATION", "")}
    if environ.get("CONTENT_TYPE"):
        headers["Content-Type"] = environ["CONTENT_TYPE"]
    method = environ["REQUEST_METHOD"]
    name = path.rstrip("/").rpartition("/")[2]
    if name == "authorize":
        token = parse_qs(query)["oauth_token"][0]
        made = SERVER.create_authorization_response(uri, credentials={"token": token})
    elif name == "rest":
        valid, _ = SERVER.validate_protected_resource_request(uri, method, body, headers)
        text = (
            PHOTOS if valid else '<rsp stat="fail"><err code="96" msg="Invalid signature"/></rsp>'
        )
        made = ({"Content-Type": "text/xml"}, text, 200)
    else:
        make = {"request_token": SERVER.create_request_token_response,
                "access_token": SERVER.create_access_token_response}[name]  # fmt: skip
        credentials = {"user_nsid": "1@N01"} if name == "access_token" else {}
        found, text, status = make(uri, method, body, headers, credentials=credentials)
        if credentials and status == 200 and "user_nsid" not in text:
            text = f"{text}&{urlencode(credentials)}"
        made = (found, text, status)
    found, text, status = made
    start(f"{status} X", [(k, v) for k, v in found.items() if k.lower() != "content-length"])
    return [(text or "").encode()]


class Silent(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


if __name__ == "__main__":
    with make_server("127.0.0.1", 0, app, handler_class=Silent) as server:
        print(server.server_port, flush=True)
        server.serve_forever()
