"""``likewise clean``."""

from __future__ import annotations

from likewise.commands._common import funnel_text, stage_command
from likewise.funnel import Funnel
from likewise.study import Study


def text(study: Study) -> str:
    """The funnel, and what the rule about ordinary authors came to."""
    manifest = study.require("kept_posts")
    parts = [funnel_text(Funnel.from_dict(manifest.funnel))] if manifest.funnel else []
    if rule := manifest.extra.get("bounds"):
        parts.append(
            f"authors of {rule['lower']:,.0f} to {rule['upper']:,.0f} followers stay, "
            f"{rule['kept'] / rule['n']:.1%} of {rule['n']:,}: a modified z-score of at most "
            f"{rule['threshold']:.3g} on the scale {rule['scale']}"
        )
    return "\n".join([*parts, f"kept_posts: {manifest.rows} rows"])


command = stage_command(
    "clean", "Keep ordinary authors and settled posts: posts, authors -> kept_posts.", text=text
)
