"""Checkpoints: everything that a killed run needs to go on as if nothing had happened.

A checkpoint holds the network, the optimizer, the schedule, the gradient scaler, the random
numbers of every worker, the place in the data and the curves so far. It replaces the one before
at once, so a kill at any moment leaves a whole one.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from likewise.errors import DataError, FingerprintError, WeightsError
from likewise.whole import whole_file

__all__ = ["FORMAT", "read", "write"]

FORMAT = 1


def write(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` (tensors and plain values only) so that a kill leaves old or new."""
    with whole_file(path) as staged:
        torch.save({"format": FORMAT, **content}, staged)


def read(path: Path, *, backbone: str, fingerprint: str) -> dict[str, Any] | None:
    """The checkpoint at ``path``, or None when there is none. Nothing in it is executed.

    Raises:
        WeightsError: it belongs to another backbone.
        FingerprintError: it was made with other data or parameters.
        DataError: the file is damaged, or of another version.
    """
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise DataError(
            f"{path} is not a whole checkpoint: {error}", hint="delete it to start from scratch"
        ) from error
    if content.get("format") != FORMAT:
        raise DataError(
            f"{path} has checkpoint format {content.get('format')}, expected {FORMAT}",
            hint="delete it to start from scratch",
        )
    if content["backbone"] != backbone:
        raise WeightsError(
            f"{path} is a checkpoint of {content['backbone']}, expected {backbone}",
            hint="delete it, or set [finetune] backbone to the old one",
        )
    if content["fingerprint"] != fingerprint:
        raise FingerprintError(
            f"{path} was made with other data or parameters",
            hint="delete it, or bring the old inputs and parameters back",
        )
    return content
