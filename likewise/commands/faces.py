"""``likewise faces``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from likewise.commands._common import (
    emit,
    json_option,
    manifest_result,
    master_option,
    redo_option,
)

if TYPE_CHECKING:
    from filters.faces.calibration import Point

DETECTOR_NAMES = ("auto", "yunet", "dlib-hog", "dlib-cnn", "haar")


@click.command(
    "faces",
    epilog="Examples: likewise faces my-study; likewise faces --calibrate pictures "
    "(with the folders pictures/people and pictures/background)",
)
@click.argument("study", type=click.Path(), required=False)
@redo_option
@master_option
@click.option(
    "--calibrate",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Measure a detector on pictures with people (DIR/people or DIR/positive) and without "
    "(DIR/background or DIR/negative), and print the threshold to use.",
)
@click.option("--precision", type=click.FloatRange(0, 1), default=0.98, help="Wanted precision.")
@click.option("--detector", type=click.Choice(DETECTOR_NAMES), default="auto")
@click.option("--side", type=click.IntRange(16), help="Longest side given to the detector.")
@click.option("--plot", type=click.Path(path_type=Path), help="Where the curve is drawn (PNG).")
@json_option
def command(  # noqa: PLR0913, PLR0917 - one argument an option
    study: str | None,
    redo: bool,
    master: str | None,
    calibrate: Path | None,
    precision: float,
    detector: str,
    side: int | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Find faces in every distinct picture: pictures -> faces."""
    if calibrate is not None:
        _calibrate(calibrate, precision, detector, side, plot, as_json=as_json)
        return
    if study is None:
        raise click.UsageError("name a STUDY, or a folder to --calibrate on")
    import likewise
    from likewise.study import Study

    opened = Study.open(study)
    manifest = likewise.faces(opened, redo=redo, master=master)
    manifest_result(manifest, as_json=as_json)


def _calibrate(
    folder: Path,
    precision: float,
    detector: str,
    side: int | None,
    plot_path: Path | None,
    *,
    as_json: bool,
) -> None:
    from filters.faces.calibration import curve, labelled_pictures, measure, plot, threshold_for
    from filters.faces.known import DETECTORS, choose
    from likewise.progress import progress

    name = choose(detector).name
    side = side or DETECTORS[name].input_side
    people, others = labelled_pictures(folder)
    with progress(f"faces ({name})", total=len(people) + len(others)) as bar:
        seen, failed = measure(name, people, input_side=side, tick=bar.advance)
        unseen, more = measure(name, others, input_side=side, tick=bar.advance)
    points = curve(seen, unseen)
    chosen = threshold_for(points, precision)
    path = plot_path or Path(f"calibration-{name}.png")
    plot(points, chosen, path, f"{name}, longest side {side} pixels")
    result = {
        "detector": name,
        "input_side": side,
        "with_people": seen.size,
        "without": unseen.size,
        "undecodable": [(str(file), reason) for file, reason in failed + more],
        "wanted_precision": precision,
        "chosen": None if chosen is None else chosen.to_dict(),
        "default_threshold": DETECTORS[name].min_confidence,
        "curve": [point.to_dict() for point in points],
        "plot": str(path),
    }
    emit(result, as_json=as_json, text=_text(result, points, chosen))


def _text(result: dict[str, object], points: list[Point], chosen: Point | None) -> str:
    head = (
        f"{result['detector']}, longest side {result['input_side']} pixels: "
        f"{result['with_people']} pictures with people, {result['without']} without"
    )
    lines = [head, "", "threshold  precision (95 %)        recall (95 %)           false"]
    step = max(1, len(points) // 20)
    shown = {*points[::step], points[-1], *([chosen] if chosen else [])}
    for point in sorted(shown, key=lambda one: one.threshold):
        mark = "  <- chosen" if point == chosen else ""
        lines.append(
            f"{point.threshold:9.3f}  {_interval(point, 'precision')}  "
            f"{_interval(point, 'recall')}  {point.false:5d}{mark}"
        )
    wanted = result["wanted_precision"]
    answer = (
        f"no threshold reaches a precision of {wanted}"
        if chosen is None
        else f"precision of {wanted}: set [faces] min_confidence = {chosen.threshold:.3f}"
    )
    undecodable = len(list(result["undecodable"]))  # type: ignore[call-overload]
    skipped = [f"{undecodable} pictures could not be decoded"] if undecodable else []
    return "\n".join([*lines, "", answer, *skipped, f"drawn in {result['plot']}"])


def _interval(point: Point, name: str) -> str:
    middle, low, high = (getattr(point, name + end) for end in ("", "_low", "_high"))
    return f"{middle:.3f} ({low:.3f} - {high:.3f})"
