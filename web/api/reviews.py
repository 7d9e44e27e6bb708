"""Reviews: what to look at next, what was said, how far reviewers agree, and publishing it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from likewise.errors import DataError, StorageError, UsageError
from likewise.study import Study
from web.lists import ListDep, PictureId
from web.problems import ProblemError, responses
from web.reviews.agreement import ErrorRate, Kappa, agreement, error_rate
from web.reviews.book import Said, StaleReviewError
from web.reviews.desk import Desk, Desks
from web.reviews.opinions import Action, Review, hidden, live, tally
from web.reviews.publishing import Published, publish
from web.reviews.queues import Mode, Queues
from web.snapshots import ServedDep, SnapshotDep

__all__ = ["DeskDep", "lifespan", "router"]

router = APIRouter(prefix="/api/v1/reviews", tags=["reviews"])

MOST_BULK = 1_000_000
Picture = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep the desks; a database is opened when somebody asks for it."""
    app.state.reviewed = Desks(app.state.shelf, app.state.settings.reviews)
    try:
        yield
    finally:
        app.state.reviewed.close()


def _desk(request: Request, one: ServedDep) -> Desk:
    desks: Desks = request.app.state.reviewed
    return desks.of(one.name)


DeskDep = Annotated[Desk, Depends(_desk)]


def _reviewer(
    request: Request,
    x_reviewer: Annotated[
        str | None,
        Header(description="Who reviews, percent-encoded; where people log in, that name counts."),
    ] = None,
) -> str:
    user: str | None = request.state.user
    if user is not None and user != "token":
        return user
    return unquote(x_reviewer or "") or "analyst"


ReviewerDep = Annotated[str, Depends(_reviewer)]


class Item(BaseModel):
    """A picture to review. In blind mode what the machine thinks, and the label, are null."""

    picture_id: str
    version: int = Field(description="Send it back as `seen`.")
    label: str | None
    rather: str | None = Field(None, description="The likeliest label by a model out of fold.")
    belief: float | None = Field(None, description="That model's probability of the label.")
    margin: float | None = None
    copies: int = Field(1, description="Near copies of this picture, itself included.")
    others: list[Review] = Field([], description="What others said; empty when hidden.")


class NextAsked(BaseModel):
    """What a reviewer wants to see next."""

    model_config = ConfigDict(extra="forbid")

    mode: Mode | Literal["conflicts"] = "contradiction"
    n: int = Field(5, ge=1, le=50)
    blind: bool = False
    double: bool = Field(False, description="Two reviewers judge each picture, unseen.")


class Next(BaseModel):
    """The next pictures, kept from other reviewers for five minutes."""

    labels: list[str]
    items: list[Item]
    left: int = Field(description="Pictures of this queue that nobody has judged.")
    preparing: bool = Field(description="Beliefs are being computed; only `random` is there.")
    why_not: str | None = Field(None, description="Why this queue will not be there.")


class Write(BaseModel):
    """One review."""

    model_config = ConfigDict(extra="forbid")

    picture_id: Picture
    verdict: Literal["label", "reject", "skip"]
    label: str | None = Field(None, max_length=500, description="With the verdict `label`.")
    seen: int = Field(ge=0, description="The version that the reviewer saw.")
    reason: str | None = Field(None, max_length=2000)
    mode: str = Field("", max_length=20)
    independent: bool = Field(False, description="Nobody else's review was shown.")
    key: str | None = Field(None, min_length=8, max_length=100, description="One line a key.")


class BulkAsked(BaseModel):
    """One label for every picture of the filter in the address."""

    label: str = Field(max_length=500)
    reason: str | None = Field(None, max_length=2000)
    count: int = Field(ge=0, description="How many pictures you saw that it means.")


class BulkDone(BaseModel):
    """What was labelled, and what was left alone."""

    batch: str
    count: int
    reviewed_meanwhile: int


class UndoAsked(BaseModel):
    """The last act, or a bulk by its name."""

    batch: str | None = Field(None, max_length=36)


class Undone(BaseModel):
    """Lines that were taken back: none where there was nothing."""

    count: int
    pictures: list[str] = Field(description="The first hundred.")


class Conflict(BaseModel):
    """Independent reviewers disagree."""

    picture_id: str
    version: int
    said: dict[str, str | None]


class Summary(BaseModel):
    """Where the reviews stand."""

    reviewed: int
    accepted: int
    corrected: int
    rejected: int
    mine: int
    newest: int = Field(description="Number of the newest line.")
    conflicts: list[Conflict]
    agreement: list[Kappa]
    agreement_words: list[str]
    error_rate: ErrorRate
    error_rate_words: str


class PublishedAnswer(BaseModel):
    """What was published."""

    published: Published
    words: str


@router.post("/next", responses=responses(404, 409, 410))
def next_pictures(
    asked: NextAsked, desk: DeskDep, snapshot: SnapshotDep, reviewer: ReviewerDep
) -> Next:
    """The reviewer's next pictures, kept from others until reviewed or for five minutes."""
    queues = desk.queues(snapshot)
    preparing = queues.preparing
    if asked.mode == "conflicts":
        wanted = [one.picture_id for one in desk.standing().outcomes.values() if one.conflict]
        ids, left = wanted[: asked.n], len(wanted)
    else:
        try:
            order = queues.order(asked.mode)
        except DataError:
            return Next(labels=list(queues.names), items=[], left=0, preparing=preparing,
                        why_not=queues.why_not)  # fmt: skip
        judged = desk.standing().outcomes
        left = len(order) - sum(p in judged for p in queues.picture_id[order])
        pictures: Iterator[str] = (str(queues.picture_id[row]) for row in order)
        ids = desk.book.lease(reviewer, pictures, asked.n, reviews=2 if asked.double else 1)
    shut = asked.blind or (asked.double and asked.mode != "conflicts")
    items = _items(desk, queues, ids, blind=asked.blind, shut=shut)
    return Next(labels=list(queues.names), items=items, left=left, preparing=preparing)


def _items(desk: Desk, queues: Queues, ids: list[str], *, blind: bool, shut: bool) -> list[Item]:
    histories = desk.book.histories(ids)
    items = []
    for picture in ids:
        row = queues.row.get(picture)
        history = histories.get(picture, [])
        version = history[-1].version if history else 0
        item = Item(picture_id=picture, version=version, label=None)
        if not shut:
            item.others = live(history)
        if row is not None:
            item.copies = int(queues.copies[row])
        if row is not None and not blind:
            item.label = queues.names[queues.label[row]]
            if queues.beliefs is not None and queues.beliefs.rather[row] >= 0:
                item.rather = queues.names[queues.beliefs.rather[row]]
                item.belief = float(queues.beliefs.given[row])
                item.margin = float(queues.beliefs.margin[row])
        items.append(item)
    return items


@router.get("/pictures/{picture_id}", responses=responses(404, 410))
def history(
    picture_id: PictureId,
    desk: DeskDep,
    blind: Annotated[
        bool, Query(description="Show that lines are there, not what they say.")
    ] = False,
) -> list[Review]:
    """Every line about a picture, oldest first."""
    lines = desk.book.history(picture_id)
    return [hidden(line) for line in lines] if blind else lines


@router.post("", status_code=201, responses=responses(404, 409, 410))
def review(asked: Write, desk: DeskDep, snapshot: SnapshotDep, reviewer: ReviewerDep) -> Review:
    """Say something of one picture. 409: somebody has said something that you have not seen."""
    queues = desk.queues(snapshot)
    filled = queues.told(asked.picture_id)
    said = _said(asked, filled, queues)
    try:
        return desk.book.review(reviewer, said)
    except StaleReviewError as error:
        raise ProblemError(409, str(error), hint=error.hint) from None
    except StorageError:
        raise  # not the reviewer's fault: 503, and the page keeps the review
    except UsageError as error:
        raise ProblemError(422, str(error), hint=error.hint) from None


def _said(asked: Write, filled: dict[str, Any], queues: Queues) -> Said:
    action: Action = "skip" if asked.verdict == "skip" else "reject"
    label = None
    if asked.verdict == "label":
        if asked.label not in queues.names:
            raise ProblemError(
                422, f"{asked.label!r} is no label of this study", hint=", ".join(queues.names)
            )
        action = "accept" if asked.label == filled["old_label"] else "correct"
        label = asked.label if action == "correct" else None
    return Said(
        asked.picture_id,
        action,
        seen=asked.seen,
        new_label=label,
        reason=asked.reason or None,
        mode=asked.mode,
        independent=asked.independent,
        key=asked.key,
        **filled,
    )


@router.post("/undo", responses=responses(404, 409, 410))
def undo(asked: UndoAsked, desk: DeskDep, reviewer: ReviewerDep) -> Undone:
    """Take back your last act, as often as you like; a bulk goes back whole."""
    lines = desk.book.undo(reviewer, asked.batch)
    return Undone(count=len(lines), pictures=[line.picture_id for line in lines[:100]])


@router.post("/bulk", responses=responses(404, 409, 410))
def bulk(
    asked: BulkAsked, found: ListDep, desk: DeskDep, snapshot: SnapshotDep, reviewer: ReviewerDep
) -> BulkDone:
    """Give every picture of the filter one label; those without a label are left alone."""
    rows = found.found.rows
    if len(rows) != asked.count:
        raise ProblemError(
            409,
            f"the filter means {len(rows):,} pictures, you saw {asked.count:,}",
            hint="look at the list again",
        )
    if len(rows) > MOST_BULK:
        raise ProblemError(422, f"{len(rows):,} pictures, at most {MOST_BULK:,} at once")
    queues = desk.queues(snapshot)
    if asked.label not in queues.names:
        raise ProblemError(
            422, f"{asked.label!r} is no label of this study", hint=", ".join(queues.names)
        )
    as_of = desk.book.newest()
    many = []
    for row in rows.tolist():
        picture = found.index.id_of(row)
        if picture not in queues.row:
            continue
        filled = queues.told(picture)
        same = filled["old_label"] == asked.label
        many.append(
            Said(
                picture,
                "accept" if same else "correct",
                new_label=None if same else asked.label,
                reason=asked.reason or None,
                mode="bulk",
                **filled,
            )
        )
    done = desk.book.bulk(reviewer, many, as_of=as_of)
    return BulkDone(
        batch=done.batch, count=done.written, reviewed_meanwhile=done.reviewed_meanwhile
    )


@router.post("/bulk/undo", responses=responses(404, 409, 410))
def undo_bulk(asked: UndoAsked, desk: DeskDep, reviewer: ReviewerDep) -> Undone:
    """Take a bulk back by its name, whatever came after it."""
    if asked.batch is None:
        raise ProblemError(422, "batch names the bulk to take back")
    return undo(asked, desk, reviewer)


@router.get("", responses=responses(404, 410))
def lines(
    desk: DeskDep,
    after: Annotated[
        int, Query(ge=0, le=2**62, description="Number of the last line you have.")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[Review]:
    """The book's lines above a number, oldest first."""
    return desk.book.lines(after=after, most=limit)


@router.get("/summary", responses=responses(404, 410))
def summary(desk: DeskDep, reviewer: ReviewerDep) -> Summary:
    """Counts, conflicts, agreement of reviewers and the error rate of the labels."""
    standing = desk.standing()
    accepted, corrected, rejected = tally(standing.outcomes.values())
    kappas, rate = agreement(standing.lines), error_rate(standing.lines)
    return Summary(
        reviewed=len(standing.outcomes),
        accepted=accepted,
        corrected=corrected,
        rejected=rejected,
        mine=sum(
            any(line.reviewer == reviewer for line in one.reviews)
            for one in standing.outcomes.values()
        ),
        newest=standing.newest,
        conflicts=[
            Conflict(
                picture_id=one.picture_id,
                version=one.last.version,
                said={line.reviewer: line.new_label for line in one.reviews},
            )
            for one in standing.outcomes.values()
            if one.conflict
        ][:100],
        agreement=kappas,
        agreement_words=[one.sentence for one in kappas],
        error_rate=rate,
        error_rate_words=rate.sentence,
    )


@router.post("/publish", responses=responses(404, 409, 410))
def publish_reviews(one: ServedDep, desk: DeskDep) -> PublishedAnswer:
    """Publish what stands as the table `reviews`. 409 while a run works on the study."""
    study = Study.open(one.root)
    with study.lock():
        done = publish(study, desk.book)
    return PublishedAnswer(published=done, words=done.sentence)
