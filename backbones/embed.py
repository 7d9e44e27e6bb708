"""``likewise embed``: features of a folder of pictures, without Spark and without a study."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from backbones.folder import Embedded, embed_folder, find_pictures
from backbones.planning import make_plan
from likewise.progress import progress

__all__ = ["embed"]


def embed(  # noqa: PLR0913 - a keyword for each option
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    backbone: str = "auto",
    layers: Sequence[str] = (),
    flip: bool = False,
    pre_relu: bool = False,
    half: bool = False,
    batch_size: int = 0,
    threads: int = 0,
    engine: Literal["auto", "onnx", "torch"] = "auto",
    weights: str | os.PathLike[str] | None = None,
    random_weights: bool = False,
) -> Embedded:
    """Write the features of every picture below ``folder`` (or of one file) to a Parquet file.

    Args:
        folder: pictures, found by their suffix; ``picture_id`` is the path below it.
        output: the file to write; it appears when it is whole.
        backbone: network; ``auto`` is AlexNet when its weights are at hand.
        layers: feature layers; none takes the backbone's own.
        flip: add the mirror image of each picture, as a second view.
        pre_relu: activations before the ReLU.
        half: round to float16 precision; half the file.
        batch_size: pictures in one pass; 0 suits the backbone.
        threads: of the network; 0 is one a core.
        engine: what runs the network.
        weights: a weights file of your own.
        random_weights: untrained network, for tests.

    Returns:
        What was written; the files that failed are rows too, with their error class.

    Raises:
        UsageError: no pictures, or an unknown backbone or layer.
        WeightsError: the weights are missing, damaged or belong to another architecture.
    """
    place = Path(folder)
    paths = find_pictures(place)
    plan = make_plan(
        backbone,
        layers,
        engine=engine,
        weights=None if weights is None else Path(weights),
        random_weights=random_weights,
        threads=threads or len(os.sched_getaffinity(0)),
        flip=flip,
        pre_relu=pre_relu,
        half=half,
        batch_size=batch_size,
    )
    root = place if place.is_dir() else place.parent
    with progress(f"embed {plan.backbone}", len(paths)) as bar:
        return embed_folder(paths, Path(output), plan, root=root, advance=bar.advance)
