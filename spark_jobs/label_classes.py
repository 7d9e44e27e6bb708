"""``label`` where classes are asked: pictures, posts -> labels. What a picture is, in which part.

A class is what the import's label or a hashtag of the post says, or what people said in review. The
columns that decide are narrow, so one process reads them whatever the size of the pictures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from collectors.attribution import write_attribution
from filters.classes import PARTS, ClassNames, deal, groups_of
from filters.pictures.copies import originals
from filters.pictures.hamming import near_pairs
from likewise.config import QuestionSection
from likewise.errors import DataError
from likewise.funnel import Funnel
from likewise.study import Manifest, Study
from likewise.tables import AUTHOR_KEY, LABELS, PICTURE_KEY, POSTS
from spark_jobs import begin

__all__ = ["label_classes", "reviewed_classes", "usable"]

IN_LABELS = "class:"
"""What the import puts before a class among a post's ``labels``."""

AUTO_GROUPS = 10
"""Authors that every class needs for ``[question] group = "auto"`` to choose authors."""

LISTED = 100


def label_classes(study: Study, *, redo: bool = False) -> Manifest:
    """Give each picture its class and each group its part, publish ``labels``.

    A group that has been dealt stays in its part and fold for ever; see ``filters.classes.deal``.
    A picture of two classes is listed and left out, of training and test.

    Raises:
        MissingTableError: there are no posts or pictures yet.
        DataError: fewer than two classes are left.
    """
    question = study.config.question
    stage = begin.label(study, redo=redo)
    if stage.done:
        write_attribution(study)  # somebody may have deleted it
        return stage.manifest
    chosen = _chosen(study, question)
    titles, dropped = chosen.titles, chosen.dropped
    if len(titles) < 2:
        _too_few(study, chosen)
    rows, over = _balanced(chosen, question)
    dropped["over the smallest class"] = over
    table, facts = _dealt(study, rows, chosen, question)
    stage.write(table)
    n = table.num_rows
    funnel = Funnel("label", "pictures", n + sum(dropped.values()), n, dropped)
    shown = dict(sorted(chosen.both.items())[:LISTED])
    manifest = stage.publish(
        funnel=funnel,
        rows=n,
        question=question.kind,
        classes=titles,
        merged=chosen.merged,
        in_two_classes=shown,
        rare=chosen.rare,
        usable=chosen.sizes(),
        **facts,
    )
    write_attribution(study)
    return manifest


def _too_few(study: Study, chosen: _Chosen) -> NoReturn:
    sizes = chosen.sizes()
    one = "".join(f"one class, {name} ({n})" for name, n in sizes.items())
    left = "".join(f"; {n} left out: {reason}" for reason, n in chosen.dropped.items() if n)
    if chosen.rare:
        rare = ", ".join(f"{c} ({n})" for c, n in chosen.rare.items())
        hint = f"too few: {rare}; gather more of them, or look at [question] classes, min_pictures"
    elif sizes:
        hint = (
            f"import pictures of another class, too: likewise import {study.root} FOLDER; "
            "[question] neither names a class for everything else"
        )
    else:
        hint = "a folder a class, a label column or hashtags say the class; see [question]"
    raise DataError(
        f"the pictures are of {one or 'no class'}, expected at least 2 classes{left}", hint=hint
    )


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Pictures with their classes, and what was left out on the way."""

    rows: Rows
    titles: list[str]
    dropped: dict[str, int]
    both: dict[str, list[str]]
    merged: dict[str, list[str]]
    rare: dict[str, int]
    """Class -> its pictures, where they are fewer than ``[question] min_pictures``."""
    found: Mapping[tuple[str, ...], tuple[str, int]]
    """Post -> who publishes it, and its place in its search."""

    def sizes(self) -> dict[str, int]:
        """Pictures of each class."""
        counts = Counter(number for _, number in self.rows)
        return {title: counts[number] for number, title in enumerate(self.titles)}

    def source(self, row: Mapping[str, Any]) -> str:
        """Who publishes a picture; empty where nobody told."""
        return self.found.get(_post(row), ("", 0))[0]


def usable(study: Study) -> dict[str, int]:
    """Pictures of each class that hygiene, copies and reviews leave, before classes are evened out.

    Raises:
        MissingTableError: there are no posts or pictures yet.
    """
    return _chosen(study, study.config.question).sizes()


def _chosen(study: Study, question: QuestionSection) -> _Chosen:
    rows = _pictures(study)
    said = _said(study, question)
    has_reviews = question.kind == "reviewed" and study.manifest("reviews") is not None
    corrected = reviewed_classes(study) if has_reviews else {}
    names = ClassNames(
        [*(value for values in said.values() for value in values), *corrected.values()],
        question.classes,
    )
    judged, dropped, both = _classes(rows, said, corrected, names, question)
    found = _licences(study)
    if question.copies == "drop":
        judged = _without_copies(judged, found, study.config.label.near_duplicate_radius, dropped)
    kept, titles, rare = _frequent(judged, names, question)
    dropped[f"class of fewer than {question.min_pictures} pictures"] = sum(rare.values())
    return _Chosen(kept, titles, dropped, both, names.merged, rare, found)


def _post(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in POSTS.key)


def _licences(study: Study) -> dict[tuple[str, ...], tuple[str, int]]:
    """Post -> its publisher and its place in its search; empty where no platform told any."""
    if study.manifest("licences") is None:
        return {}
    rows = study.read("licences", [*POSTS.key, "source", "rank"]).to_pylist()
    return {_post(row): (row["source"] or "", row["rank"] or 0) for row in rows}


def _in_order(rows: Rows, found: Mapping[tuple[str, ...], tuple[str, int]]) -> Rows:
    """The rows in the order of their searches; those of one place by their posts."""
    return sorted(rows, key=lambda one: (found.get(_post(one[0]), ("", 0))[1], _post(one[0])))


def _without_copies(
    rows: Rows,
    found: Mapping[tuple[str, ...], tuple[str, int]],
    radius: int,
    dropped: dict[str, int],
) -> Rows:
    """One of each set of near copies, the first of its search; none where classes differ."""
    rows = _in_order(rows, found)
    codes = np.array([row["phash"] or 0 for row, _ in rows], np.int64)
    label = np.array([number for _, number in rows], np.int64)
    pairs = _near(codes, radius)
    mixed = pairs[label[pairs[:, 0]] != label[pairs[:, 1]]]
    torn = np.zeros(len(rows), bool)
    torn[mixed.ravel()] = True
    left = np.flatnonzero(~torn)
    first = originals(codes[left], radius) == np.arange(len(left))
    dropped["near copy in another class"] = int(torn.sum())
    dropped["near copy"] = int((~first).sum())
    return [rows[at] for at in left[first].tolist()]


def _balanced(chosen: _Chosen, question: QuestionSection) -> tuple[Rows, int]:
    """As many pictures of each class as asked for, the first of its search; how many went.

    Pictures that are for the test part alone are not counted, and all of them stay.
    """
    apart = {
        row["picture_id"] for row, _ in chosen.rows if chosen.source(row) in question.test_from
    }
    pool = [one for one in chosen.rows if one[0]["picture_id"] not in apart]
    sizes = Counter(number for _, number in pool)
    most = question.per_class or len(chosen.rows)
    if question.balance and sizes:
        most = min(most, *(sizes[number] for number in range(len(chosen.titles))))
    taken: Counter[int] = Counter()
    kept: Rows = []
    for row, number in _in_order(pool, chosen.found):
        taken[number] += 1
        if taken[number] <= most:
            kept.append((row, number))
    ids = {row["picture_id"] for row, _ in kept} | apart
    rows = [one for one in chosen.rows if one[0]["picture_id"] in ids]
    return rows, len(chosen.rows) - len(rows)


def _pictures(study: Study) -> list[dict[str, Any]]:
    """The pictures that are there, with the keys of every post that shows them."""
    columns = [*PICTURE_KEY, "author_id", "picture_id"]
    shown = study.read("fetches", columns, filter=pc.field("status") == "ok")
    pictures = study.read("pictures", ["picture_id", "bucket", "phash"])
    found = shown.join(pictures, "picture_id", join_type="inner")
    keys = [(name, "ascending") for name in ("picture_id", *POSTS.key, "media_index")]
    rows: list[dict[str, Any]] = found.sort_by(keys).to_pylist()
    return rows


def _said(study: Study, question: QuestionSection) -> dict[tuple[str, ...], list[str]]:
    """Post -> what its labels or hashtags say; posts that say nothing are not there."""
    column = "labels" if question.source == "label" else "tags"
    posts = study.read("posts", [*POSTS.key, column])
    keys = zip(*(posts[name].to_pylist() for name in POSTS.key), strict=True)
    values = (found or [] for found in posts[column].to_pylist())
    if question.source == "label":
        head = len(IN_LABELS)
        values = ([v[head:] for v in found if v.startswith(IN_LABELS)] for found in values)
    return {key: found for key, found in zip(keys, values, strict=True) if found}


def reviewed_classes(study: Study) -> dict[str, str]:
    """picture_id -> the class that people gave it last; "" where they rejected the picture.

    Raises:
        MissingTableError: nobody's reviews have been published.
    """
    found = study.read("reviews", ["picture_id", "new_label", "reviewed_at"])
    rows = found.sort_by("reviewed_at").to_pylist()
    return {row["picture_id"]: row["new_label"] or "" for row in rows}


Rows = list[tuple[dict[str, Any], int]]
"""(a fetch with its picture's facts, number of the class), one a picture."""


def _classes(
    rows: list[dict[str, Any]],
    said: Mapping[tuple[str, ...], list[str]],
    corrected: Mapping[str, str],
    names: ClassNames,
    question: QuestionSection,
) -> tuple[Rows, dict[str, int], dict[str, list[str]]]:
    """One row a picture with its class; how many were dropped by reason; those of two classes."""
    first: dict[str, dict[str, Any]] = {}
    found: dict[str, set[int]] = {}
    for row in rows:
        picture = row["picture_id"]
        first.setdefault(picture, row)
        values = said.get(tuple(row[name] for name in POSTS.key), [])
        found.setdefault(picture, set()).update(names.of(values))
    neither = names.of([question.neither]) if question.neither else set()
    kept: Rows = []
    both: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    for picture, row in first.items():
        classes = found[picture]
        if picture in corrected:
            classes = names.of([corrected[picture]])
            if not classes:
                counts["rejected in review"] += 1
                continue
        if not classes:
            classes = neither
        if len(classes) == 1:
            kept.append((row, next(iter(classes))))
        elif classes:
            both[picture] = sorted(names.names[number] for number in classes)
        else:
            counts["no class"] += 1
    dropped = {
        "copy (exact)": len(rows) - len(first),
        "no class": counts["no class"],
        "rejected in review": counts["rejected in review"],
        "in two classes": len(both),
    }
    return kept, dropped, both


def _frequent(
    rows: Rows, names: ClassNames, question: QuestionSection
) -> tuple[Rows, list[str], dict[str, int]]:
    """Without rare classes, renumbered: rows, names of the classes, pictures of the rare ones."""
    sizes = Counter(number for _, number in rows)
    enough = [n for n in range(len(names.names)) if sizes[n] >= question.min_pictures]
    renumbered = {old: new for new, old in enumerate(enough)}
    kept = [(row, renumbered[number]) for row, number in rows if number in renumbered]
    rare = {name: sizes[n] for n, name in enumerate(names.names) if n not in renumbered}
    return kept, [names.names[n] for n in enough], rare


def _dealt(
    study: Study, rows: Rows, chosen: _Chosen, question: QuestionSection
) -> tuple[pa.Table, dict[str, Any]]:
    """The labels table, and how groups were made and dealt."""
    titles = chosen.titles
    label = np.array([number for _, number in rows], np.int64)
    authors = ["\x1f".join(row[k] for k in AUTHOR_KEY) for row, _ in rows]
    by_author = question.group == "author" or (
        question.group == "auto" and _fewest(authors, label) >= AUTO_GROUPS
    )
    posts = ["\x1f".join(row[k] for k in POSTS.key) for row, _ in rows]
    radius = study.config.label.near_duplicate_radius
    pairs = _near(np.array([row["phash"] or 0 for row, _ in rows], np.int64), radius)
    group, keys = groups_of(authors if by_author else posts, pairs)
    counts = np.zeros((len(keys), len(titles)), np.int64)
    np.add.at(counts, (group, label), 1)
    seed, folds = study.config.study.seed, study.config.label.folds
    parts, fold = _earlier(study)
    outside = np.array([chosen.source(row) in question.test_from for row, _ in rows], bool)
    part = _parts(keys, group, counts, outside, parts, question, seed)
    in_fold = deal(keys, counts, [1 / folds] * folds, before=fold, seed=seed + 1)
    # A class that is held out whole has no part in training, whoever its author is.
    hidden = ClassNames(titles, titles).of(question.unseen)
    split = np.asarray(PARTS, object)[part[group]]
    split[np.isin(label, list(hidden))] = "test"
    split[outside] = "test"
    columns: dict[str, Any] = {
        name: [row.get(name) for row, _ in rows] for name in LABELS.schema.names
    }
    columns |= {
        "label": label,
        "class": [titles[number] for number in label],
        "group_key": [keys[number] for number in group],
        "weight": np.ones(len(rows)),
        "fold": in_fold[group],
        "split": split.tolist(),
    }
    table = pa.table(
        [pa.array(columns[field.name], field.type) for field in LABELS.schema],
        schema=LABELS.schema,
    )
    return table, {
        "group": "author" if by_author else "post",
        "groups": len(keys),
        "near_copies": len(pairs),
        "unseen": sorted(titles[number] for number in hidden),
        "parts": dict(sorted(Counter(split.tolist()).items())),
        "sources": _by_source(chosen, rows, split.tolist()),
    }


def _parts(
    keys: list[str],
    group: NDArray[np.int64],
    counts: NDArray[np.int64],
    outside: NDArray[np.bool_],
    before: Mapping[str, int],
    question: QuestionSection,
    seed: int,
) -> NDArray[np.int64]:
    """(g,) part of each group; with publishers set aside for the test, the others only train and
    choose, but for groups of both, which are test whole: an author or a copy stands on one side.
    """
    if not question.test_from:
        return deal(keys, counts, question.shares, before=before, seed=seed)
    train = question.shares[0]
    inside = {key: part for key, part in before.items() if part < 2}
    part = deal(keys, counts, (train, 1 - train), before=inside, seed=seed)
    part[np.unique(group[outside])] = 2
    return part


def _by_source(chosen: _Chosen, rows: Rows, split: list[str]) -> dict[str, dict[str, int]]:
    """Part -> publisher -> pictures, where publishers are known."""
    counts: dict[str, Counter[str]] = {}
    for (row, _), part in zip(rows, split, strict=True):
        if source := chosen.source(row):
            counts.setdefault(part, Counter())[source] += 1
    return {part: dict(found.most_common()) for part, found in sorted(counts.items())}


def _fewest(authors: list[str], label: NDArray[np.int64]) -> int:
    """Authors of the class that has the fewest."""
    of_class: dict[int, set[str]] = {}
    for author, number in zip(authors, label.tolist(), strict=True):
        of_class.setdefault(number, set()).add(author)
    return min(map(len, of_class.values()))


def _near(codes: NDArray[np.int64], radius: int) -> NDArray[np.int64]:
    """(p, 2) rows whose perceptual hashes lie within ``radius`` bits; equal ones form a chain."""
    unique, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    left, right = near_pairs(unique, radius)
    near = np.stack([first[left], first[right]], axis=1)
    rows = np.arange(len(codes))
    equal = np.stack([first[inverse], rows], axis=1)
    return np.concatenate([near, equal[equal[:, 0] != equal[:, 1]]])


def _earlier(study: Study) -> tuple[dict[str, int], dict[str, int]]:
    """Part and fold of the groups that an earlier version of the table has dealt."""
    before = study.manifest("labels")
    if before is None or before.extra.get("question") in (None, "likes"):
        return {}, {}
    rows = study.read("labels", ["group_key", "split", "fold", "class"])
    unseen = set(before.extra.get("unseen", ()))
    parts: dict[str, int] = {}
    folds: dict[str, int] = {}
    for row in rows.to_pylist():
        if row["class"] not in unseen:  # their pictures stand in the test part whatever was dealt
            parts[row["group_key"]] = PARTS.index(row["split"])
        folds[row["group_key"]] = row["fold"]
    return parts, folds
