"""``classify clean-labels``: which labels are probably wrong; applying and undoing proposals."""

from __future__ import annotations

import csv
import datetime as dt
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from likewise.errors import DataError
from likewise.progress import progress
from likewise.study import Study
from likewise.tables import REVIEWS
from likewise.whole import write_bytes
from training.data.matrix import borrowed_matrix, load_labels
from training.data.question import must_ask_classes
from training.data.reviews import reviews_table
from training.fitting.classes import mean_square
from training.noise.cleaning import FOLDS, Gain, does_it_help, out_of_fold
from training.noise.rankings import BOTH, rankings

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["REVIEWER", "Doubts", "apply_doubts", "clean_labels", "reject_listed", "undo_doubts"]

REVIEWER = "clean-labels"


@dataclass(frozen=True)
class Doubts:
    """Pictures in the order of doubt, the most doubtful first; see ``clean_labels``.

    ``suggested`` is the most probable class out of fold, ``scores`` one column a ranking.
    """

    picture_id: NDArray[np.object_]
    given: NDArray[np.object_]
    suggested: NDArray[np.object_]
    scores: dict[str, NDArray[np.float64]]
    gains: tuple[Gain, ...]
    table: Path

    @property
    def contradicted(self) -> int:
        """How many pictures the model would give another class."""
        return int((self.given != self.suggested).sum())

    def text(self, shown: int = 15) -> str:
        """The most doubtful labels, and whether dropping them has been shown to help."""
        lines = [
            f"{self.contradicted} of {len(self.given)} labels are contradicted by models that have "
            "not seen their picture",
            "",
            f"{'picture':<14}{'label':<24}{'rather':<24}belief in the label",
        ]
        belief = self.scores["self-confidence"]
        lines += [
            f"{self.picture_id[i][:12]:<14}{self.given[i]:<24}{self.suggested[i]:<24}{belief[i]:.3f}"
            for i in range(min(shown, len(self.given)))
        ]
        lines += ["", f"all of them: {self.table}"]
        if not self.gains:
            return "\n".join([*lines, "whether dropping them helps is not known: --prove asks"])
        helping = [gain.sentence for gain in self.gains if gain.helps]
        said = helping or ["dropping doubtful labels does not help as far as these can show"]
        return "\n".join([*lines, "", *said])


def clean_labels(
    study: Study | str | os.PathLike[str],
    *,
    layer: str | None = None,
    c: float = 1.0,
    prove: bool = False,
    alphas: Sequence[float] = (0.02, 0.05, 0.1, 0.2),
    seeds: int = 10,
) -> Doubts:
    """Rank the labels of the training and validation parts by doubt; the test part stays untouched.

    Args:
        study: a study whose labels are classes and whose features are extracted.
        layer: feature layer; the default is the table's last but the logits.
        c: inverse penalty of the logistic regressions, on features of mean squared length 1.
        prove: also drop ``alphas`` by each ranking and compare with dropping at random.
        alphas, seeds: of the proof.

    Raises:
        MissingTableError, DataError: labels or features are missing or unfit.
    """
    opened = Study.open(study)
    must_ask_classes(opened)
    labels = load_labels(opened, whole=True)
    n = labels.test.start
    with borrowed_matrix(opened, labels, layer) as matrix:
        features = matrix.upright[:n]
    features *= np.float32(1 / np.sqrt(mean_square(features)))
    label, group = labels.label[:n], labels.group[:n]
    if len(np.unique(group)) < FOLDS:
        raise DataError(
            f"{len(np.unique(group))} groups are too few for {FOLDS} folds",
            hint="gather more pictures, or set [question] group to post",
        )
    with progress("clean-labels", FOLDS + (seeds if prove else 0)) as bar:
        share = out_of_fold(features, label, group, seed=opened.config.study.seed, c=c, bar=bar)
        gains = (
            does_it_help(features, label, group, alphas=alphas, seeds=seeds, c=c, bar=bar)
            if prove
            else []
        )
    scores = rankings(share, label, features, group)
    order = np.argsort(scores[BOTH], kind="stable")
    names = np.array(labels.known, object)
    found = Doubts(
        labels.picture_id[:n][order],
        names[label][order],
        names[share.argmax(axis=1)][order],
        {name: values[order] for name, values in scores.items()},
        tuple(gains),
        opened.folder("reports") / "doubtful-labels.csv",
    )
    _write(found)
    return found


def _write(found: Doubts) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["picture_id", "label", "rather", *found.scores])
    columns = (found.picture_id, found.given, found.suggested, *found.scores.values())
    writer.writerows(zip(*(column.tolist() for column in columns), strict=True))
    write_bytes(found.table, text.getvalue().encode())


def apply_doubts(study: Study, found: Doubts, alpha: float) -> int:
    """Reject the share ``alpha`` of the most doubtful labels, as reviews; returns how many.

    Labels change when ``[question] kind = "reviewed"`` and ``likewise label`` runs again;
    ``undo_doubts`` takes everything back.
    """
    n = round(alpha * len(found.given))
    belief = found.scores["self-confidence"]
    rows = [
        {
            "picture_id": found.picture_id[i],
            "reviewer": REVIEWER,
            "reviewed_at": dt.datetime.now(dt.UTC),
            "old_label": found.given[i],
            "new_label": None,
            "score": float(belief[i]),
            "reason": f"among the {alpha:.0%} least believed; rather {found.suggested[i]}",
        }
        for i in range(n)
    ]
    _publish(study, pa.concat_tables([reviews_table(study), _table(rows)]), f"apply {alpha}")
    return n


def reject_listed(study: Study, path: Path) -> int:
    """Reject the pictures of a list that a person made (page of off-topic results), as reviews.

    Args:
        study: its labels are published; its lock is held.
        path: CSV with a column ``picture_id``.

    Returns:
        How many were rejected.

    Raises:
        DataError: the file has no such column, or names a picture that has no label.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if "picture_id" not in (reader.fieldnames or ()):
            raise DataError(
                f"{path}: there is no column picture_id",
                hint="the page of off-topic results saves such a list",
            )
        wanted = list(dict.fromkeys(row["picture_id"].strip() for row in reader))
    labels = study.read("labels", ["picture_id", "class"]).to_pylist()
    given = {row["picture_id"]: row["class"] for row in labels}
    unknown = [one for one in wanted if one not in given]
    if unknown:
        raise DataError(
            f"{path}: {len(unknown)} pictures have no label in {study.root}, the first is "
            f"{unknown[0]}",
            hint="is this list of another study, or has it been applied already?",
        )
    rows = [
        {
            "picture_id": one,
            "reviewer": REVIEWER,
            "reviewed_at": dt.datetime.now(dt.UTC),
            "old_label": given[one],
            "new_label": None,
            "score": None,
            "reason": f"off topic: rejected by hand ({path.name})",
        }
        for one in wanted
    ]
    _publish(study, pa.concat_tables([reviews_table(study), _table(rows)]), f"reject {len(rows)}")
    return len(rows)


def undo_doubts(study: Study) -> int:
    """Take back everything that ``apply_doubts`` said; what people said stays. Returns how many."""
    reviews = reviews_table(study)
    kept = reviews.filter(pc.not_equal(reviews["reviewer"], REVIEWER))
    _publish(study, kept, "undo")
    return int(reviews.num_rows - kept.num_rows)


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=REVIEWS.schema)


def _publish(study: Study, reviews: pa.Table, what: str) -> None:
    stage = study.begin("reviews", params={"what": what}, redo=True)
    stage.write(reviews)
    stage.publish(rows=reviews.num_rows)
