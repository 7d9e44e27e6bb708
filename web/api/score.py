"""Scores of pictures that a client sends, or that lie at an address."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, FastAPI, Header, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.responses import Response

from collectors.downloading.fetch import Limits, open_fetcher
from collectors.downloading.guard import AddressGuard
from collectors.downloading.room import Hold, Room
from training.scoring.answers import AuthorBaseline, Opinion, Similar
from training.scoring.session import NEIGHBOURS
from web.problems import ProblemError, in_words, responses
from web.scoring.limits import MOST, Clients, Once, ReusedKeyError
from web.scoring.service import BusyError, Option, RefusedAnswerError, Scoring, asked_of
from web.snapshots import Snapshot, SnapshotDep

__all__ = ["lifespan", "router"]

router = APIRouter(prefix="/api/v1", tags=["scores"])

MOST_MODELS = 4
AT_ONCE = 8
"""Requests whose bodies are read at the same time."""
IN_MEMORY = 96_000_000
"""Bytes of pictures in memory, over all requests; more wait for their turn."""
READING_S = 30.0
"""Patience with a body."""
JSON_BYTES = 64 * 1024


class Item(BaseModel):
    """What is known of one picture: an ``error``, or everything else."""

    name: str = Field(description="File name or address, as it was sent.")
    error: str | None = Field(None, description="Why there is no score: `corrupt`, `too_large`, …")
    opinions: list[Opinion] = Field([], description="One a model, with 95 % intervals.")
    abstained: bool = Field(
        False, description="The picture lies too far from the study's pictures for a word about it."
    )
    distance: float | None = Field(None, description="1 - cosine to the nearest picture.")
    limit: float | None = Field(None, description="Distance beyond which nothing is said.")
    author: AuthorBaseline | None = None
    liked: list[Similar] = Field([], description="Nearest liked pictures of the study.")
    unliked: list[Similar] = Field([], description="Nearest pictures that are not liked.")
    stands_out: list[str] = Field([], description="Properties that few pictures have as strongly.")


class Scores(BaseModel):
    """Answers item by item, in the order of the request."""

    study: str
    snapshot: str
    models: list[str] = Field(description="Models asked; empty where no picture could be scored.")
    base_rate: float | None = Field(description="Share of the study's pictures that are liked.")
    items: list[Item]


class Addresses(BaseModel):
    """A request for pictures that lie elsewhere."""

    model_config = ConfigDict(extra="forbid")

    urls: list[Annotated[str, Field(min_length=1, max_length=4000)]] = Field(
        min_length=1, max_length=MOST
    )
    models: list[str] = Field([], max_length=MOST_MODELS)
    author: str | None = Field(None, max_length=300)
    neighbours: int = Field(NEIGHBOURS, ge=0, le=20)


@dataclass(slots=True)
class _Request:
    """A request in one form: (name, content, error) of each picture, or addresses to fetch."""

    pictures: list[tuple[str, bytes, str | None]]
    urls: list[str]
    models: tuple[str, ...]
    option: Option

    @property
    def n(self) -> int:
        return len(self.pictures) + len(self.urls)

    def digest(self, snapshot: Snapshot) -> str:
        """What makes two requests the same."""
        made = hashlib.sha256()
        said = [self.urls, self.models, self.option.author, self.option.neighbours, snapshot.id]
        made.update(json.dumps(said).encode())
        for name, data, _ in self.pictures:
            made.update(f"\0{name}\0{len(data)}\0".encode())
            made.update(data)
        return made.hexdigest()


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep the scoring service; it starts with its first picture."""
    settings = app.state.settings
    app.state.scoring = Scoring(workers=settings.scorers, batch=settings.score_batch)
    app.state.score_clients = Clients(settings.scores_per_minute)
    app.state.score_answers = Once[Scores]()
    app.state.score_readers = asyncio.Semaphore(AT_ONCE)
    app.state.score_bytes = Room(IN_MEMORY)
    try:
        yield
    finally:
        await app.state.scoring.stop()


BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "maxItems": MOST,
                            "items": {"type": "string", "format": "binary"},
                        },
                        "models": {"type": "string", "description": "Names, commas between them."},
                        "author": {"type": "string"},
                        "neighbours": {"type": "integer", "minimum": 0, "maximum": 20},
                    },
                }
            },
            "application/json": {"schema": Addresses.model_json_schema()},
        },
    }
}


@router.post("/score", responses=responses(404, 408, 409, 410, 413, 415, 429), openapi_extra=BODY)
async def score(
    request: Request,
    response: Response,
    snapshot: SnapshotDep,
    idempotency_key: Annotated[
        str | None, Header(min_length=1, max_length=100, description="One answer for each key.")
    ] = None,
) -> Scores:
    """Score up to 20 pictures: sent as files, or fetched from public addresses.

    A picture that cannot be scored has an `error` and costs the others nothing.
    """
    state = request.app.state
    client = request.state.user or (request.client.host if request.client else "local")
    readers: asyncio.Semaphore = state.score_readers
    if readers.locked():
        raise _busy("too many uploads are on their way", 2)
    response.headers["Cache-Control"] = "no-store"
    with state.score_bytes.hold() as hold:
        async with readers:
            asked = await _read(request, snapshot, hold)
        if wait := state.score_clients.wait(client, asked.n):
            raise ProblemError(
                429,
                f"{state.settings.scores_per_minute} pictures a minute is the limit of a client",
                headers={"Retry-After": str(round(wait + 0.5))},
            )
        if idempotency_key is None:
            return await _scores(request, snapshot, asked)
        try:
            found: Scores = await state.score_answers.answer(
                f"{client} {idempotency_key}",
                asked.digest(snapshot),
                lambda: _scores(request, snapshot, asked),
            )
        except ReusedKeyError as error:
            raise ProblemError(422, str(error), hint=error.hint) from None
        return found


def _busy(why: str, seconds: float) -> ProblemError:
    return ProblemError(503, why, headers={"Retry-After": str(round(seconds))})


async def _scores(request: Request, snapshot: Snapshot, asked: _Request) -> Scores:
    pictures = [*asked.pictures, *await _fetched(snapshot, asked.urls)]
    good = [(name, data) for name, data, error in pictures if error is None]
    scoring: Scoring = request.app.state.scoring
    try:
        rows = iter(await scoring.score(asked_of(snapshot, asked.models), good, asked.option))
    except BusyError as error:
        raise _busy(str(error), error.retry_after) from None
    except RefusedAnswerError as error:
        status = 404 if error.kind == "MissingTableError" else 409 if "Data" in error.kind else 422
        raise ProblemError(status, str(error), hint=error.hint) from None
    items = [
        {**next(rows), "name": name} if error is None else {"name": name, "error": error}
        for name, _, error in pictures
    ]
    first = next((one for one in items if one.get("models")), {})
    return Scores(
        study=request.state.served.name,
        snapshot=snapshot.id,
        models=first.get("models", list(asked.models)),
        base_rate=first.get("base_rate"),
        items=[Item.model_validate(one, extra="ignore") for one in items],
    )


# -- the request --------------------------------------------------------------------------


async def _read(request: Request, snapshot: Snapshot, hold: Hold) -> _Request:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        async with asyncio.timeout(READING_S):
            if kind == "multipart/form-data":
                return await _uploads(request, snapshot.study.config.download.max_bytes, hold)
            if kind == "application/json":
                return await _addresses(request)
    except TimeoutError:
        raise ProblemError(408, f"the body did not come within {READING_S:.0f} s") from None
    raise ProblemError(415, f"{kind or 'no content type'}: send multipart/form-data or JSON")


async def _addresses(request: Request) -> _Request:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > JSON_BYTES:
            raise ProblemError(413, f"a list of addresses may have {JSON_BYTES:,} bytes")
    try:
        found = Addresses.model_validate_json(bytes(body))
    except ValidationError as error:
        raise ProblemError(422, in_words(error.errors())) from None
    option = Option(found.author, found.neighbours)
    return _Request([], found.urls, _models(found.models), option)


async def _uploads(request: Request, max_bytes: int, hold: Hold) -> _Request:
    pictures: list[tuple[str, bytes, str | None]] = []
    # Parts beyond the limit end the parsing; large ones lie in temporary files until they are read.
    async with request.form(max_files=MOST, max_fields=8, max_part_size=4096) as form:
        files = [value for value in form.values() if isinstance(value, UploadFile)]
        await hold.take(sum(one.size or 0 for one in files if (one.size or 0) <= max_bytes))
        for field, value in form.multi_items():
            if not isinstance(value, UploadFile):
                continue
            if field != "files":
                raise ProblemError(422, f"files come in the field files, not {field[:40]!r}")
            name = (value.filename or f"picture {len(pictures) + 1}")[:300]
            if (value.size or 0) > max_bytes:
                pictures.append((name, b"", "too_large"))
            else:
                data = await value.read()
                pictures.append((name, data, None if data else "empty"))
        if not pictures:
            raise ProblemError(422, "there is no picture in the field files")
        words = {name: str(form.get(name) or "") for name in ("models", "author", "neighbours")}
    number = words["neighbours"] or str(NEIGHBOURS)
    if not (number.isascii() and number.isdigit() and int(number) <= 20):
        raise ProblemError(422, f"neighbours is {number[:20]!r}, expected 0 to 20")
    models = [name.strip() for name in words["models"].split(",") if name.strip()]
    option = Option(words["author"][:300] or None, int(number))
    return _Request(pictures, [], _models(models), option)


def _models(names: list[str]) -> tuple[str, ...]:
    if len(names) > MOST_MODELS:
        raise ProblemError(422, f"{len(names)} models, at most {MOST_MODELS}")
    return tuple(dict.fromkeys(names))


async def _fetched(snapshot: Snapshot, urls: list[str]) -> list[tuple[str, bytes, str | None]]:
    """Pictures at public addresses; the guard refuses what lies inside this network."""
    if not urls:
        return []
    settings = snapshot.study.config.download
    limits = Limits(
        timeout_s=min(settings.timeout_s, 20.0), max_bytes=settings.max_bytes, concurrency=4
    )
    async with open_fetcher(limits, AddressGuard(settings.allow_hosts)) as fetcher:
        answers = await asyncio.gather(*(fetcher.fetch(url) for url in urls))
    return [
        (url, answer.body, answer.error_class) for url, answer in zip(urls, answers, strict=True)
    ]
