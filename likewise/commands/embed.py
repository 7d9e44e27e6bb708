"""``likewise embed``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import likewise
from likewise.commands._common import finish, json_option


@click.command(
    "embed", epilog="Example: likewise embed pictures/ -o features.parquet --backbone alexnet"
)
@click.argument("folder", type=click.Path(path_type=Path), metavar="FOLDER")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Parquet file to write."
)
@click.option("--backbone", default="auto", show_default=True, help="Network to use.")
@click.option("--layer", "layers", multiple=True, help="Feature layer; may be given repeatedly.")
@click.option("--flip", is_flag=True, help="Add the mirror image of each picture.")
@click.option("--pre-relu", is_flag=True, help="Activations before the ReLU.")
@click.option("--half", is_flag=True, help="Round to float16 precision; half the file.")
@click.option(
    "--batch-size",
    default=0,
    type=click.IntRange(0, 4096),
    help="Pictures in one pass; 0 suits the backbone.",
)
@click.option(
    "--threads", default=0, type=click.IntRange(0), help="Threads of the network; 0 is one a core."
)
@click.option("--engine", type=click.Choice(["auto", "onnx", "torch"]), default="auto")
@click.option("--weights", type=click.Path(path_type=Path), help="A weights file of your own.")
@click.option("--random-weights", is_flag=True, help="Untrained network, for tests.")
@json_option
def command(folder: Path, output: Path, as_json: bool, **options: Any) -> None:
    """Compute features of a folder of pictures, without Spark: FOLDER -> one Parquet file.

    `picture_id` is the path below FOLDER. Broken pictures are rows with an error class; the exit
    code is then 3.
    """
    done = likewise.embed(folder, output, **options)
    good = done.pictures - len(done.failed)
    finish(
        {"output": str(output), **done._asdict()},
        as_json=as_json,
        text=f"{output}: {done.rows:,} rows of {good:,} pictures by {done.backbone}",
        failed=done.failed,
        summary=f"{len(done.failed)} pictures could not be decoded",
    )
