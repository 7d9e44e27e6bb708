"""Faces are personal data: what is stored, and how a person is forgotten."""

from __future__ import annotations

from likewise.study import Study
from training.report.context import Context, Section

__all__ = ["section"]


def section(context: Context) -> Section:
    """Sources with their permission, what each table holds of persons, and the commands."""
    study: Study = context.study
    stored = [name for name in ("posts", "authors", "pictures", "faces") if study.manifest(name)]
    return Section(
        "privacy",
        "Privacy",
        "privacy.html",
        {
            "sources": study.config.collect.sources,
            "stored": stored,
            "sharing": context.sharing,
            "shown": sorted({*_authors_shown(context)}),
        },
    )


def _authors_shown(context: Context) -> list[str]:
    chosen = context.galleries
    return [] if chosen is None else [one.handle for one in [*chosen.top, *chosen.bottom]]
