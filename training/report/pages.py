"""From sections to one HTML file: templates escape everything that is not marked as safe."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from likewise.glossary import GLOSSARY
from likewise.whole import write_bytes
from training.data.unit import AUTHORS, Unit
from training.report.context import Section, Thumbs
from training.report.words import FILTERS

__all__ = ["render", "write"]

PAGE = Path(__file__).parent / "page"


def render(
    head: Any,
    sections: Sequence[Section],
    thumbs: Thumbs,
    *,
    missing: int,
    fingerprint: str,
    unit: Unit = AUTHORS,
) -> str:
    """The whole page. ``missing`` counts pictures that could not be shown; ``unit`` was dealt."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= FILTERS
    templates.globals |= {"thumb": thumbs.uri, "glossary": GLOSSARY, "unit": unit}
    style = (PAGE / "page.css").read_text(encoding="utf-8")
    script = (PAGE / "page.js").read_text(encoding="utf-8")
    return templates.get_template("page.html").render(
        head=head,
        sections=sections,
        missing=missing,
        fingerprint=fingerprint,
        # Both are this project's own files and go in as they are.
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        script_hash=_hash(script),
    )


def _hash(script: str) -> str:
    """The script's hash for the page's Content-Security-Policy: no other script may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def write(path: Path, page: str) -> None:
    """Write the page so that a reader sees the old one or the new one, never a part."""
    write_bytes(path, page.encode())
