"""Signed cursors: where a list goes on, and which list that is."""

from __future__ import annotations

from itsdangerous import BadSignature, URLSafeSerializer

from web.problems import ProblemError

__all__ = ["Cursors"]


class Cursors:
    """Writes and reads the cursors of one server."""

    def __init__(self, secret: bytes) -> None:
        self._signer = URLSafeSerializer(secret, salt="cursor")

    def write(self, which: str, place: int) -> str:
        """The cursor behind ``place`` of the list that ``which`` names."""
        made = self._signer.dumps([which, place])
        assert isinstance(made, str)
        return made

    def read(self, cursor: str, which: str) -> int:
        """The place that a cursor holds.

        Raises:
            ProblemError: 400 for one that this server has not made, or of another list.
        """
        try:
            found, place = self._signer.loads(cursor)
        except (BadSignature, ValueError, TypeError):
            raise ProblemError(
                400, "the cursor is not one of this server's", hint="begin without a cursor"
            ) from None
        if found != which:
            raise ProblemError(
                400,
                "the cursor belongs to another filter, order or snapshot",
                hint="send the query that it came from, or begin without a cursor",
            )
        return int(place)
