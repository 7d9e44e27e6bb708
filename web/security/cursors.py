"""Signed cursors: where a list goes on, and which list that is."""

from __future__ import annotations

import hashlib

from itsdangerous import BadSignature, Signer

from web.problems import ProblemError

__all__ = ["Cursors"]


class Cursors:
    """Writes and reads the cursors of one server."""

    def __init__(self, secret: bytes) -> None:
        self._signer = Signer(secret, salt="cursor", sep="~")

    def write(self, which: str, place: int) -> str:
        """The cursor behind ``place`` of the list that ``which`` names."""
        return self._signer.sign(f"{place}-{_short(which)}").decode()

    def read(self, cursor: str, which: str) -> int:
        """The place that a cursor holds.

        Raises:
            ProblemError: 400 for one that this server has not made, or of another list.
        """
        try:
            place, _, found = self._signer.unsign(cursor).decode().partition("-")
        except BadSignature:
            raise ProblemError(
                400, "the cursor is not one of this server's", hint="begin without a cursor"
            ) from None
        if found != _short(which):
            raise ProblemError(
                400,
                "the cursor belongs to another filter, order or snapshot",
                hint="send the query that it came from, or begin without a cursor",
            )
        return int(place)


def _short(which: str) -> str:
    return hashlib.sha256(which.encode()).hexdigest()[:16]
