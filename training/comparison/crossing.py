"""Copies that stand on both sides of the split, which would be learned by heart and then asked.

``label`` drops copies within its own radius. What is left are copies of other authors that were
cropped, framed or written upon: suspected by hashes up to ``RADIUS`` bits apart, and found by their
pixels. The training picture goes, so that the held-out part stays what it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from filters.pictures.aligned import COPY, SIDE, likeness, small
from filters.pictures.hamming import near_pairs
from likewise.progress import progress
from training.pictures.thumbnails import decoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from likewise.study import Study
    from training.data.matrix import Labels

__all__ = ["RADIUS", "REASON", "apart", "crossing"]

RADIUS = 12
SURE = 4
"""Bits within which a copy needs no look at its pixels: the default of ``[label]``."""

MOST = 20_000
"""Pairs whose pixels are looked at, a minute; of more, those further apart count as copies."""

REASON = "near copy of a held-out picture"


def crossing(
    study: Study, picture_id: Sequence[str], held_out: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which of (n,) pictures are training pictures and copies of a held-out one.

    None are without a table of pictures; one that cannot be read counts as the copy it may be.
    """
    if study.manifest("pictures") is None:
        return np.zeros(len(picture_id), np.bool_)
    code, known = _hashes(study, picture_id)
    unique, group = np.unique(code[known], return_inverse=True)
    rows = np.flatnonzero(known)
    # Pictures of equal hashes are one suspect: a row of each side stands for all of them.
    first = [np.full(len(unique), -1), np.full(len(unique), -1)]
    for side in (0, 1):
        mine = held_out[rows] == bool(side)
        first[side][group[mine]] = rows[mine]
    one, other = near_pairs(unique, RADIUS)
    same = np.arange(len(unique))
    train = np.concatenate([one, other, same])
    test = np.concatenate([other, one, same])
    both = (first[0][train] >= 0) & (first[1][test] >= 0)
    train, test = train[both], test[both]
    bits = np.bitwise_count((unique[train] ^ unique[test]).view(np.uint64))
    order = np.argsort(bits, kind="stable")
    look = order[bits[order] > SURE][:MOST]
    copy = np.ones(len(train), np.bool_)
    pairs = [(picture_id[first[0][train[i]]], picture_id[first[1][test[i]]]) for i in look]
    copy[look] = _copies(study, pairs)
    answer = np.zeros(len(picture_id), np.bool_)
    answer[rows[np.isin(group, train[copy])]] = True
    return answer & ~held_out


def apart(study: Study, labels: Labels) -> Labels:
    """Without the training pictures that are copies of held-out ones; they are counted."""
    held_out = np.arange(len(labels.label)) >= labels.n_train
    copies = crossing(study, labels.picture_id.tolist(), held_out)
    return labels.only(~copies, {REASON: int(copies.sum())}) if copies.any() else labels


def _hashes(study: Study, picture_id: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(n,) perceptual hashes, and whether there is one."""
    rows = study.read("pictures", ["picture_id", "phash"], filter=pc.field("phash").is_valid())
    found = dict(zip(rows["picture_id"].to_pylist(), rows["phash"].to_pylist(), strict=True))
    known = np.array([name in found for name in picture_id], np.bool_)
    return np.array([found.get(name, 0) for name in picture_id], np.int64), known


def _copies(study: Study, pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """Whether each pair of pictures is one by its pixels."""
    wanted = {name for pair in pairs for name in pair}
    pixels = {name: small(rgb) for name, rgb in decoded(study, dict.fromkeys(sorted(wanted), SIDE))}
    found = []
    with progress("looking for copies on both sides", total=len(pairs)) as bar:
        for one, other in pairs:
            unknown = one not in pixels or other not in pixels
            found.append(unknown or likeness(pixels[one], pixels[other]) >= COPY)
            bar.advance()
    return found
