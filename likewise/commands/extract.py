"""``likewise extract``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from likewise.commands._common import (
    emit,
    json_option,
    manifest_result,
    master_option,
    redo_option,
    study_argument,
)

if TYPE_CHECKING:
    from likewise.study import Study


@click.command("extract", epilog="Example: likewise extract my-study")
@study_argument
@redo_option
@master_option
@click.option(
    "--measure-int8",
    is_flag=True,
    help="Compute nothing; measure on 1,000 pictures what precision = 'int8' would change.",
)
@json_option
def command(study: str, redo: bool, master: str | None, measure_int8: bool, as_json: bool) -> None:
    """Compute features of the labelled pictures: pictures, labels -> features."""
    import likewise
    from likewise.study import Study

    opened = Study.open(study)
    if measure_int8:
        _measure(opened, as_json=as_json)
        return
    with opened.lock():
        manifest = likewise.extract(opened, redo=redo, master=master)
    manifest_result(manifest, as_json=as_json)


def _measure(study: Study, *, as_json: bool) -> None:
    from spark_jobs.extract import measure_int8

    effect = measure_int8(study)
    lines = [f"int8 against fp32 on {effect.pictures:,} pictures:"]
    for layer, error in effect.relative_error.items():
        before, after = (effect.average_precision[way][layer] for way in ("fp32", "int8"))
        lines.append(
            f"  {layer}: relative error {error:.3f}, average precision {before:.3f} -> {after:.3f}"
        )
    cost = effect.cpu_ms
    lines.append(f"  CPU: {cost['fp32']:.1f} -> {cost['int8']:.1f} ms a view, decoding included")
    emit(effect._asdict(), as_json=as_json, text="\n".join(lines))
