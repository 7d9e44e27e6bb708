"""Where a chain of Mastodon's API stands."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Place"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chain stands; as text ``@ACCOUNT/*~AFTER``, each part only where it is set.

    ``after`` is the id of the last post read. ``whole`` (``*``) asks for posts without pictures,
    too; ``old`` (``~``) means that all that follows is older than the server's horizon.
    """

    account: str = ""
    after: str = ""
    whole: bool = False
    old: bool = False

    @classmethod
    def read(cls, cursor: str | None) -> Place:
        """The place that a cursor stands for."""
        account, slash, rest = (cursor or "").rpartition("/")
        after = rest.lstrip("*~")
        marks = rest[: len(rest) - len(after)]
        return cls(account.lstrip("@") if slash else "", after, "*" in marks, "~" in marks)

    def __str__(self) -> str:
        account = f"@{self.account}/" if self.account else ""
        return f"{account}{'*' * self.whole}{'~' * self.old}{self.after}"
