"""What the ranking goes by: plain properties that differ between its top and its bottom.

The means of both ends are compared in units of the property's standard deviation. Authors, not
pictures, are drawn in the bootstrap, since the pictures of one author are alike. The intervals are
simultaneous: all of them hold their true value together in 95 % of studies (single-step max-t;
Westfall and Young, Resampling-Based Multiple Testing, Wiley 1993, section 2.6), and p-values are
adjusted by Holm (1979) and by Benjamini and Hochberg (1995). Words are used only where the
simultaneous interval leaves zero out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import norm

from likewise.errors import DataError
from likewise.progress import progress
from likewise.study import Study, fingerprint, write_json
from training.explanation.scenes import scenes
from training.pictures.contents import CONTENTS, contents
from training.pictures.properties import PROPERTIES, properties
from training.pictures.thumbnails import decoded
from training.statistics.bootstrap import author_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Difference",
    "Explanation",
    "benjamini_hochberg",
    "differences",
    "explain",
    "holm",
    "table",
]

CODE = 1
FILE = "explanation.json"
RESAMPLES = 2000
LOOK = 256
LEAST = 8
AT_ONCE = 64
MOST_THREADS = 4

WORDS = {
    "brightness": ("brighter", "darker"),
    "contrast": ("richer in contrast", "poorer in contrast"),
    "saturation": ("more saturated", "less saturated"),
    "warmth": ("warmer in colour", "cooler in colour"),
    "colourfulness": ("more colourful", "less colourful"),
    "sharpness": ("sharper", "softer"),
    "megapixels": ("larger in pixels", "smaller in pixels"),
    "aspect": ("wider", "taller"),
    "faces": ("with more faces", "with fewer faces"),
    "face size": ("with larger faces", "with smaller faces"),
    "people": ("with more people in full", "with fewer people in full"),
    "text area": ("with more text", "with less text"),
    "animals": ("more like animals", "less like animals"),
    "dogs and cats": ("more like dogs and cats", "less like dogs and cats"),
    "food": ("more like food", "less like food"),
    "landscape": ("more like landscapes", "less like landscapes"),
    "plants and fruit": ("more like plants and fruit", "less like plants and fruit"),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One property at both ends of the ranking.

    ``effect`` is (top - bottom) in standard deviations; ``low`` and ``high`` are its simultaneous
    95 % interval; ``p`` is unadjusted, ``p_holm`` and ``p_bh`` are adjusted for all properties.
    """

    name: str
    top: float
    bottom: float
    n: int
    effect: float
    low: float
    high: float
    p: float
    p_holm: float
    p_bh: float

    @property
    def supported(self) -> bool:
        """True when the simultaneous interval leaves zero out."""
        return self.low > 0 or self.high < 0

    @property
    def words(self) -> str:
        """'brighter' or 'darker'; empty where the interval does not support either."""
        if not self.supported:
            return ""
        more, less = WORDS.get(self.name, (f"higher in {self.name}", f"lower in {self.name}"))
        return more if self.effect > 0 else less


@dataclass(frozen=True, slots=True)
class Explanation:
    """Differences between the ``n`` best and the ``n`` worst pictures, largest effect first.

    ``in_likes`` holds the same comparison of the pictures labelled good and bad among them: what
    the audience, not the model, seems to go by.
    """

    model: str
    split: str
    n: int
    authors: int
    ranking: list[Difference]
    in_likes: list[Difference]

    def sentence(self) -> str:
        """What can be said of the ranking in one sentence."""
        found = [d.words for d in self.ranking if d.words]
        if not found:
            return (
                f"None of {len(self.ranking)} plain properties differs reliably between the "
                f"{self.n} best and the {self.n} worst pictures."
            )
        have = [words.removeprefix("with ") for words in found if words.startswith("with ")]
        are = [words for words in found if not words.startswith("with ")]
        parts = [f"{verb} {_listed(own)}" for verb, own in (("are", are), ("have", have)) if own]
        return (
            f"The {self.n} pictures that the model ranks highest {' and '.join(parts)}, compared "
            f"with the {self.n} that it ranks lowest."
        )


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def explain(study: Study | str | os.PathLike[str], *, redo: bool = False) -> Explanation:
    """Compare both ends of the published ranking; keep the answer in ``reports/explanation.json``.

    Raises:
        MissingTableError: nothing has been ranked.
        DataError: too few pictures are ranked, or none of them can be read.
    """
    opened = Study.open(study)
    path = opened.folder("reports") / FILE
    made_from = _made_from(opened)
    if not redo and (known := _read(path, made_from)) is not None:
        return known
    rows, split = _ends(opened)
    values = _values(opened, rows)
    authors = pa.table({c: rows[c] for c in ("platform", "host", "author_id")})
    codes = authors.to_pandas().groupby(list(authors.column_names)).ngroup().to_numpy()
    seed = opened.config.study.seed
    answer = Explanation(
        model=opened.require("scores").extra["model"],
        split=split,
        n=rows.num_rows // 2,
        authors=len(np.unique(codes)),
        ranking=differences(values, rows["top"].to_numpy(), codes, seed=seed),
        in_likes=differences(values, rows["label"].to_numpy() == 1, codes, seed=seed),
    )
    write_json(path, {"made_from": made_from, **asdict(answer)})
    return answer


def table(found: Explanation) -> str:
    """The explanation as text: the sentence, and a line for each property."""
    head = f"{'property':<14} {'difference':>10}  {'95 % interval':<16} {'p (Holm)':>8}  best are"
    lines = [found.sentence(), "", head]
    lines += [
        f"{d.name:<14} {d.effect:>+10.2f}  {f'{d.low:+.2f} to {d.high:+.2f}':<16} "
        f"{d.p_holm:>8.3f}  {d.words or '-'}"
        for d in found.ranking
    ]
    return "\n".join(lines)


def _made_from(study: Study) -> str:
    inputs = {name: study.require(name).fingerprint for name in ("scores", "labels", "pictures")}
    faces, features = study.manifest("faces"), study.manifest("features")
    rank = study.config.rank
    return fingerprint(
        {
            "code": CODE,
            **inputs,
            "faces": faces and faces.fingerprint,
            "features": features and features.fingerprint,
            "compared": [rank.compared, rank.split],
            "seed": study.config.study.seed,
        }
    )


def _read(path: os.PathLike[str], made_from: str) -> Explanation | None:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            raw = json.load(file)
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if raw.pop("made_from", None) != made_from:
        return None
    for name in ("ranking", "in_likes"):
        raw[name] = [Difference(**row) for row in raw[name]]
    return Explanation(**raw)


def _ends(study: Study) -> tuple[pa.Table, str]:
    """The best and the worst tenth of the ranking (held-out authors where there are enough).

    At least 50 pictures at each end where there are so many, at most ``[rank] compared``.
    """
    rules = study.config.rank
    labels = study.read("labels", ["picture_id", "n_faces", "label", "split"])
    scores = study.read("scores", ["picture_id", "platform", "host", "author_id", "rank"])
    ranking = scores.join(labels, "picture_id", join_type="inner").sort_by("rank")
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
    return ends.append_column("top", pa.array([True] * n + [False] * n)), (
        "test" if use_test else "all"
    )


def _values(study: Study, rows: pa.Table) -> dict[str, NDArray[np.float64]]:
    """Every property of every row; NaN where the picture or the detection is missing."""
    place = {key: row for row, key in enumerate(rows["picture_id"].to_pylist())}
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
    return values | _faces(study, rows, place, sizes) | scenes(study, list(place))


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


def differences(
    values: Mapping[str, NDArray[np.float64]],
    top: NDArray[np.bool_],
    author: NDArray[np.int64],
    *,
    seed: int = 1,
    resamples: int = RESAMPLES,
) -> list[Difference]:
    """Compare the rows where ``top`` is true with the others, property by property.

    Args:
        values: (n,) array for each property; NaN where unknown.
        top: (n,) flags.
        author: (n,) author of each row, the unit of the bootstrap.
        seed: of the bootstrap.
        resamples: bootstrap samples.

    Returns:
        One ``Difference`` for each property that varies and is known of enough pictures and authors
        at both ends, largest absolute effect first.
    """
    weights = author_weights(author, resamples, seed)
    draws = {name: _effect(x, top, weights) for name, x in values.items() if _varies(x, top)}
    # A draw of authors may miss one end altogether; a property of too few authors is left out.
    draws = {name: own for name, own in draws.items() if np.isfinite(own).mean() > 0.9}
    if not draws:
        return []
    usable = {name: values[name] for name in draws}
    effects = np.array([_effect(x, top, None)[0] for x in usable.values()])
    drawn = np.stack(list(draws.values()))
    drawn = drawn[:, np.isfinite(drawn).all(axis=0)]
    spread = drawn.std(axis=1, ddof=1)
    spread = np.where(spread > 0, spread, np.nan)
    t = np.abs(drawn - effects[:, None]) / spread[:, None]
    reach = float(np.nanquantile(np.nanmax(t, axis=0), 0.95)) * spread
    p = np.nan_to_num(2 * norm.sf(np.abs(effects) / spread), nan=1.0)
    adjusted = zip(holm(p), benjamini_hochberg(p), strict=True)
    found = [
        Difference(
            name,
            float(np.nanmean(x[top])),
            float(np.nanmean(x[~top])),
            int(np.isfinite(x).sum()),
            float(effects[i]),
            float(effects[i] - reach[i]),
            float(effects[i] + reach[i]),
            float(p[i]),
            float(p_holm),
            float(p_bh),
        )
        for i, ((name, x), (p_holm, p_bh)) in enumerate(zip(usable.items(), adjusted, strict=True))
    ]
    return sorted(found, key=lambda d: -abs(d.effect))


def _varies(x: NDArray[np.float64], top: NDArray[np.bool_]) -> bool:
    known = np.isfinite(x)
    both = min((known & top).sum(), (known & ~top).sum()) >= LEAST
    return bool(both and np.ptp(x[known]) > 1e-12)


def _effect(
    x: NDArray[np.float64], top: NDArray[np.bool_], weights: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """(b,) differences of the weighted means in units of the property's standard deviation."""
    known = np.isfinite(x)
    scaled = np.where(known, x, 0.0) / np.std(x[known])
    rows = np.ones((1, len(x))) if weights is None else weights
    means = []
    for side in (known & top, known & ~top):
        drawn = rows[:, side]
        with np.errstate(invalid="ignore", divide="ignore"):
            means.append(drawn @ scaled[side] / drawn.sum(axis=1))
    answer: NDArray[np.float64] = means[0] - means[1]
    return answer


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's step-down adjusted p-values: they bound the chance of any false finding."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


def benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Benjamini and Hochberg's adjusted p-values: they bound the share of false findings."""
    order = np.argsort(p, kind="stable")
    steps = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(steps[::-1])[::-1], 1)
    return adjusted
