"""Pages from templates: everything is escaped, nothing stands inline that the CSP would refuse."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from likewise import __version__

if TYPE_CHECKING:
    import datetime as dt

__all__ = ["HERE", "PINNED", "environment", "link", "page", "static_url"]

HERE = Path(__file__).parent
PINNED = "likewise_snapshot"
"""Cookie: ``STUDY:SNAPSHOT``, quoted, that the reader has before them."""
NAVIGATION = (
    ("/", "Overview"),
    ("/gallery", "Gallery"),
    ("/compare", "Compare"),
    ("/map", "Map"),
    ("/try", "Try"),
    ("/review", "Review"),
    ("/runs", "Runs"),
)


@cache
def environment() -> jinja2.Environment:
    """Jinja's environment of ``templates/``; ``|number`` and friends are its filters."""
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [
                jinja2.FileSystemLoader(HERE / "templates"),
                # What the map's script works with stands on both of its pages.
                jinja2.PrefixLoader({"maps": jinja2.PackageLoader("training.maps", "page")}),
            ]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": _number,
        "percent": _percent,
        "day": _day,
        "moment": _moment,
        "places": _places,
    }
    made.globals |= {"static": static_url, "version": __version__}
    return made


def page(
    request: Request,
    template: str,
    /,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **shown: Any,
) -> Response:
    """The template as an answer; it sees what every page needs, and ``shown``."""
    state = request.app.state
    served = getattr(request.state, "served", None)
    context = {
        "request": request,
        "path": request.url.path,
        "navigation": [(href, title) for href, title in NAVIGATION if href in state.paths],
        "link": lambda path, **query: link(request, path, **query),
        "studies": state.shelf.names,
        "served": served,
        "snapshot": getattr(request.state, "snapshot", None),
        "csrf": getattr(request.state, "csrf", ""),
        "user": getattr(request.state, "user", None),
        "read_only": state.settings.read_only,
        **shown,
    }
    text = environment().get_template(template).render(context)
    response = HTMLResponse(text, status, {"Cache-Control": "no-store", **(headers or {})})
    if served is not None and context["snapshot"] is not None:
        pinned = f"{served.name}:{context['snapshot'].id}"
        if request.cookies.get(PINNED) != quote(pinned):
            response.set_cookie(PINNED, quote(pinned), httponly=True, samesite="lax")
    return response


def link(request: Request, path: str, **query: Any) -> str:
    """``path`` with its query, in the study that the request is about."""
    served = getattr(request.state, "served", None)
    if served is not None and len(request.app.state.shelf.names) > 1:
        query = {"study": served.name, **query}
    kept = {key: value for key, value in query.items() if value is not None}
    return f"{path}?{urlencode(kept, doseq=True)}" if kept else path


@cache
def static_url(name: str) -> str:
    """Address of a file of ``static/`` that changes with its content, so that it may be kept."""
    digest = hashlib.sha256((HERE / "static" / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}".replace("%", "\u00a0%")


def _moment(value: dt.datetime) -> str:
    return f"{value.day} {value:%b %Y, %H:%M} UTC"


def _places(value: float | None, places: int = 2) -> str:
    return "–" if value is None else f"{value:.{places}f}"


def _day(value: dt.datetime | None) -> str:
    return "–" if value is None else f"{value.day} {value:%b %Y}"
