"""People on Bluesky's own servers, who post, like, follow and delete: an independent client."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import io
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import requests
from PIL import Image

TIMEOUT_S = 30.0


class Network:
    """Addresses and secrets of the running servers, as ``infra.atproto`` tells them."""

    def __init__(self, about: dict[str, str]) -> None:
        self.pds = about["pds"]
        self.appview = about["appview"]
        self.host = self.pds.removeprefix("http://")
        self.uncounted = {"x-ratelimit-bypass": about["bypass"]}
        self._key = about["jwt_secret"].encode()

    def call(
        self, method: str, name: str, token: str | None = None, **words: Any
    ) -> requests.Response:
        """One call that no rate limit counts; the answer, whatever its status."""
        headers = dict(self.uncounted) | words.pop("headers", {})
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        url = f"{self.pds}/xrpc/{name}"
        return requests.request(method, url, headers=headers, timeout=TIMEOUT_S, **words)

    def join(self, name: str) -> Person:
        """A new account."""
        form = {"handle": f"{name}.test", "email": f"{name}@example.org", "password": "secret-1"}
        return Person(self, fine(self.call("POST", "com.atproto.server.createAccount", json=form)))

    def aged(self, jwt: str) -> str:
        """The same token, signed anew by the server's own key, but expired an hour ago."""
        head, claims, _ = jwt.split(".")
        told = json.loads(base64.urlsafe_b64decode(claims + "=="))
        told |= {"iat": int(time.time()) - 10_800, "exp": int(time.time()) - 3_600}
        body = f"{head}.{_coded(json.dumps(told).encode())}"
        return f"{body}.{_coded(hmac.digest(self._key, body.encode(), hashlib.sha256))}"


class Person:
    """One account and what it does."""

    def __init__(self, network: Network, session: dict[str, str]) -> None:
        self.network = network
        self.did, self.handle = session["did"], session["handle"]
        self.access, self.refresh = session["accessJwt"], session["refreshJwt"]

    def login(self) -> tuple[str, str]:
        """Tokens of a session of its own: access and refresh."""
        form = {"identifier": self.handle, "password": "secret-1"}
        made = fine(self.network.call("POST", "com.atproto.server.createSession", json=form))
        return made["accessJwt"], made["refreshJwt"]

    def app_password(self) -> str:
        """An app password."""
        name = "com.atproto.server.createAppPassword"
        made = fine(self.network.call("POST", name, self.access, json={"name": "likewise"}))
        return str(made["password"])

    def post(self, text: str, tag: str, pictures: list[bytes] = []) -> dict[str, str]:  # noqa: B006
        """A post with a hashtag and pictures; its uri and cid."""
        said = f"{text} #{tag}"
        start = len(said.encode()) - len(tag.encode()) - 1
        feature = {"$type": "app.bsky.richtext.facet#tag", "tag": tag}
        span = {"byteStart": start, "byteEnd": len(said.encode())}
        record: dict[str, Any] = {
            "$type": "app.bsky.feed.post",
            "text": said,
            "langs": ["en"],
            "facets": [{"index": span, "features": [feature]}],
        }
        if pictures:
            images = [{"image": self.upload(one), "alt": "a test picture"} for one in pictures]
            record["embed"] = {"$type": "app.bsky.embed.images", "images": images}
        return self.write("app.bsky.feed.post", record)

    def upload(self, picture: bytes) -> Any:
        """Upload a JPEG; the reference to put into a record."""
        words = {"data": picture, "headers": {"Content-Type": "image/jpeg"}}
        made = self.network.call("POST", "com.atproto.repo.uploadBlob", self.access, **words)
        return fine(made)["blob"]

    def like(self, post: dict[str, str]) -> None:
        subject = {"uri": post["uri"], "cid": post["cid"]}
        self.write("app.bsky.feed.like", {"subject": subject})

    def follow(self, other: Person) -> None:
        self.write("app.bsky.graph.follow", {"subject": other.did})

    def ask_not_to_be_shown(self) -> None:
        """Label oneself as shown to logged-in people only."""
        values = [{"val": "!no-unauthenticated"}]
        labels = {"$type": "com.atproto.label.defs#selfLabels", "values": values}
        self.write("app.bsky.actor.profile", {"labels": labels}, rkey="self")

    def write(self, collection: str, record: dict[str, Any], **words: str) -> dict[str, str]:
        """Create a record; its uri and cid."""
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        whole = {"$type": collection, "createdAt": now, **record}
        form = {"repo": self.did, "collection": collection, "record": whole, **words}
        name = "com.atproto.repo.createRecord"
        return dict(fine(self.network.call("POST", name, self.access, json=form)))

    def delete(self, post: dict[str, str]) -> None:
        form = {"repo": self.did, "collection": "app.bsky.feed.post"}
        form["rkey"] = post["uri"].rpartition("/")[2]
        fine(self.network.call("POST", "com.atproto.repo.deleteRecord", self.access, json=form))

    def views(self, posts: list[dict[str, str]]) -> dict[str, dict[str, Any]]:
        """What the AppView shows of at most 25 posts, by uri."""
        asked = [("uris", post["uri"]) for post in posts]
        got = fine(self.network.call("GET", "app.bsky.feed.getPosts", self.access, params=asked))
        return {view["uri"]: view for view in got["posts"]}

    def profile(self, other: Person) -> dict[str, Any]:
        name, params = "app.bsky.actor.getProfile", {"actor": other.did}
        return dict(fine(self.network.call("GET", name, self.access, params=params)))


def fine(answer: requests.Response) -> dict[str, Any]:
    """The body of an answer that must not have failed."""
    assert answer.status_code == 200, f"{answer.url}: {answer.status_code} {answer.text[:300]}"
    return dict(answer.json()) if answer.content else {}


def until(what: str, check: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for the AppView, which hears of everything a little later."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)


def picture(number: int) -> bytes:
    """A JPEG of 640 x 480 that no other number has: coarse coloured squares."""
    squares = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    out = io.BytesIO()
    whole = Image.fromarray(squares).resize((640, 480), Image.Resampling.NEAREST)
    whole.save(out, "JPEG", quality=92)
    return out.getvalue()


def _coded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
