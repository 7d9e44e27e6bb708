"""The planted appeal can be learned from the pictures, and where none is planted nothing is."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import backbones
from infra.sandbox import Law, World, WorldSpec
from infra.sandbox.media import Located, MediaStore
from infra.sandbox.world import Kind

pytestmark = pytest.mark.slow
EPOCH = dt.date(2026, 11, 1)


@pytest.fixture(scope="module")
def chosen() -> NDArray[np.int64]:
    """Settled posts of people by ordinary authors: the pictures do not depend on the law."""
    world = World(WorldSpec(epoch=EPOCH))
    followers = world.followers[world.author]
    use = (world.kind == Kind.PEOPLE) & (world.original == np.arange(len(world.kind)))
    return np.flatnonzero(use & (world.age_days > 30) & (followers > 30) & (followers < 10_000))


@pytest.fixture(scope="module")
def features(chosen: NDArray[np.int64]) -> NDArray[np.float32]:
    store = MediaStore(World(WorldSpec(epoch=EPOCH)))
    files = [store.render(Located(int(i), 0, False, "jpg")) for i in chosen]
    return backbones.extract(files, backbone="efficientnet-lite0")["pooled"]


def _auc(features: NDArray[np.float32], chosen: NDArray[np.int64], strength: float) -> float:
    """AUC on unseen authors, of liked against not, by the median of likes / followers."""
    world = World(WorldSpec(epoch=EPOCH, law=Law(strength=strength)))
    author = world.author[chosen]
    ratio = world.likes[chosen] / world.followers[author]
    good = ratio > np.median(ratio)
    model = make_pipeline(StandardScaler(), LinearSVC(C=1e-4))
    scores = cross_val_predict(
        model, features, good, groups=author, cv=GroupKFold(5), method="decision_function"
    )
    return float(roc_auc_score(good, scores))


def test_a_linear_svm_finds_the_planted_appeal_and_only_that(
    features: NDArray[np.float32], chosen: NDArray[np.int64]
) -> None:
    assert _auc(features, chosen, Law().strength) > 0.62
    # Standard deviation of the AUC without signal, authors as clusters: about 0.03.
    assert abs(_auc(features, chosen, 0.0) - 0.5) < 0.09
