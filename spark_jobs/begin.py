"""What the stages would make from what: inputs, parameters, makers and code numbers.

The stages begin with these functions, and so do ``status`` and ``plan``, which go no further: so
nothing that computes is loaded here.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from filters.faces.known import DETECTORS, choose, model_of

if TYPE_CHECKING:
    from backbones.plan import Plan
    from filters.faces.known import Choice
    from filters.posts import Audience
    from likewise.growth import Growth
    from likewise.study import Stage, Study

__all__ = [
    "AUDIENCES",
    "Looking",
    "audience_of",
    "clean",
    "extract",
    "faces",
    "label",
    "looking",
    "plan_of",
]

# Raised whenever a stage's rows would change though nothing that goes into it has.
CLEAN, FACES, LABEL, CLASSES, EXTRACT = 4, 2, 4, 2, 1

AUDIENCES: dict[str, Audience] = {
    "likes/followers": "followers",
    "likes/views": "views",
    "likes": "none",
}
"""What a target divides likes by; see ``[label] target``."""


def audience_of(study: Study) -> Audience:
    """Where classes are asked every post counts: neither age nor audience says what it shows."""
    by_likes = study.config.question.kind == "likes"
    return AUDIENCES[study.config.label.target] if by_likes else "none"


def clean(study: Study, *, redo: bool = False) -> Stage:
    """The table ``kept_posts``."""
    by_likes = study.config.question.kind == "likes"
    return study.begin(
        "kept_posts",
        inputs=["posts", "authors"],
        params={
            **study.config.clean.model_dump(mode="json"),
            "audience": audience_of(study),
            **({} if by_likes else {"question": "classes"}),
        },
        code=CLEAN,
        redo=redo,
    )


@dataclass(frozen=True, slots=True)
class Looking:
    """How pictures are looked at: what the rows of ``faces`` depend on."""

    detector: str
    input_side: int
    min_confidence: float
    turned: str


def looking(study: Study) -> tuple[Looking, Choice]:
    """How the study's pictures are looked at, and why by this detector."""
    settings = study.config.faces
    choice = choose(settings.detector)
    spec = DETECTORS[choice.name]
    return Looking(
        choice.name,
        settings.input_side or spec.input_side,
        spec.min_confidence if settings.min_confidence is None else settings.min_confidence,
        settings.turned,
    ), choice


def faces(study: Study, *, redo: bool = False) -> Growth:
    """The table ``faces``, to get the rows of the study's detector."""
    if study.config.faces.detector == "none":
        return study.grow("faces", {"detector": "none"}, ["pictures"])
    how, _ = looking(study)
    digest = hashlib.sha256(model_of(how.detector)).hexdigest()
    maker = {**asdict(how), "model": digest, "code": FACES}
    return study.grow("faces", maker, ["pictures"], redo=redo)


def label(study: Study, *, redo: bool = False) -> Stage:
    """The table ``labels``, of likes or of classes."""
    question, settings = study.config.question, study.config.label
    seed = study.config.study.seed
    inputs = ["fetches", "pictures"]
    if question.kind != "likes":
        optional = ["licences", *(["reviews"] if question.kind == "reviewed" else [])]
        inputs += [table for table in optional if study.manifest(table) is not None]
        params = {
            **question.model_dump(),
            "radius": settings.near_duplicate_radius,
            "folds": settings.folds,
            "seed": seed,
        }
        return study.begin(
            "labels", inputs=["posts", *inputs], params=params, code=CLASSES, redo=redo
        )
    if settings.require_faces and study.config.faces.detector != "none":
        inputs.append("faces")
    params = {**settings.model_dump(), "group": question.group, "seed": seed}
    return study.begin(
        "labels", inputs=["kept_posts", *inputs], params=params, code=LABEL, redo=redo
    )


def extract(study: Study, plan: Plan | None = None, *, redo: bool = False) -> Growth:
    """The table ``features``, to get the rows of ``plan``, or of the study's own."""
    maker = {**(plan or plan_of(study)).identity(), "code": EXTRACT}
    return study.grow("features", maker, ["pictures", "labels"], redo=redo)


def plan_of(study: Study) -> Plan:
    """How the study's features are computed.

    Raises:
        UsageError, WeightsError: see ``backbones.planning.make_plan``.
    """
    from backbones.planning import make_plan

    settings = study.config.extract
    return make_plan(
        settings.backbone,
        settings.layers,
        random_weights=settings.random_weights,
        engine=settings.engine,
        folder=study.folder("cache", "onnx"),
        flip=settings.flip,
        pre_relu=settings.pre_relu,
        batch_size=settings.batch_size,
        half=settings.storage == "float16",
        precision=settings.precision,
    )
