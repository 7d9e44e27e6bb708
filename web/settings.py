"""How one server is run: what it shows, where it listens, whom it lets in, and its limits."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from collectors.crawling.reviews import address_of
from likewise.errors import UsageError

__all__ = ["Settings", "is_loopback"]

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Settings:
    """What ``likewise serve`` was asked for.

    Raises:
        UsageError: another address than loopback without a password or a token; no study.
        ConfigError: ``reviews`` is no PostgreSQL address, or holds a password.
    """

    studies: tuple[Path, ...]
    host: str = "127.0.0.1"
    port: int = 8417
    names: tuple[str, ...] = ()
    """Host names that a request may carry beside ``host`` and loopback (DNS rebinding)."""
    read_only: bool = False
    passwords: Path | None = None
    token: str | None = field(default=None, repr=False)
    reviews: str | None = None
    """PostgreSQL address of the reviews, without a password; None: SQLite beside the study."""
    workers: int = 2
    """Processes that decode."""
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """Signs sessions and cursors."""
    body_limit: int = MEGABYTE
    body_limits: Mapping[str, int] = field(
        default_factory=lambda: {"/api/v1/score": 100 * MEGABYTE}
    )
    """Path -> most bytes of a request's body, where it differs from ``body_limit``."""
    scorers: int = 1
    """Processes that score; each holds the network once."""
    score_batch: int = 16
    """Most pictures that the network sees at once; 1 switches batching off."""
    scores_per_minute: int = 1200
    """Pictures that one client may have scored."""

    def __post_init__(self) -> None:
        if not self.studies:
            raise UsageError("there is no study to serve", hint="likewise serve STUDY")
        if self.reviews is not None:
            address_of(self.reviews)
        if not is_loopback(self.host) and not self.guarded:
            raise UsageError(
                f"{self.host} can be reached by others, so it needs a password or a token",
                hint="--passwords FILE (make one with --add-user NAME), or a token in "
                "LIKEWISE_SERVE_TOKEN; 127.0.0.1 needs neither",
            )

    @property
    def guarded(self) -> bool:
        """Whether a visitor has to say who they are."""
        return self.passwords is not None or self.token is not None

    def knows_host(self, value: str) -> bool:
        """Whether a ``Host`` header names this server: else another site points its name at it."""
        try:
            name = (urlsplit(f"//{value}").hostname or "").rstrip(".")
        except ValueError:
            return False
        return is_loopback(name) or name == self.host.lower() or name in self.names


def is_loopback(name: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name.lower() == "localhost"
