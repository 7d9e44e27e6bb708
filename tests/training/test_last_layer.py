"""The softmax layer by steps: against torch's optimisers, and many runs at once against one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.classifiers.last_layer import ADAGRAD_START, Run, _batches, train_runs


def _data(n: int = 200, d: int = 20, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    label = rng.integers(0, k, n)
    features = rng.normal(size=(n, d)) / np.sqrt(d) + rng.normal(size=(k, d))[label] / 3
    return features.astype(np.float32), label


@pytest.mark.parametrize("run", [Run("sgd", 0.5, 120), Run("adagrad", 0.1, 120)])
def test_steps_are_those_of_torch(run: Run) -> None:
    features, label = _data()
    (ours,) = train_runs(features, label, (features[:50], label[:50]), [run], n_classes=4, seed=3)
    layer = torch.nn.Linear(20, 4)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    optimiser: torch.optim.Optimizer = (
        torch.optim.SGD(layer.parameters(), lr=run.rate)
        if run.optimiser == "sgd"
        else torch.optim.Adagrad(
            layer.parameters(), lr=run.rate, initial_accumulator_value=ADAGRAD_START, eps=0
        )
    )
    for rows in _batches(200, 32, run.steps, 3):
        optimiser.zero_grad()
        logits = layer(torch.from_numpy(features[rows]))
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(label[rows])).backward()
        optimiser.step()
    np.testing.assert_allclose(ours.weight, layer.weight.detach().numpy().T, atol=2e-5)
    np.testing.assert_allclose(ours.bias, layer.bias.detach().numpy(), atol=2e-5)
    logits = layer(torch.from_numpy(features))
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(label)).item()
    assert ours.curve[-1].train_cross_entropy == pytest.approx(loss, abs=1e-5)
    right = (logits.argmax(dim=1).numpy() == label).mean()
    assert ours.curve[-1].train_accuracy == pytest.approx(right)


def test_runs_side_by_side_are_the_runs_one_by_one() -> None:
    features, label = _data()
    held = (features[:40], label[:40])
    runs = [Run(o, r, s) for o in ("sgd", "adagrad") for r in (0.03, 0.3) for s in (30, 90)]
    together = train_runs(features, label, held, runs, n_classes=4, seed=7)
    for run, found in zip(runs, together, strict=True):
        (alone,) = train_runs(features, label, held, [run], n_classes=4, seed=7)
        assert found.run == run
        np.testing.assert_allclose(found.weight, alone.weight, atol=1e-5)
        assert found.curve[-1].step == run.steps
        np.testing.assert_allclose(found.curve[-1], alone.curve[-1], atol=1e-5)


def test_a_rate_that_is_too_large_is_told_and_harms_no_other_run() -> None:
    features, label = _data()
    runs = [Run("sgd", 1e38, 60), Run("sgd", 0.1, 60)]
    wild, calm = train_runs(features * 1e3, label, (features, label), runs, n_classes=4, seed=1)
    assert wild.diverged
    assert not calm.diverged


def test_every_row_is_seen_once_before_any_is_seen_again() -> None:
    order = _batches(100, 32, 7, 0)
    assert order.shape == (7, 32)
    assert len(np.unique(order[:3])) == 96


def test_no_runs_and_no_rows_are_refused() -> None:
    features, label = _data()
    with pytest.raises(ValueError, match="at least one step"):
        train_runs(features, label, (features, label), [], n_classes=4, seed=0)
    with pytest.raises(ValueError, match="rows"):
        train_runs(
            features[:0], label[:0], (features, label), [Run("sgd", 1, 1)], n_classes=4, seed=0
        )
