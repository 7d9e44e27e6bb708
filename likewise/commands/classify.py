"""``likewise classify``: verbs for studies that ask which class a picture is of."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from likewise.commands._common import emit, finish, json_option, study_argument
from likewise.errors import PartialError, UsageError
from likewise.study import Study
from likewise.whole import write_bytes

if TYPE_CHECKING:
    from training.classification.prediction import Prediction

model_option = click.option(
    "--model", metavar="NAME", help="Saved model; default is the best on the pictures that chose."
)


licence_option = click.option(
    "--licence",
    "licences",
    default="cc0,pdm,by,by-sa",
    show_default=True,
    help="Licences that may come; those with nc or nd only when named.",
)
source_option = click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="NAME[=ADDRESS]",
    help="openverse, commons or flickr, in the order in which they are asked; may be repeated.",
)
test_from_option = click.option(
    "--test-from",
    metavar="PUBLISHER",
    help="Publishers (commons, flickr, ...) whose pictures are the test part, with commas.",
)
contact_option = click.option(
    "--contact", default="", help="Address for the User-Agent, so that hosts can reach you."
)


def lists(said: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a search as ``training.search.build`` takes them."""

    def split(text: str | None) -> list[str]:
        return [part.strip() for part in (text or "").split(",") if part.strip()]

    return {
        "licences": split(said["licences"]),
        "sources": said["sources"],
        "test_from": split(said["test_from"]),
        "contact": said["contact"],
    }


@click.group(
    "classify",
    help="Categories, brands and taxonomies: train, evaluate, predict, map.",
    epilog="Example: likewise classify train my-study (docs/classify.md says what comes before)",
)
def command() -> None:
    """Group of the verbs below."""


@command.command(
    "build",
    epilog="Example: likewise classify build cat dog --per-class 600 --licence cc0,by,by-sa",
)
@click.argument("classes", nargs=-1, required=True, metavar="KEYWORD...")
@click.option("--study", "folder", type=click.Path(path_type=Path), help="Folder of the data set; "
              "default is named after the classes.")  # fmt: skip
@click.option("--per-class", default=600, show_default=True, type=click.IntRange(1),
              help="Pictures of each class.")  # fmt: skip
@licence_option
@source_option
@test_from_option
@contact_option
@json_option
def build(
    classes: tuple[str, ...],
    folder: Path | None,
    per_class: int,
    as_json: bool,
    **said: Any,
) -> None:
    """Make a data set: openly licensed pictures of a search for each class.

    Killed or out of calls, the same line goes on. Whose pictures they are stands in
    ATTRIBUTION.md. With fewer pictures than asked for, the exit code is 3 and the reasons are told
    by source.
    """
    from training.search.build import build as run
    from training.search.build import default_folder, study_for

    opened = study_for(
        folder or default_folder(classes), classes, per_class=per_class, **lists(said)
    )
    with opened.lock():
        done = run(opened)
    finish(
        done.to_dict(),
        as_json=as_json,
        text=done.text(),
        failed=list(done.lacking) if done.too_few else [],
        summary=f"{done.study}: fewer than {done.wanted:,} usable pictures of "
        + ", ".join(name for name, count in done.usable.items() if count < done.wanted),
    )


@command.command("run", epilog="Example: likewise classify run -c cat,dog -p my-pictures -t 0.98")
@click.option("-c", "--classes", required=True, help="Keywords, with commas; each is a class.")
@click.option(
    "-p",
    "--path",
    "folder",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="Pictures to predict.",
)
@click.option(
    "-t",
    "--threshold",
    default=0.99,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Probability above which a picture is answered.",
)
@click.option("--study", type=click.Path(path_type=Path), help="Data set to take or to make; "
              "without it every study in this folder is asked for a model that fits.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder of the results.")
@click.option("--per-class", default=600, show_default=True, type=click.IntRange(1),
              help="Pictures of each class, where a data set is made.")  # fmt: skip
@click.option("--tune-epochs", default=1, show_default=True, type=click.IntRange(0),
              help="Epochs of fine-tuning at 1e-5, where a model is made.")  # fmt: skip
@licence_option
@source_option
@test_from_option
@contact_option
@json_option
def run_(
    classes: str,
    folder: Path,
    threshold: float,
    study: Path | None,
    output: Path | None,
    per_class: int,
    tune_epochs: int,
    as_json: bool,
    **said: Any,
) -> None:
    """From class names and a folder to predictions that show why (paper 5).

    Takes a model that fits and is here already, says which and why; else gathers pictures, learns
    the classes and saves the model. Of everything above the threshold the original, the overlay
    and the segment are written, and a page.
    """
    from training.search.run import run

    names = [name.strip() for name in classes.split(",") if name.strip()]
    done = run(
        names, folder, threshold=threshold, study=study, output=output,
        tune_epochs=tune_epochs, per_class=per_class, **lists(said),
    )  # fmt: skip
    finish(
        done.to_dict(),
        as_json=as_json,
        text=done.text(),
        failed=list(done.failed),
        summary=f"{len(done.failed)} of {done.pictures} files cannot be read as pictures",
    )


@command.command("train", epilog="Example: likewise classify train my-study --search")
@study_argument
@click.option("--name", default="classes", show_default=True, help="Name of the model.")
@click.option("--layer", help="Feature layer; default is the last that was extracted.")
@click.option("--search", is_flag=True, help="Also train the last layer by steps, 18 ways.")
@click.option("--reviews", is_flag=True, help="Learn labels as reviews left them.")
@json_option
def train(
    study: str, name: str, layer: str | None, search: bool, reviews: bool, as_json: bool
) -> None:
    """Fit classifiers on the training part, choose on validation, save the model.

    Writes a page of curves and of the difficult pictures among those that chose.
    """
    from training.classify import train as run

    opened = Study.open(study)
    done = run(opened, name=name, layer=layer, search=search, reviews=reviews)
    page = None if done.page is None else str(done.page)
    emit({**asdict(done), "page": page}, as_json=as_json, text=done.text())


@command.command("evaluate", epilog="Example: likewise classify evaluate my-study --accuracy .99")
@study_argument
@model_option
@click.option("--accuracy", type=float, default=0.99, show_default=True, help="To be promised.")
@click.option("--confidence", type=float, default=0.95, show_default=True, help="Of the promise.")
@click.option("--against", metavar="NAME", help="Another model, on the same pictures.")
@click.option("--looks", is_flag=True, help="Also draw what the model looks for in each class.")
@json_option
def evaluate(
    study: str,
    model: str | None,
    accuracy: float,
    confidence: float,
    against: str | None,
    looks: bool,
    as_json: bool,
) -> None:
    """Judge a model on the test part, and write a page. Every look at that part is counted."""
    from training.classify import evaluate as run

    opened = Study.open(study)
    with opened.lock():
        done = run(
            opened,
            model=model,
            accuracy=accuracy,
            confidence=confidence,
            against=against,
            looks=looks,
        )
    page = None if done.page is None else str(done.page)
    emit({**done.content, "page": page}, as_json=as_json, text=done.text())


@command.command("predict", epilog="Example: likewise classify predict my-study FOLDER -t 0.98")
@study_argument
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True), metavar="FILE...")
@model_option
@click.option("-t", "--threshold", type=click.FloatRange(0, 1), help="Least probability.")
@click.option("--accuracy", type=float, help="Promise this accuracy instead of a threshold.")
@click.option("--confidence", type=float, default=0.95, show_default=True, help="Of the promise.")
@click.option(
    "--known",
    type=float,
    metavar="SHARE",
    help="Say nothing of pictures unlike the study's; .95 lets 95 % of its own pass.",
)
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write a table there.")
@json_option
def predict(
    study: str, files: tuple[str, ...], csv_file: Path | None, as_json: bool, **rules: Any
) -> None:
    """Say the class of picture files; below the threshold nothing is said."""
    from training.classify import predict as run

    found, notes = run(study, files, **rules)
    if csv_file is not None:
        table = io.StringIO(newline="")
        writer = csv.writer(table)
        writer.writerow(["file", "class", "probability", "answered", "far", "error"])
        for one in found:
            row = [one.file, one.said, one.probability, one.answered, one.far, one.error]
            writer.writerow(row)
        write_bytes(csv_file, table.getvalue().encode("utf-8", "surrogateescape"))
    tell_predictions(found, notes, as_json=as_json)


def tell_predictions(found: Sequence[Prediction], notes: Sequence[str], *, as_json: bool) -> None:
    """Print what files are, notes on standard error; PartialError names unreadable files."""
    for line in notes:
        click.echo(line, err=True)
    lines = [
        f"{one.file}  {one.error}"
        if one.error
        else f"{one.file}  {one.said or _silent(one.far)}  {one.probability:.4f}"
        for one in found
    ]
    failed = [(one.file, one.error) for one in found if one.error]
    result = {"predictions": [asdict(one) for one in found], "notes": list(notes)}
    emit(
        result, as_json=as_json and not failed, text="" if as_json and failed else "\n".join(lines)
    )
    if failed:
        raise PartialError(f"{len(failed)} of {len(found)} files cannot be read as pictures",
                           failed, result=result)  # fmt: skip


def _silent(far: bool) -> str:
    return "(like no class of the study)" if far else "(not sure enough)"


@command.command("map", epilog="Example: likewise classify map my-study")
@study_argument
@click.option("--layer", help="Feature layer; default is the last that was extracted.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The page to write.")
@json_option
def draw_map(study: str, layer: str | None, output: Path | None, as_json: bool) -> None:
    """Lay the pictures out on a plane; the page labels what a lasso selects."""
    from training.classify import draw_map as run

    opened = Study.open(study)
    path, said = run(opened, layer=layer, output=output)
    emit({"page": str(path), "trust": said}, as_json=as_json, text=f"{said}\n{path}")


@command.command("zero-shot", epilog="Example: likewise classify zero-shot my-study --map my.yaml")
@study_argument
@click.option(
    "--map",
    "categories",
    default="paper2-tree",
    show_default=True,
    help="Category map: paper2-tree, paper2-table1 or a YAML file.",
)
@click.option("--backbone", default="auto", show_default=True, help="Network whose head is asked.")
@json_option
def zero_shot(study: str, categories: str, backbone: str, as_json: bool) -> None:
    """What an ImageNet network says of the classes, without any training (paper 2)."""
    from training.classify import zero_shot as run

    found, findings, left_out = run(study, categories, backbone=backbone)
    for finding in findings:
        click.echo(f"{finding.level}: {finding.category}: {finding.says}", err=True)
    for reason, count in left_out.items():
        if count:
            click.echo(f"{count} pictures left out: {reason}", err=True)
    emit(asdict(found), as_json=as_json, text=found.text())


@command.command("clean-labels", epilog="Example: likewise classify clean-labels my-study --prove")
@study_argument
@click.option("--prove", is_flag=True, help="Show whether dropping doubtful labels helps.")
@click.option(
    "--apply",
    "apply_share",
    type=click.FloatRange(0, 0.5),
    metavar="SHARE",
    help="Reject this share of the labels, the most doubtful first, as reviews.",
)
@click.option(
    "--reject",
    "rejected",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Reject the pictures of this list: a CSV with a column picture_id.",
)
@click.option("--undo", is_flag=True, help="Take back what --apply and --reject rejected.")
@json_option
def clean_labels(
    study: str,
    prove: bool,
    apply_share: float | None,
    rejected: Path | None,
    undo: bool,
    as_json: bool,
) -> None:
    """List labels that are probably wrong; nothing changes without --apply or --reject."""
    from training.classification.cleaning import apply_doubts, reject_listed, undo_doubts
    from training.classify import clean_labels as run

    opened = Study.open(study)
    if undo and (prove or apply_share is not None or rejected is not None):
        raise UsageError("--undo stands alone")
    with opened.lock():
        if rejected is not None:
            n = reject_listed(opened, rejected)
            text = f"{n} pictures rejected; now: likewise label {study} (--undo takes it back)"
            emit({"rejected": n}, as_json=as_json, text=text)
            return
        if undo:
            n = undo_doubts(opened)
            text = f"{n} rejections taken back; now: likewise label {study}"
            emit({"undone": n}, as_json=as_json, text=text)
            return
        found = run(opened, prove=prove)
        applied = 0 if apply_share is None else apply_doubts(opened, found, apply_share)
    text = found.text()
    if applied:
        text += (
            f'\n{applied} labels are rejected; for them to count set kind = "reviewed" under '
            f"[question], then: likewise label {study} (--undo takes it back)"
        )
    result = {
        "contradicted": found.contradicted,
        "labels": len(found.given),
        "table": str(found.table),
        "proof": [{**asdict(gain), "helps": gain.helps} for gain in found.gains],
        "applied": applied,
    }
    emit(result, as_json=as_json, text=text)
