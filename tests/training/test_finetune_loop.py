"""The training loop: against a loop by hand, killed and resumed, stopped early, diverged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import tiny_tuning as tt
import torch
from torch import nn

from likewise.errors import DataError, FingerprintError, WeightsError
from training.tuning.batches import to_input
from training.tuning.loop import Loop
from training.tuning.network import groups, optimizer_for, replace_head, schedule_for

PLAIN = {"flip": False, "crop": False, "validation_fold": -1, "freeze": True}


def test_defaults_are_the_papers() -> None:
    recipe = tt.FinetuneSection()
    tunable = tt.tiny()
    optimizer = optimizer_for(tunable, recipe)
    schedule = schedule_for(optimizer, recipe)
    assert isinstance(optimizer, torch.optim.SGD)
    assert (recipe.iterations, recipe.momentum, recipe.schedule) == (35_000, 0.9, "step")
    body, head = optimizer.param_groups[0], optimizer.param_groups[-1]
    rates = []
    for iteration in range(15_001):
        if iteration % 5000 in (0, 4999):
            rates.append((body["lr"], head["lr"]))
        optimizer.step()
        schedule.step()
    expected = [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5, 1e-6]
    assert np.allclose([low for low, _ in rates], expected, rtol=1e-9)
    assert np.allclose([high for _, high in rates], np.multiply(10, expected), rtol=1e-9)


def test_sgd_agrees_with_a_loop_by_hand(tmp_path: Path) -> None:
    """With the body frozen the head is multinomial regression: all of it in NumPy, float64."""
    plan = tt.run(tmp_path, iterations=30, step=10, learning_rate=0.02, **PLAIN)
    tunable = tt.tiny()
    tunable.network.body[-1].p = 0.0
    weight = tunable.network.head.weight.detach().double().numpy().copy()
    bias = tunable.network.head.bias.detach().double().numpy().copy()
    body = tunable.network.body.eval()
    speed_w, speed_b, losses = np.zeros_like(weight), np.zeros_like(bias), []
    for i in range(30):
        batch = plan.batches(i)
        with torch.no_grad():
            x = body(to_input(batch.pictures, tt.SPEC)).double().numpy()
        logits = x @ weight.T + bias
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        y = np.eye(2)[batch.labels.numpy()]
        losses.append(-np.log((p * y).sum(1)).mean())
        rate = 0.2 * 0.1 ** (i // 10)
        speed_w = 0.9 * speed_w + (p - y).T @ x / len(x) + 0.0005 * weight
        speed_b = 0.9 * speed_b + (p - y).mean(0)
        weight, bias = weight - rate * speed_w, bias - rate * speed_b
    state = Loop(tunable, plan).train()
    assert np.allclose(tunable.network.head.weight.detach().numpy(), weight, atol=1e-5)
    assert np.allclose(tunable.network.head.bias.detach().numpy(), bias, atol=1e-5)
    points = [p for p in state.curves if p["metric"] == "loss"]
    assert [p["iteration"] for p in points] == [20, 30]
    means = [np.mean(losses[:20]), np.mean(losses[20:])]
    assert np.allclose([p["value"] for p in points], means, atol=1e-5)


def test_agrees_with_torch_alone(tmp_path: Path) -> None:
    """The whole net, AdamW, cosine, smoothing, weights: the same as ten lines of plain torch."""
    settings = {"optimizer": "adamw", "schedule": "cosine", "label_smoothing": 0.1}
    plan = tt.run(tmp_path, iterations=12, validation_fold=-1, **settings)
    plan.batches.samples.weights[:] = np.linspace(0.5, 1.5, 60)
    mine, plain = tt.tiny(), tt.tiny().network.to(memory_format=torch.channels_last).train()
    head, rest = list(plain.head.parameters()), list(plain.body.parameters())
    parts = [
        {"params": [p for p in some if (p.ndim > 1) == decays], "lr": rate, "weight_decay": decay}
        for some, rate in ((rest, 1e-3), (head, 1e-2))
        for decays, decay in ((True, 5e-4), (False, 0.0))
    ]
    optimizer = torch.optim.AdamW(parts)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    torch.manual_seed(9)
    for i in range(12):
        batch = plan.batches(i)
        optimizer.zero_grad()
        criterion = nn.CrossEntropyLoss(reduction="none", label_smoothing=0.1)
        loss = criterion(plain(to_input(batch.pictures, tt.SPEC)), batch.labels) * batch.weights
        loss.mean().backward()
        optimizer.step()
        schedule.step()
    torch.manual_seed(9)
    Loop(mine, plan).train()
    for name, tensor in plain.state_dict().items():
        assert torch.allclose(mine.network.state_dict()[name], tensor, atol=1e-6), name


def test_learns_a_planted_rule(tmp_path: Path) -> None:
    plan = tt.run(tmp_path, iterations=150, step=100, evaluate_every=50, colour=0.1)
    state = Loop(tt.tiny(), plan).train()
    last = {p["metric"]: p["value"] for p in state.curves if p["part"] == "validation"}
    assert last["average_precision"] > 0.99
    assert last["accuracy"] > 0.9


def test_more_than_two_classes(tmp_path: Path) -> None:
    plan = tt.run(tmp_path, classes=3, iterations=200, step=150, evaluate_every=200)
    tunable = tt.tiny(3)
    state = Loop(tunable, plan).train()
    assert tunable.network.head.out_features == 3
    assert state.best > 0.95


def test_frozen_body_does_not_move(tmp_path: Path) -> None:
    tunable = tt.tiny()
    before = {k: v.clone() for k, v in tunable.network.state_dict().items()}
    Loop(tunable, tt.run(tmp_path, iterations=5, freeze=True)).train()
    moved = {k for k, v in tunable.network.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {"head.weight", "head.bias"}


def test_unused_parameters_are_left_alone() -> None:
    tunable = tt.tiny()
    assert not any(p.requires_grad for p in tunable.network.auxiliary.parameters())
    trained = {id(p) for group in groups(tunable, tt.FinetuneSection()) for p in group["params"]}
    assert not trained & {id(p) for p in tunable.network.auxiliary.parameters()}
    decayed = [g for g in groups(tunable, tt.FinetuneSection()) if g["weight_decay"]]
    assert all(p.ndim > 1 for group in decayed for p in group["params"])


def test_biases_learn_at_their_own_rate() -> None:
    """Caffe's lr_mult of 2 for biases, beside the head's factor; norms are no biases."""
    tunable = tt.tiny()
    recipe = tt.FinetuneSection(learning_rate=0.001, head_factor=10, bias_factor=2)
    rates = {id(p): g["lr"] for g in groups(tunable, recipe) for p in g["params"]}
    for name, parameter in tunable.network.named_parameters():
        if id(parameter) in rates:
            expected = 0.001 * (10 if name.startswith(tunable.head) else 1)
            expected *= 2 if name.endswith("bias") else 1
            assert rates[id(parameter)] == pytest.approx(expected), name


def test_a_network_without_a_linear_head_is_refused() -> None:
    with pytest.raises(WeightsError, match="linear layer"):
        replace_head(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten()), 2, 8)


def test_early_stopping_keeps_the_best(tmp_path: Path) -> None:
    settings = {"iterations": 400, "evaluate_every": 5, "patience": 2}
    plan = tt.run(tmp_path, learning_rate=1e-7, head_factor=1.0, **settings)
    tunable = tt.tiny()
    state = Loop(tunable, plan).train()
    assert state.stopped
    assert state.iteration == state.best_at + 10 < 400
    assert plan.validate is not None and state.best_weights is not None
    tunable.network.load_state_dict(state.best_weights)
    assert plan.validate(tunable.network)["average_precision"] == pytest.approx(state.best)
    again = Loop(tt.tiny(), plan).train()
    assert again.iteration == state.iteration, "a finished run does not start again"


def test_divergence_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="loss is nan at iteration 20"):
        Loop(tt.tiny(), tt.run(tmp_path, learning_rate=1e18, iterations=40)).train()
    soon = tt.run(tmp_path, learning_rate=1e18, iterations=40, evaluate_every=8)
    with pytest.raises(DataError, match="answers are not finite"):
        Loop(tt.tiny(), soon).train()


def test_resumes_from_any_place(tmp_path: Path) -> None:
    """Stop by exception after 13 of 25 iterations, within an epoch and between two losses."""
    settings = {"iterations": 25, "checkpoint_minutes": 0, "colour": 0.3}

    class Stops(Loop):
        def _save(self) -> None:
            super()._save()
            if self.state.iteration == 13:
                raise KeyboardInterrupt

    whole = Loop(tt.tiny(), tt.run(tmp_path / "whole", **settings))
    whole.train()
    with pytest.raises(KeyboardInterrupt):
        Stops(tt.tiny(), tt.run(tmp_path / "cut", **settings)).train()
    torch.rand(5)
    resumed = Loop(tt.tiny(), tt.run(tmp_path / "cut", **settings))
    resumed.train()
    assert resumed.state.curves == whole.state.curves
    _same(whole.network.state_dict(), resumed.network.state_dict())


@pytest.mark.slow
def test_kill_9_and_resume_end_in_the_same_bits(tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "whole", tmp_path / "killed"
    assert _train(undisturbed)[-1] == 22
    for iteration in (6, 15):
        assert _train(killed, kill_at=iteration)[-1] >= iteration
    resumed = _train(killed)
    assert resumed[0] > 15 and resumed[-1] == 22
    one, two = (
        torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (undisturbed, killed)
    )
    _same(one["network"], two["network"])
    _same(one["state"]["best_weights"], two["state"]["best_weights"])
    assert one["state"]["curves"] == two["state"]["curves"]
    for left, right in zip(
        one["optimizer"]["state"].values(), two["optimizer"]["state"].values(), strict=True
    ):
        assert torch.equal(left["momentum_buffer"], right["momentum_buffer"])


@pytest.mark.slow
def test_two_workers_do_the_sums_of_one_also_after_a_kill(tmp_path: Path) -> None:
    one = tt.run(tmp_path / "one", evaluate_every=7, colour=0.2, iterations=22, step=9)
    alone = tt.steady()
    Loop(alone, one).train()
    assert _train(tmp_path / "two", workers=2)[-1] == 22
    _train(tmp_path / "killed", workers=2, kill_at=10)
    assert _train(tmp_path / "killed", workers=2)[0] > 10
    two, killed = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["network"]
        for name in ("two", "killed")
    )
    _same(two, killed)
    for name, tensor in alone.network.state_dict().items():
        assert torch.allclose(two[name], tensor, atol=1e-6), name


def _train(folder: Path, kill_at: int | None = None, workers: int = 1) -> list[int]:
    """Iterations that the program says it has saved."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}"]
    program = [sys.executable, *(torchrun if workers > 1 else ()), tt.__file__, str(folder)]
    said: list[int] = []
    quiet = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=quiet) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(int(line))
            if said[-1] == kill_at:
                _kill(process.pid)
    assert process.returncode == (0 if kill_at is None else -9)
    return said


def _kill(pid: int) -> None:
    """kill -9 for the process and its workers, which torchrun puts into sessions of their own."""
    process = psutil.Process(pid)
    for one in [*process.children(recursive=True), process]:
        one.kill()


def _same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name


def test_another_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    Loop(tt.tiny(), tt.run(tmp_path, iterations=2)).train()
    with pytest.raises(FingerprintError, match=r"checkpoint\.pt"):
        Loop(tt.tiny(), tt.run(tmp_path, iterations=2, fingerprint="other")).train()


def test_tensorboard_reads_the_curves(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    state = Loop(tt.tiny(), tt.run(tmp_path, evaluate_every=20)).train()
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    for part, metric in (("train", "loss"), ("validation", "average_precision")):
        read = [(e.step, e.value) for e in events.Scalars(f"{metric}/{part}")]
        kept = [
            (p["iteration"], pytest.approx(p["value"], rel=1e-6))
            for p in state.curves
            if (p["part"], p["metric"]) == (part, metric)
        ]
        assert read == kept and len(read) == 2
