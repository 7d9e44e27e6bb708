"""``likewise extract``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
@click.option("--backbone", help="Network, instead of the one in likewise.toml.")
@click.option("--layer", "layers", multiple=True, help="Feature layer; may be given repeatedly.")
@click.option("--pre-relu", is_flag=True, help="Activations before the ReLU.")
@click.option("--random-weights", is_flag=True, help="Untrained network, for tests.")
@click.option(
    "--measure-int8",
    is_flag=True,
    help="Compute nothing; measure on 1,000 pictures what precision = 'int8' would change.",
)
@json_option
def command(
    study: str, redo: bool, master: str | None, measure_int8: bool, as_json: bool, **changes: Any
) -> None:
    """Compute features of the labelled pictures: pictures, labels -> features.

    Options win over the section [extract] of likewise.toml, for this run only.
    """
    import likewise
    from likewise.study import Study

    opened = _changed(Study.open(study), changes)
    if measure_int8:
        _measure(opened, as_json=as_json)
        return
    manifest = likewise.extract(opened, redo=redo, master=master)
    manifest_result(manifest, as_json=as_json)


def _changed(study: Study, changes: dict[str, Any]) -> Study:
    """The study with the options of the command line in its section [extract]."""
    from likewise.study import Study as Folder

    given = {key: value for key, value in changes.items() if value}
    if "layers" in given:
        given["layers"] = list(given["layers"])
    section = study.config.extract.model_copy(update=given)
    return Folder(study.root, study.config.model_copy(update={"extract": section}))


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
