"""``classify run``: paper 5's line, from class names and a folder to pictures that show why.

A model that fits is taken; else a data set is built, learned and doubted. Then the folder is
predicted, and everything above the threshold gets its original, overlay and segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import likewise
from likewise.progress import note
from likewise.study import Study
from training.search import build as building
from training.search.learning import learn, load_problem
from training.search.matching import find_model, studies_below
from training.search.page import doubts_page, results_page, write_page
from training.search.results import (
    Rates,
    Said,
    copies_of_training,
    draw,
    predictions,
    rates_of,
    study_rates,
    write_table,
)
from training.search.strangers import Strangers, disowned

if TYPE_CHECKING:
    from training.models.classes import ClassScorer

__all__ = ["Ran", "doubt", "make_model", "run"]


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run did; ``text`` is what people read of it."""

    study: str
    model: str
    why: tuple[str, ...]
    pictures: int
    answered: Mapping[str, int]
    failed: tuple[tuple[str, str], ...]
    rates: tuple[Rates, ...]
    notes: tuple[str, ...]
    page: str
    table: str

    def to_dict(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)

    def text(self) -> str:
        """For people."""
        lines = [*self.why, ""]
        for one in self.rates:
            lines += [one.text(), ""]
        lines += self.notes
        said = ", ".join(f"{name} {count:,}" for name, count in self.answered.items())
        lines += ["", f"{self.pictures:,} pictures; above the threshold: {said}"]
        return "\n".join([*lines, f"page: {self.page}", f"table: {self.table}"])


def run(
    classes: Sequence[str],
    folder: Path,
    *,
    threshold: float,
    study: Path | None = None,
    output: Path | None = None,
    tune_epochs: int = 1,
    **search: Any,
) -> Ran:
    """Predict a folder with a model of these classes, made when there is none that fits.

    Args:
        classes: keywords; each is a class.
        folder: of pictures; where its folders are named after classes they count as the truth.
        threshold: probability above which a picture is answered.
        study: the data set to take or to make; without it every study beside the caller is asked.
        output: folder of results; the default lies in the study.
        tune_epochs: of fine-tuning, where a model is made.
        search: as ``training.search.build.study_for`` takes them.

    Raises:
        UsageError: fewer than two classes, no picture, or another study stands in the way.
        DataError: the searches bring too little to learn from; what sources said is told.
    """
    places = studies_below(Path.cwd()) if study is None else [study]
    match = find_model(classes, [p for p in places if (p / "likewise.toml").is_file()])
    notes: list[str] = []
    if match.study is None or match.model is None:
        path = study or building.default_folder(classes)
        opened = building.study_for(path, classes, **search)
        with opened.lock():
            model, said = make_model(opened, tune_epochs=tune_epochs)
        why = (*match.said, f"made: {path}, model {model.name}")
        notes += said
    else:
        opened, model, why = match.study, match.model, match.said
    for line in why[:-1] if match.model is None else why:
        note(line)
    rows = predictions(opened, model, folder, threshold)
    copies = copies_of_training(opened, rows)
    if copies:
        notes.append(f"{len(copies)} pictures of the folder are copies of training pictures: they "
                     "are in the table and in no rate")  # fmt: skip
    judged = [one for one in rows if one.name not in copies]
    both = (_of_folder(judged, threshold, folder), study_rates(opened, model, threshold))
    found = [one for one in both if one is not None]
    notes.append(
        f"{threshold:.15g} promises nothing by itself: likewise classify predict {opened.root} "
        f"{folder} --accuracy .99 chooses a threshold that does"
    )
    target = output or opened.folder("results") / (folder.resolve().name or "root")
    target.mkdir(parents=True, exist_ok=True)
    write_table(target / "predictions.csv", rows)
    drawn = draw(opened, model, rows, target)
    title = f"{', '.join(model.classes)}: {folder.name}"
    page = write_page(
        target / "index.html", results_page(title, rows, drawn, found, notes, model.card)
    )
    counts = dict.fromkeys(model.classes, 0)
    for one in rows:
        if one.answered and one.said is not None:
            counts[one.said] += 1
    return Ran(
        study=str(opened.root),
        model=model.name,
        why=tuple(why),
        pictures=len(rows),
        answered=counts,
        failed=tuple((one.name, one.error) for one in rows if one.error),
        rates=tuple(found),
        notes=tuple(notes),
        page=str(page),
        table=str(target / "predictions.csv"),
    )


def _of_folder(rows: Sequence[Said], threshold: float, folder: Path) -> Rates | None:
    """Rates on the pictures whose folder names their class; None where no folder does."""
    judged = [one for one in rows if one.truth is not None and one.error is None]
    if not judged:
        return None
    sure = np.array([one.probability for one in judged])
    right = np.array([one.said == one.truth for one in judged])
    where = f"{folder}, whose folders name the classes; no picture of it trained the model"
    return rates_of(sure, right, threshold, where)


def make_model(study: Study, *, tune_epochs: int = 1) -> tuple[ClassScorer, list[str]]:
    """Build, extract, doubt and learn; the study's lock is held. Returns the model and notes.

    Raises:
        DataError: fewer than two classes have pictures.
    """
    built = building.build(study)
    notes = []
    if built.too_few:
        notes.append(f"fewer than {built.wanted:,} pictures of a class were found:")
        notes += [f"  {where}: {why}" for where, why in built.lacking]
    likewise.extract(study)
    # The model comes last: once it is there the next line takes it, and makes nothing else.
    found = doubt(study)
    learnt = learn(study, tune_epochs=tune_epochs)
    notes.append(
        f"the last layer was trained {learnt.epochs} epochs; epoch {learnt.best_epoch} is kept. "
        f"{learnt.sentence}"
    )
    if found is not None:
        strangers, page = found
        notes += [strangers.sentence(), f"look through them: {page}"]
    return learnt.model, notes


def doubt(study: Study) -> tuple[Strangers, Path] | None:
    """Estimate the share of off-topic results and write their page; None with too few pictures.

    The test part is left out: it must stay what the search brought.

    Raises:
        MissingTableError, DataError: labels or features are missing or unfit.
    """
    problem = load_problem(study)
    labels = problem.labels
    rows, names = problem.rows(problem.train, labels.validation), labels.known
    columns = labels.label[rows]
    try:
        found = disowned(problem.features[rows], columns, names)
    except ValueError:
        return None
    ids = [str(labels.picture_id[rows[at]]) for at in found.order]
    given = [names[columns[at]] for at in found.order]
    margins = found.margin[found.order].tolist()
    path = study.folder("reports") / "off-topic.html"
    write_page(path, doubts_page(study, found, ids, given, margins))
    return found, path
