"""A synthetic world behind a real HTTP server that speaks the Mastodon REST dialect."""

from infra.sandbox.faults import Fault, Faults
from infra.sandbox.law import Law
from infra.sandbox.limits import Limiter
from infra.sandbox.server import Sandbox, running
from infra.sandbox.world import TAGS, Shares, World, WorldSpec

__all__ = [
    "TAGS",
    "Fault",
    "Faults",
    "Law",
    "Limiter",
    "Sandbox",
    "Shares",
    "World",
    "WorldSpec",
    "running",
]
