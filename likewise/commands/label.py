"""``likewise label``."""

from __future__ import annotations

from likewise.commands._common import stage_command

command = stage_command(
    "label", "Label pictures good or bad: kept_posts, pictures, faces -> labels."
)
