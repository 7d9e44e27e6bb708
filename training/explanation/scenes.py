"""What an ImageNet head sees in stored features, as shares of a few groups of its 1,000 classes.

The classes of ILSVRC-2012 stand in the order of WordNet, so that whole subjects lie side by side;
the bounds below are those of that order. No names of classes are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
from scipy.special import softmax

import backbones
from likewise.errors import WeightsError
from likewise.study import Study
from training.data.layers import matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import nn

__all__ = ["GROUPS", "plausible", "scenes", "shares"]

LEAST = 8

GROUPS: dict[str, tuple[range, ...]] = {
    "animals": (range(398),),
    "dogs and cats": (range(151, 269), range(281, 286)),
    "food": (range(924, 970),),
    "landscape": (range(970, 981),),
    "plants and fruit": (range(984, 999),),
}
"""Half-open ranges of class numbers, from 0 (tench) to 999 (toilet tissue)."""


def shares(logits: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """(n, 1000) logits to the (n,) probability mass of each group; groups may overlap."""
    mass = softmax(logits.astype(np.float64), axis=1)
    return {
        name: np.sum([mass[:, part.start : part.stop].sum(axis=1) for part in parts], axis=0)
        for name, parts in GROUPS.items()
    }


def plausible(found: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """The groups that at least ``LEAST`` of the (n,) pictures belong to more likely than not."""
    return {name: mass for name, mass in found.items() if (mass > 0.5).sum() >= LEAST}


def scenes(study: Study, picture_ids: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Shares of every group for each picture, NaN where it has no features.

    The last layer of the network is applied to the stored activations: nothing is decoded again.
    Nothing comes back without features, without the network's weights, or when the stored layer
    is not the one that its last layer reads. A group that hardly any of the pictures belongs to is
    left out: its shares are the tails of other classes, and say nothing of what is seen.
    """
    manifest = study.manifest("features")
    if manifest is None or manifest.made_from["params"].get("random_weights"):
        return {}
    dataset = study.dataset("features")
    backbone = str(dataset.head(1, columns=["backbone"])["backbone"][0])
    head = _head(backbone)
    layer = next((x for x in ("fc7", "pooled") if x in dataset.schema.names), None)
    if head is None or layer is None:
        return {}
    rule = pc.field("picture_id").isin(list(picture_ids)) & ~pc.field("flipped")
    rule &= (pc.field("status") == "ok") & (pc.field("backbone") == backbone)
    rows = dataset.to_table(columns=["picture_id", layer], filter=rule).combine_chunks()
    if not rows.num_rows:
        return {}
    activations = np.maximum(matrix(rows.to_batches()[0], layer), 0)
    weight, bias = head.weight.detach().numpy(), head.bias.detach().numpy()
    if activations.shape[1] != weight.shape[1]:
        return {}
    found = plausible(shares(activations @ weight.T + bias))
    place = {key: row for row, key in enumerate(rows["picture_id"].to_pylist())}
    order = np.array([place.get(key, -1) for key in picture_ids])
    return {name: np.where(order >= 0, own[order], np.nan) for name, own in found.items()}


def _head(backbone: str) -> nn.Linear | None:
    """The network's last linear layer; None without its weights."""
    from torch import nn

    try:
        network = backbones.load(backbone)
    except WeightsError:
        return None
    linear = [m for m in network.modules() if isinstance(m, nn.Linear) and m.out_features == 1000]
    return linear[-1] if linear else None
