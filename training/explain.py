"""``likewise explain``: what liked pictures are like, and what the ranking goes by.

Two comparisons of plain properties, each with simultaneous intervals over authors: of the pictures
that were liked more with those that were liked less, whatever any model says; and of both ends of
the published ranking, which is told only where the model does better than chance on held-out
authors. Words are used only where the interval leaves zero out, the strongest effect first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter, ValidationError

from likewise.errors import DataError, UsageError
from likewise.progress import progress
from likewise.study import Study, fingerprint, write_json
from likewise.tables import AUTHOR_KEY
from likewise.working import changes_study
from training.comparison import sentences
from training.comparison.judge import Judge
from training.comparison.results import Difference as Gain
from training.data.question import asks_classes
from training.data.unit import AUTHORS, Unit, unit_codes, unit_of
from training.explanation.differences import LEAST, Difference, differences, effects, holm
from training.explanation.scenes import scenes
from training.pictures.contents import CONTENTS, contents
from training.pictures.properties import PROPERTIES, properties
from training.pictures.thumbnails import decoded
from training.statistics.metrics import Evaluation

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Difference", "Explanation", "differences", "explain", "holm", "table"]

CODE = 3
FILE = "explanation.json"
LOOK = 256
AT_ONCE = 64
MOST_THREADS = 4

LIKED = 600
"""Labelled pictures that are looked at to see what liked ones are like: about 20 CPU-seconds."""

AUTHOR = [*AUTHOR_KEY]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What liked pictures are like, and what the ranking goes by, largest effect first.

    ``in_likes`` compares ``pictures`` labelled ones, good with bad, of ``likers`` authors.
    ``ranking`` compares the ``n`` best with the ``n`` worst ranked pictures of ``authors``; it is
    empty where ``chance``, what the model's average precision on held-out authors exceeds chance
    by, is not above zero: what noise goes by would be no answer. Where blocks of time were dealt
    in the place of authors, ``unit`` says so, and they are what is counted.
    """

    model: str
    split: str
    n: int
    authors: int
    chance: Gain | None
    ranking: list[Difference]
    pictures: int
    likers: int
    in_likes: list[Difference]
    unit: Unit = AUTHORS

    @property
    def above_chance(self) -> bool:
        """True where the model is shown to do better than chance."""
        return self.chance is not None and self.chance.verdict == "above"

    def liked(self) -> str:
        """What makes pictures liked here, in one sentence: effects in standard deviations."""
        of = f"({self.pictures:,} pictures of {self.likers:,} {self.unit.many})"
        if said := effects(self.in_likes):
            return (
                f"Pictures that are liked more here are {said}; in standard deviations, with "
                f"intervals that hold together {of}. A difference is not a cause."
            )
        return (
            f"Nothing that these data can show: none of {len(self.in_likes)} plain properties "
            f"differs reliably between better and less liked pictures {of}."
        )

    def sentence(self) -> str:
        """What can be said of the ranking in one sentence."""
        if not self.above_chance:
            return self._silent()
        if said := effects(self.ranking):
            return (
                f"The {self.n} pictures that the model ranks highest are {said}, compared with the "
                f"{self.n} that it ranks lowest."
            )
        return (
            f"None of {len(self.ranking)} plain properties differs reliably between the "
            f"{self.n} best and the {self.n} worst pictures."
        )

    def _silent(self) -> str:
        gain = self.chance
        size = (
            f"it has not been tried on held-out {self.unit.many}"
            if gain is None
            else f"{sentences.signed(gain.value)}, {sentences.signed(gain.low)} to "
            f"{sentences.signed(gain.high)} of average precision"
        )
        return (
            "Nothing is said of what the model goes by: that it does better than chance on "
            f"held-out {self.unit.many} is not shown ({size})."
        )


@changes_study("explain")
def explain(study: Study | str | os.PathLike[str], *, redo: bool = False) -> Explanation:
    """Compare liked with less liked pictures, and both ends of the published ranking.

    The answer is kept in ``reports/explanation.json``.

    Raises:
        MissingTableError: nothing has been ranked.
        DataError: too few pictures are ranked, or none of them can be read.
    """
    opened = Study.open(study)
    if asks_classes(opened):
        raise UsageError(
            f"{opened.root} asks which class a picture is of: name the class to explain",
            hint=f"for example: likewise explain {opened.root} --class NAME",
        )
    path = opened.folder("reports") / FILE
    made_from = _made_from(opened)
    if not redo and (known := _read(path, made_from)) is not None:
        return known
    ranking = _ranking(opened)
    ends, split = _ends(opened, ranking)
    chance = _above_chance(opened, ranking)
    liked = _liked(ranking, opened.config.study.seed)
    said = chance is not None and chance.verdict == "above"
    rows = pa.concat_tables([ends, liked]) if said else liked
    values, author = _values(opened, rows), unit_codes(rows)
    n = ends.num_rows if said else 0
    settings = {
        "seed": opened.config.study.seed,
        "resamples": opened.config.compare.bootstrap,
    }
    above = {name: x[:n] for name, x in values.items()}
    among = {name: x[n:] for name, x in values.items()}
    top = np.arange(n) < n // 2
    good = liked["label"].to_numpy() == 1
    answer = Explanation(
        model=opened.require("scores").extra["model"],
        split=split,
        n=ends.num_rows // 2,
        authors=len(np.unique(unit_codes(ends))),
        chance=chance,
        ranking=differences(above, top, author[:n], **settings) if said else [],
        pictures=liked.num_rows,
        likers=len(np.unique(author[n:])),
        in_likes=differences(among, good, author[n:], **settings),
        unit=unit_of(opened),
    )
    kept = {"made_from": made_from, "answer": _adapter().dump_python(answer, mode="json")}
    write_json(path, kept)
    return answer


def table(found: Explanation) -> str:
    """The explanation as text: the sentences, and a line for each property."""
    lines = [found.liked(), "", *_lines(found.in_likes, "liked are"), "", found.sentence()]
    return "\n".join([*lines, "", *_lines(found.ranking, "best are")] if found.ranking else lines)


def _lines(rows: list[Difference], last: str) -> list[str]:
    head = f"{'property':<16} {'difference':>10}  {'95 % interval':<16} {'p (Holm)':>8}  {last}"
    return [head] + [
        f"{d.name:<16} {d.effect:>+10.2f}  {f'{d.low:+.2f} to {d.high:+.2f}':<16} "
        f"{d.p_holm:>8.3f}  {d.words or '-'}"
        for d in rows
    ]


def _made_from(study: Study) -> str:
    inputs = {name: study.require(name).fingerprint for name in ("scores", "labels", "pictures")}
    faces, features = study.manifest("faces"), study.manifest("features")
    rank, compare = study.config.rank, study.config.compare
    return fingerprint(
        {
            "code": CODE,
            **inputs,
            "faces": faces and faces.fingerprint,
            "features": features and features.fingerprint,
            "compared": [rank.compared, rank.split],
            "drawn": [compare.bootstrap, compare.permutations, compare.margin],
            "seed": study.config.study.seed,
        }
    )


@cache
def _adapter() -> TypeAdapter[Explanation]:
    return TypeAdapter(Explanation)


def _read(path: os.PathLike[str], made_from: str) -> Explanation | None:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            raw = TypeAdapter(dict[str, object]).validate_json(file.read())
        if raw.get("made_from") != made_from:
            return None
        return _adapter().validate_python(raw.get("answer"))
    except (FileNotFoundError, ValidationError):
        return None


def _ranking(study: Study) -> pa.Table:
    """Every ranked picture with its label, best first."""
    labels = study.read("labels", ["picture_id", "n_faces", "label", "group_key", "split"])
    scores = study.read("scores", ["picture_id", *AUTHOR, "score", "rank"])
    joined = scores.join(labels, "picture_id", join_type="inner")
    return joined.sort_by("rank").combine_chunks()


def _ends(study: Study, ranking: pa.Table) -> tuple[pa.Table, str]:
    """The best and the worst tenth of the ranking (held-out authors where there are enough).

    At least 50 pictures at each end where there are so many, at most ``[rank] compared``.
    """
    rules = study.config.rank
    held_out = ranking.filter(pc.equal(ranking["split"], "test"))
    use_test = rules.split == "test" and held_out.num_rows >= 100
    ranking = (held_out if use_test else ranking).combine_chunks()
    n = min(max(50, ranking.num_rows // 10), rules.compared, ranking.num_rows // 2)
    if n < LEAST:
        raise DataError(
            f"{ranking.num_rows} ranked pictures are too few to explain a ranking",
            hint=f"at least {2 * LEAST} are needed",
        )
    ends = pa.concat_tables([ranking.slice(0, n), ranking.slice(ranking.num_rows - n)])
    return ends, "test" if use_test else "all"


def _above_chance(study: Study, ranking: pa.Table) -> Gain | None:
    """What the scores' average precision exceeds chance by, on held-out authors; None without."""
    rows = ranking.filter(pc.equal(ranking["split"], "test"))
    label = rows["label"].to_numpy().astype(np.int64)
    author = unit_codes(rows)
    if len(np.unique(label)) < 2 or len(np.unique(author)) < 2:
        return None
    settings = study.config.compare
    judge = Judge(
        label,
        author,
        permutations=settings.permutations,
        margin=settings.margin,
        seed=study.config.study.seed,
    )
    scores = rows["score"].to_numpy()
    held = judge.held(Evaluation(label, scores, np.full(len(label), np.nan)))
    return judge.against_chance(held)


def _liked(ranking: pa.Table, seed: int) -> pa.Table:
    """At most ``LIKED`` labelled pictures, by chance: no model has a say in which."""
    ordered = ranking.sort_by("picture_id")
    chosen = np.random.default_rng(seed).permutation(ordered.num_rows)[:LIKED]
    return ordered.take(pa.array(np.sort(chosen)))


def _values(study: Study, rows: pa.Table) -> dict[str, NDArray[np.float64]]:
    """Every property of every row; NaN where the picture or the detection is missing.

    A picture may stand in several rows; it is looked at once.
    """
    unique, spread = np.unique(
        rows["picture_id"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True
    )
    place = {str(key): row for row, key in enumerate(unique)}
    first = np.unique(spread, return_index=True)[1]
    names = (*PROPERTIES, *CONTENTS)
    values = {name: np.full(len(place), np.nan) for name in names}
    sizes = _sizes(study, list(place))

    def look(picture: tuple[str, NDArray[np.uint8]]) -> tuple[str, dict[str, float]]:
        key, rgb = picture
        width, height = sizes.get(key, (None, None))
        return key, properties(rgb, width=width, height=height) | contents(rgb)

    pictures = decoded(study, dict.fromkeys(place, LOOK))
    workers = min(os.cpu_count() or 1, MOST_THREADS)
    with progress("explain", total=len(place)) as bar, ThreadPoolExecutor(workers) as pool:
        while group := list(islice(pictures, AT_ONCE)):
            for key, found in pool.map(look, group):
                for name in names:
                    values[name][place[key]] = found[name]
            bar.advance(len(group))
    if all(np.isnan(column).all() for column in values.values()):
        raise DataError(
            "not one of the pictures at the ends of the ranking can be read",
            hint="fetch them with: likewise download --retry all",
        )
    values |= _faces(study, rows.take(pa.array(first)), place, sizes)
    values |= scenes(study, list(place))
    return {name: column[spread] for name, column in values.items()}


def _sizes(study: Study, picture_ids: list[str]) -> dict[str, tuple[int, int]]:
    rows = study.read(
        "pictures",
        ["picture_id", "width", "height"],
        filter=pc.field("picture_id").isin(picture_ids),
    )
    return {
        row["picture_id"]: (row["width"], row["height"])
        for row in rows.to_pylist()
        if row["width"] and row["height"]
    }


def _faces(
    study: Study,
    rows: pa.Table,
    place: Mapping[str, int],
    sizes: Mapping[str, tuple[int, int]],
) -> dict[str, NDArray[np.float64]]:
    """Number of faces, and the largest face as a share of the picture; none without detections."""
    if study.manifest("faces") is None:
        return {}
    count = np.array([np.nan if n is None else n for n in rows["n_faces"].to_pylist()], float)
    share = np.full(len(count), np.nan)
    wanted = pc.field("picture_id").isin(list(place))
    found = study.read("faces", ["picture_id", "boxes", "n_faces"], filter=wanted).to_pylist()
    for row in found:
        if row["picture_id"] not in sizes or not row["n_faces"] or not row["boxes"]:
            continue
        width, height = sizes[row["picture_id"]]
        areas = [box["width"] * box["height"] for box in row["boxes"][: row["n_faces"]]]
        share[place[row["picture_id"]]] = max(areas) / (width * height)
    return {"faces": count, "face size": share}
