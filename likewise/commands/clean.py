"""``likewise clean``."""

from __future__ import annotations

from likewise.commands._common import stage_command

command = stage_command(
    "clean", "Keep ordinary authors and settled posts: posts, authors -> kept_posts."
)
