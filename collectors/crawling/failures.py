"""Why a call failed for good: its name for the counters, a sentence and a mend for people."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from collectors.platforms.base import Answer
from collectors.tokens.sentences import quiet, said
from likewise.errors import PartialError

__all__ = ["USED_UP", "CallError", "detail_of"]

USED_UP = "quota_used_up"
"""Reason of a call that was not sent: its budget opens too late to wait for."""

MOST_OF_A_TEXT = 200

_MENDS = {
    "http_3": "write the server that it points to into likewise.toml, with its own permission",
    "http_403": "the server, or what protects it, refuses this program: ask its operators",
    "http_404": "check platform and host in likewise.toml: this is no server of that kind",
    "http_5": "the server is out of order; run the command again later",
    "html": "a page for people came instead of data: something stands before the server",
    USED_UP: "run the same command again then: it goes on where it stopped",
}
"""What to do, by the beginning of a reason."""


_SENTENCES = {
    "html": "a page for people came instead of data",
    "empty_body": "the answer was empty",
    "broken_json": "the answer is no JSON",
    "broken_xml": "the answer is no XML, or declares what it must not",
    "body_too_large": "the answer is larger than any page",
    "not_an_object": "the answer is JSON of another kind",
    "not_flickr": "the answer is not Flickr's",
    "error_in_200": "an error in an answer that says it is none",
    "http_404_of": "a page is missing, and what says so is not the platform",
    "http_403": "the server refuses the call",
    "http_4": "the server does not accept the call",
    "http_5": "the server is out of order",
    "http_3": "the server is somewhere else",
}
"""What happened, by the beginning of a reason, where the server does not say it itself."""


class CallError(PartialError):
    """A call failed for good. ``reason`` is the name under which it is counted.

    ``told`` is the reason with what the network or the server said, never with a secret.
    """

    def __init__(
        self, reason: str, what: str, *, detail: str = "", mend: str | None = None
    ) -> None:
        self.reason = reason
        detail = detail or _of(_SENTENCES, reason) or ""
        self.told = f"{reason} ({detail})" if detail else reason
        hint = mend or _of(_MENDS, reason)
        super().__init__(f"{what}: {self.told}", [(what, self.told)], hint=hint)


def _of(texts: Mapping[str, str], reason: str) -> str | None:
    return next((text for name, text in texts.items() if reason.startswith(name)), None)


def detail_of(answer: Answer) -> str:
    """What an answer itself says about its refusal: the server's sentence, or where it points."""
    if answer.detail:
        return answer.detail
    target = answer.headers.get("location", "") if 300 <= answer.status < 400 else ""
    if not target:
        return quiet(said(answer.body, answer.text))
    # Without its query, which may hold a token.
    parts = urlsplit(target)
    where = f"{parts.scheme}://{parts.hostname}" if parts.hostname else ""
    return f"it points to {where}{parts.path}"[:MOST_OF_A_TEXT]
