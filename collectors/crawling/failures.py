"""Why a call failed for good: its name for the counters, a sentence and a mend for people."""

from __future__ import annotations

from urllib.parse import urlsplit

from collectors.platforms.base import Answer
from collectors.tokens.sentences import quiet, said
from likewise.errors import PartialError

__all__ = ["CallError", "detail_of"]

MOST_OF_A_TEXT = 200

_MENDS = {
    "http_3": "write the server that it points to into likewise.toml, with its own permission",
    "http_403": "the server, or what protects it, refuses this program: ask its operators",
    "http_404": "check platform and host in likewise.toml: this is no server of that kind",
    "http_5": "the server is out of order; run the command again later",
    "html": "a page for people came instead of data: something stands before the server",
}
"""What to do, by the beginning of a reason."""


class CallError(PartialError):
    """A call failed for good. ``reason`` is the name under which it is counted.

    ``told`` is the reason with what the network or the server said, never with a secret.
    """

    def __init__(
        self, reason: str, what: str, *, detail: str = "", mend: str | None = None
    ) -> None:
        self.reason = reason
        self.told = f"{reason} ({detail})" if detail else reason
        usual = next((text for name, text in _MENDS.items() if reason.startswith(name)), None)
        super().__init__(f"{what}: {self.told}", [(what, self.told)], hint=mend or usual)


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
