"""Errors as answers: problem+json (RFC 9457) for programs, a page with a way on for people.

No answer ever holds a traceback; what nobody foresaw is the gate's (``web.security.gate``).
"""

from __future__ import annotations

import http
import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from likewise.errors import DataError, ExitCode, LikewiseError
from web.templating import page

__all__ = ["RESPONSES", "Problem", "ProblemError", "answer", "in_words", "install", "responses"]

_TYPE = "application/problem+json"


class Problem(BaseModel):
    """RFC 9457: what went wrong and what to do."""

    type: str = Field("about:blank", description="What kind of problem this is.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field("", description="What happened, and to what.")
    hint: str | None = Field(None, description="What to do.")


RESPONSES: Mapping[int, str] = {
    400: "The request cannot be understood.",
    401: "Say who you are: a bearer token or a session.",
    403: "Not allowed: CSRF token, origin or host is wrong, or the server is read-only.",
    404: "There is no such thing.",
    408: "The request's body came too slowly.",
    409: "What the request rests on has changed.",
    410: "It was deleted.",
    413: "Too large.",
    415: "Not a kind of file that is taken.",
    422: "A value is not valid.",
    429: "Too many requests.",
    503: "Not ready, or too busy: Retry-After says when to ask again.",
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """``responses=`` of a route: what it may answer beside success, as OpenAPI shows it."""
    schema = {_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": RESPONSES[status], "content": schema}
        for status in sorted({400, 401, 403, 422, 503, *statuses})
    }


class ProblemError(Exception):
    """Raise to answer with a status and words."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(
            title=http.HTTPStatus(status).phrase, status=status, detail=detail, hint=hint
        )
        self.headers = dict(headers or {})


def in_words(errors: Sequence[Any]) -> str:
    """Where the first few errors of a validation lie, and what they are."""
    return "; ".join(
        f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in errors[:5]
    )


def answer(request: Request, error: ProblemError) -> Response:
    """The problem in the form that the client reads."""
    problem = error.problem
    wants_page = (
        not request.url.path.startswith("/api/")
        and "text/html" in request.headers.get("accept", "")
        and request.headers.get("sec-fetch-dest", "document") == "document"
    )
    if wants_page:
        return page(
            request, "error.html", status=problem.status, headers=error.headers, problem=problem
        )
    return Response(
        json.dumps(problem.model_dump(), ensure_ascii=False),
        problem.status,
        {"Cache-Control": "no-store", **error.headers},
        _TYPE,
    )


def install(app: FastAPI) -> None:
    """Register the handlers."""

    async def _known(request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return answer(request, error)

    async def _http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        words = "there is nothing at this address" if error.status_code == 404 else error.detail
        known = ProblemError(error.status_code, str(words), headers=dict(error.headers or {}))
        return answer(request, known)

    async def _invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return answer(request, ProblemError(422, in_words(error.errors())))

    async def _ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, LikewiseError)
        if error.exit_code == ExitCode.INPUT:
            status = 404
        elif error.exit_code == ExitCode.BUSY:
            status = 409
        elif error.exit_code == ExitCode.STORAGE:
            status = 503
        else:
            status = 409 if isinstance(error, DataError) else 400
        return answer(request, ProblemError(status, str(error), hint=error.hint))

    app.add_exception_handler(ProblemError, _known)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(LikewiseError, _ours)
