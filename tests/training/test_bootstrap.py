"""Bootstrap over authors."""

from __future__ import annotations

import numpy as np
import pytest

from training.statistics.bootstrap import author_weights


def test_pictures_of_an_author_are_drawn_together() -> None:
    author = np.array([5, 9, 5, 2, 9, 9])
    weights = author_weights(author, 200, seed=1)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, 1], weights[:, 5])
    authors_drawn = weights[:, 0] + weights[:, 1] + weights[:, 3]
    assert (authors_drawn == 3).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(6), abs=0.2)
