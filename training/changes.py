"""What differs between two states: two studies, two nights of one, or since the last night."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from likewise.study import MADE_BY, Study
from likewise.tables import AUTHOR_KEY, POST_KEY
from training.data.unit import UNIT_KEY, unit_codes, unit_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "FILE", "NIGHT", "Diff", "Growth", "ModelChange", "Moved", "Precision", "compared",
    "since_last_night",
]  # fmt: skip

FILE = "diff.json"
"""Below ``reports/`` of the second study: what the report's section shows."""

NIGHT = "night.json"
"""Beside it: what differs from the last night, as the report found it."""

COUNTED = (
    ("posts", "post_counts", POST_KEY, "read_at", "likes"),
    ("authors", "authors", AUTHOR_KEY, "fetched_at", "followers"),
)
"""What is read again: its name, the table of its readings, what one is of, its time, its count."""

TOP = 20
"""Pictures that are the top."""

LEAST_PICTURES = 20
"""Pictures that a tag must have on both sides to be compared."""

MOVED = 10
"""Pictures, and tags, that are named."""

DISCOVERIES = 0.05
"""Share of false ones among the tags that are said to have changed (Benjamini-Hochberg)."""


@dataclass(frozen=True, slots=True)
class ModelChange:
    """Average precision of both sides' models on the same pictures, and its paired difference.

    The pictures are those that both sides label and hold out; the interval is over their authors,
    or over the blocks of time that ``unit`` names.
    """

    before: str
    after: str
    pictures: int
    authors: int
    before_value: float
    after_value: float
    difference: float
    low: float | None
    high: float | None
    unit: str = "authors"


@dataclass(frozen=True, slots=True)
class Moved:
    """What became more or less liked: a picture's place among all (0 ... 1), or a tag's share."""

    name: str
    before: float
    after: float
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Precision:
    """Average precision of a side's own model on its own held-out pictures, with its interval."""

    model: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Growth:
    """How a count grew where it was read again in between: quartiles of the difference."""

    what: str
    count: str
    read_again: int
    quarter: float
    median: float
    three_quarters: float


@dataclass(frozen=True, slots=True)
class Diff:
    """Two states, ``before`` and ``after``, and what differs. Nothing is said of what is absent."""

    before: str
    after: str
    funnel: Mapping[str, Mapping[str, tuple[int, int]]] = field(default_factory=dict)
    bounds: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    medians: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    shared_pictures: int = 0
    flipped_labels: int = 0
    model: ModelChange | None = None
    precision: tuple[Precision | None, Precision | None] = (None, None)
    growth: Sequence[Growth] = ()
    entered: Sequence[str] = ()
    """Pictures among the best now and not before, best first."""
    left: Sequence[str] = ()
    """Pictures among the best before and not now."""
    gone: int = 0
    """Of these, pictures that are not ranked any more."""
    pictures: Sequence[Moved] = ()
    tags: Sequence[Moved] = ()
    tags_compared: int = 0
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**asdict(self), "sentences": self.sentences()}

    def sentences(self) -> list[str]:
        """What may be said, no stronger than the intervals."""
        lines = []
        if self.shared_pictures:
            lines.append(
                f"{self.shared_pictures:,} pictures are labelled on both sides; "
                f"{self.flipped_labels:,} of them changed their label."
            )
        lines += [_growth_sentence(one) for one in self.growth]
        if None not in self.precision:
            lines.append(_precision_sentence(*self.precision))
        if self.model is not None:
            lines.append(_model_sentence(self.model))
        if self.entered or self.left:
            gone = f", {self.gone:,} of them not ranked any more" if self.gone else ""
            lines.append(
                f"{len(self.entered):,} pictures entered the best {TOP}, {len(self.left):,} left "
                f"them{gone}."
            )
        if self.tags_compared:
            lines.append(
                f"Of {self.tags_compared:,} tags, {len(self.tags):,} changed how often their "
                f"pictures are liked (at most {DISCOVERIES:.0%} of these by chance)."
            )
        return [*lines, *self.notes]

    def text(self) -> str:
        """For a terminal."""
        lines = [f"before: {self.before}", f"after:  {self.after}"]
        for table, counts in self.funnel.items():
            changed = [(name, *pair) for name, pair in counts.items() if pair[0] != pair[1]]
            if changed:
                lines.append(f"{table}:")
                lines += [f"  {a:>10,} -> {b:>10,}  {name}" for name, a, b in changed]
        for title, values in (("bounds", self.bounds), ("medians", self.medians)):
            changed_values = {k: v for k, v in values.items() if v[0] != v[1]}
            if changed_values:
                lines.append(f"{title}:")
                lines += [
                    f"  {_n(a)} -> {_n(b)}  {name}" for name, (a, b) in changed_values.items()
                ]
        lines += self.sentences()
        for title, moved in (("tags", self.tags), ("pictures", self.pictures)):
            for one in moved:
                word = "more" if one.after > one.before else "less"
                lines.append(
                    f"  {word} liked: {title[:-1]} {one.name} "
                    f"({one.before:.0%} -> {one.after:.0%}) {one.link or ''}".rstrip()
                )
        return "\n".join(lines)


def _n(value: float | None) -> str:
    return "-" if value is None else f"{value:,.6g}"


def _growth_sentence(one: Growth) -> str:
    head = f"{one.read_again:,} {one.what} were read again: {one.count}"
    if one.quarter == one.three_quarters == 0:
        return f"{head} did not change for at least half of them."
    return (
        f"{head} changed by {one.median:+,.0f} in the middle (half of them by {one.quarter:+,.0f} "
        f"to {one.three_quarters:+,.0f})."
    )


def _precision_sentence(before: Precision | None, after: Precision | None) -> str:
    assert before is not None and after is not None

    def told(one: Precision) -> str:
        if one.low is None or one.high is None:
            return f"{one.value:.3f} ({one.model}; no interval)"
        return f"{one.value:.3f} ({one.model}; {one.low:.3f} to {one.high:.3f})"

    return (
        f"Average precision on each side's own held-out pictures: {told(before)}, then "
        f"{told(after)}."
    )


def _model_sentence(one: ModelChange) -> str:
    head = (
        f"On the same {one.pictures:,} held-out pictures of {one.authors:,} {one.unit}, average "
        f"precision went from {one.before_value:.3f} to {one.after_value:.3f}"
    )
    if one.low is None or one.high is None:
        return f"{head}; there are too few {one.unit} for an interval."
    word = "better" if one.low > 0 else "worse" if one.high < 0 else "no clear change"
    return f"{head}: {one.difference:+.3f} ({one.low:+.3f} to {one.high:+.3f}), {word}."


def compared(left: Study, right: Study, before: str, after: str) -> Diff:
    """Compare two states that are open, ``before`` and ``after`` in words; nothing is written."""
    pair = _labelled(left), _labelled(right)
    return Diff(
        before=before,
        after=after,
        funnel=_funnels(left, right),
        bounds=_said(left, right, "kept_posts", "bounds"),
        medians=_said(left, right, "labels", "cut"),
        precision=(_precision(left), _precision(right)),
        growth=[one for one in (_growth(left, right, *what) for what in COUNTED) if one],
        notes=_notes(left, right),
        **_common(left, right, pair),
    )


def since_last_night(study: Study) -> Diff | None:
    """What differs from the last night whose tables were others; None before a second night."""
    now = Study.open(study, at="now")
    prints = _prints(now)
    for night in reversed(study.nights()):
        before = Study.open(study, at=night["night"])
        if _prints(before) != prints:
            ended = night["ended_at"]
            name = f"night {night['night']}, {ended:%Y-%m-%d %H:%M} UTC"
            return compared(before, now, name, "now")
    return None


def _prints(state: Study) -> dict[str, str]:
    found = {name: state.manifest(name) for name in MADE_BY}
    return {name: one.fingerprint for name, one in found.items() if one is not None}


def _funnels(left: Study, right: Study) -> dict[str, dict[str, tuple[int, int]]]:
    answer: dict[str, dict[str, tuple[int, int]]] = {}
    for table in MADE_BY:
        both = [state.manifest(table) for state in (left, right)]
        funnels = [(m.funnel or {}) if m is not None else {} for m in both]
        if not any(funnels):
            continue
        counts = {"in": tuple(int(f.get("rows_in", 0)) for f in funnels)}
        reasons = [dict(f.get("dropped", {})) for f in funnels]
        for reason in sorted(reasons[0].keys() | reasons[1].keys()):
            counts[f"dropped: {reason}"] = tuple(int(r.get(reason, 0)) for r in reasons)
        counts["out"] = tuple(int(f.get("rows_out", 0)) for f in funnels)
        answer[table] = {name: (pair[0], pair[1]) for name, pair in counts.items()}
    return answer


def _said(
    left: Study, right: Study, table: str, key: str
) -> dict[str, tuple[float | None, float | None]]:
    """Numbers that a stage said about its table, on both sides."""
    both = []
    for state in (left, right):
        manifest = state.manifest(table)
        said = (manifest.extra.get(key) if manifest is not None else None) or {}
        both.append({k: float(v) for k, v in said.items() if isinstance(v, int | float)})
    names = sorted(both[0].keys() | both[1].keys())
    return {name: (both[0].get(name), both[1].get(name)) for name in names}


def _notes(left: Study, right: Study) -> list[str]:
    notes = []
    for table, key in (("labels", "target"), ("scores", "model"), ("scores", "backbone")):
        values = []
        for state in (left, right):
            manifest = state.manifest(table)
            values.append(None if manifest is None else manifest.extra.get(key))
        if values[0] != values[1] and None not in values:
            notes.append(f"The {key} was {values[0]}, is {values[1]}.")
    missing = [
        f"The {side} side has no table {table}."
        for side, state in (("first", left), ("second", right))
        for table in ("labels", "scores")
        if state.manifest(table) is None
    ]
    return notes + missing


def _precision(state: Study) -> Precision | None:
    """Of the model that ranks, on the held-out pictures, as ``compare`` found it."""
    import pyarrow.compute as pc

    scores = state.manifest("scores")
    if scores is None or state.manifest("comparison") is None:
        return None
    model = str(scores.extra.get("model"))
    here = (
        (pc.field("model") == model)
        & (pc.field("part") == "test")
        & (pc.field("metric") == "average_precision")
    )
    rows = state.read("comparison", ["value", "low", "high"], filter=here).to_pylist()
    found = [row for row in rows if row["value"] is not None]
    return Precision(model, **found[0]) if len(found) == 1 else None


def _growth(
    left: Study, right: Study, what: str, table: str, key: Sequence[str], time: str, count: str
) -> Growth | None:
    """Differences of the newest counts on both sides, of what was read in between."""
    import pyarrow as pa

    if left.manifest(table) is None or right.manifest(table) is None:
        return None
    sides = []
    for state in (left, right):
        # Readings of one author are several: the newest one that tells the count.
        rows = state.read(table, [*key, time, count]).drop_null().sort_by(time)
        newest = rows.group_by([*key], use_threads=False).aggregate(
            [(time, "last"), (count, "last")]
        )
        sides.append(newest)
    both = sides[0].join(sides[1], keys=[*key], join_type="inner", right_suffix="_after")
    times = [
        both[name].cast(pa.int64()).to_numpy() for name in (f"{time}_last", f"{time}_last_after")
    ]
    again = times[1] > times[0]
    if not again.any():
        return None
    change = (both[f"{count}_last_after"].to_numpy() - both[f"{count}_last"].to_numpy())[again]
    low, middle, high = (float(one) for one in np.quantile(change, [0.25, 0.5, 0.75]))
    return Growth(what, count, int(again.sum()), low, middle, high)


def _top(left: Study, right: Study) -> dict[str, Any]:
    """Pictures that entered or left the best, by each side's own ranking."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if left.manifest("scores") is None or right.manifest("scores") is None:
        return {}
    best = []
    for state in (left, right):
        rows = state.read("scores", ["picture_id", "rank"], filter=pc.field("rank") <= TOP)
        best.append(rows.sort_by("rank")["picture_id"].to_pylist())
    lost = [one for one in best[0] if one not in set(best[1])]
    ids = pc.field("picture_id").isin(pa.array(lost, pa.string()))
    ranked = set(right.read("scores", ["picture_id"], filter=ids)["picture_id"].to_pylist())
    return {
        "entered": [one for one in best[1] if one not in set(best[0])],
        "left": lost,
        "gone": sum(one not in ranked for one in lost),
    }


# -- the same pictures ------------------------------------------------------------------------


def _labelled(study: Study) -> dict[str, dict[str, Any]]:
    if study.manifest("labels") is None:
        return {}
    columns = ["picture_id", *UNIT_KEY, "post_id", "ratio", "label", "split"]
    table = study.read("labels", columns)
    units = unit_codes(table).tolist()
    return {
        row["picture_id"]: row | {"unit": unit}
        for row, unit in zip(table.to_pylist(), units, strict=True)
    }


def _common(
    left: Study, right: Study, pair: tuple[dict[str, Any], dict[str, Any]]
) -> dict[str, Any]:
    """What is known of the pictures that both sides label."""
    before, after = pair
    shared = sorted(before.keys() & after.keys())
    tags, compared = _tags(left, right, before, after)
    return {
        **_top(left, right),
        "shared_pictures": len(shared),
        "flipped_labels": sum(before[one]["label"] != after[one]["label"] for one in shared),
        "model": _model(left, right, shared, before, after),
        "pictures": _pictures(right, shared, before, after),
        "tags": tags,
        "tags_compared": compared,
    }


def _model(
    left: Study,
    right: Study,
    shared: Sequence[str],
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> ModelChange | None:
    from training.statistics.intervals import leave_out, plain
    from training.statistics.metrics import average_precision

    if left.manifest("scores") is None or right.manifest("scores") is None:
        return None
    scores = []
    for state in (left, right):
        table = state.read("scores", ["picture_id", "score"])
        scores.append(dict(zip(*(c.to_pylist() for c in table.columns), strict=True)))
    held = [
        one
        for one in shared
        if before[one]["split"] == after[one]["split"] == "test"
        and one in scores[0]
        and one in scores[1]
    ]
    label = np.array([int(after[one]["label"]) for one in held], np.int64)
    if len(set(label.tolist())) != 2:
        return None
    unit = np.unique([after[one]["unit"] for one in held], return_inverse=True)[1].astype(np.int64)
    values = [np.array([side[one] for one in held], np.float64) for side in scores]

    def gain(weight: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        after_, before_ = (average_precision(label, v, weight) for v in reversed(values))
        return after_ - before_

    whole = [float(average_precision(label, side)) for side in values]
    n_units = int(unit.max()) + 1
    low = high = float("nan")
    if n_units > 2:
        left_out = leave_out(unit, right.config.study.seed)
        without = np.concatenate([np.atleast_1d(gain(w)) for w in left_out.weights()])
        low, high = plain(whole[1] - whole[0], without)
    models = [str(state.require("scores").extra.get("model", "?")) for state in (left, right)]
    known = bool(np.isfinite(low) and np.isfinite(high))
    return ModelChange(
        before=models[0],
        after=models[1],
        pictures=len(held),
        authors=n_units,
        unit=unit_of(right).many,
        before_value=whole[0],
        after_value=whole[1],
        difference=whole[1] - whole[0],
        low=float(low) if known else None,
        high=float(high) if known else None,
    )


def _places(rows: Mapping[str, Any], shared: Sequence[str]) -> dict[str, float]:
    """Share of a side's pictures with a smaller ratio, of each shared one."""
    ratio = np.sort([row["ratio"] for row in rows.values() if row["ratio"] is not None])
    return {
        one: float(np.searchsorted(ratio, rows[one]["ratio"]) / max(1, len(ratio)))
        for one in shared
        if rows[one]["ratio"] is not None
    }


def _pictures(
    right: Study, shared: Sequence[str], before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[Moved]:
    """The pictures whose place among all moved most, half up and half down."""
    import pyarrow.compute as pc

    places = _places(before, shared), _places(after, shared)
    both = sorted(places[0].keys() & places[1].keys(), key=lambda k: places[1][k] - places[0][k])
    moved = [one for one in both if places[0][one] != places[1][one]]
    half = MOVED // 2
    chosen = list(dict.fromkeys([*moved[:half], *reversed(moved[-half:])]))
    posts = pc.field("post_id").isin([after[one]["post_id"] for one in chosen])
    columns = ["platform", "host", "post_id", "url"]
    rows = right.read("posts", columns, filter=posts).to_pylist() if chosen else []
    links = {tuple(row.values())[:3]: row["url"] for row in rows}
    key = ("platform", "host", "post_id")
    return [
        Moved(
            one[:12], places[0][one], places[1][one], links.get(tuple(after[one][k] for k in key))
        )
        for one in chosen
    ]


def _tags(
    left: Study, right: Study, before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[list[Moved], int]:
    """Tags whose share of liked pictures changed, by Fisher's test and Benjamini-Hochberg."""
    from scipy.stats import false_discovery_control, fisher_exact

    counts = [_liked_by_tag(state, rows) for state, rows in ((left, before), (right, after))]
    names = [
        tag
        for tag in sorted(counts[0].keys() & counts[1].keys())
        if min(sum(counts[0][tag]), sum(counts[1][tag])) >= LEAST_PICTURES
    ]
    if not names:
        return [], 0
    p = [float(fisher_exact([counts[0][tag], counts[1][tag]]).pvalue) for tag in names]
    adjusted = false_discovery_control(p)
    shares = [{tag: side[tag][0] / sum(side[tag]) for tag in names} for side in counts]
    changed = [tag for tag, value in zip(names, adjusted, strict=True) if value <= DISCOVERIES]
    changed.sort(key=lambda tag: -abs(shares[1][tag] - shares[0][tag]))
    return [Moved(f"#{tag}", shares[0][tag], shares[1][tag]) for tag in changed], len(names)


def _liked_by_tag(study: Study, rows: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Tag -> (liked, other) pictures."""
    if not rows:
        return {}
    table = study.read("posts", ["platform", "host", "post_id", "tags"]).to_pylist()
    tags = {(r["platform"], r["host"], r["post_id"]): r["tags"] or () for r in table}
    found: dict[str, list[int]] = {}
    for row in rows.values():
        for tag in tags.get((row["platform"], row["host"], row["post_id"]), ()):
            found.setdefault(tag, [0, 0])[0 if row["label"] == 1 else 1] += 1
    return {tag: (good, bad) for tag, (good, bad) in found.items()}
