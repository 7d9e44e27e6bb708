"""The data card that goes along with an export: what it is, whose it is, what made it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from likewise import __version__
from likewise.study import Study, fingerprint

__all__ = ["card"]

LICENCE = (
    "The posts and pictures belong to the people who made them. Platforms' terms and the law "
    "decide what may be done with them; an export gives no licence. Where posts state licences "
    "of their own, these hold."
)


def card(study: Study, what: str, rows: int, said: Mapping[str, Any], notes: Sequence[str]) -> str:
    """Markdown. ``said`` are the filters that were given."""
    tables = {name: study.manifest(name) for name in study.tables()}
    known = {name: m for name, m in tables.items() if m is not None}
    whole = fingerprint({name: m.fingerprint for name, m in known.items()})
    filters = ", ".join(f"{name} = {value}" for name, value in said.items() if value) or "none"
    lines = [
        f"# {what} of {study.config.study.name}",
        "",
        f"- rows: {rows:,}",
        f"- filters: {filters}",
        f"- made: {dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC by likewise {__version__}",
        f"- study's fingerprint: {whole}",
        *(f"- {note}" for note in notes),
        "",
        "## Licence",
        "",
        LICENCE,
        "",
        "## Counts",
        "",
        "| Table | Rows | Version |",
        "|---|---|---|",
        *(f"| {name} | {m.rows:,} | {m.fingerprint} |" for name, m in sorted(known.items())),
        "",
        "## Sources",
        "",
    ]
    lines += [f"- {source.platform} {source.host}" for source in study.config.collect.sources]
    posts = known.get("posts")
    for host, about in (posts.extra.get("imports", {}) if posts is not None else {}).items():
        lines.append(f"- {host}: imported as {about['kind']}, {about['posts']:,} posts")
    lines += [
        "",
        "A person who asks to be forgotten (`likewise forget`) must be deleted here, too.",
    ]
    return "\n".join(lines) + "\n"
