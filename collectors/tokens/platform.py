"""What the consent page asks of a platform; ``collectors.platforms.base`` has it all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collectors.tokens.oauth import Flow, Question
    from collectors.tokens.store import Token

__all__ = ["Permitting"]


class Permitting(Protocol):
    """A platform that can be asked for permission, and told that it has ended."""

    @property
    def host(self) -> str:
        """Name of its server."""

    @property
    def grants(self) -> str:
        """What a permission allows, as a sentence."""

    @property
    def questions(self) -> Sequence[Question]:
        """What is asked before a login."""

    @property
    def left_to_do(self) -> str:
        """What only the person can do when a permission has ended; empty for nothing."""

    def login(self, answers: Mapping[str, str], redirect_uri: str) -> Flow:
        """Begin a login."""

    def revoke(self, token: Token) -> bool:
        """End a permission; False when only the person can."""
