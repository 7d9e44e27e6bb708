"""The training loop: steps, validations, checkpoints, and going on after a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from likewise.config import FinetuneSection
from likewise.errors import DataError
from likewise.progress import note, progress
from training.tuning import checkpoint
from training.tuning.batches import Batch, Batches, prefetch, to_input
from training.tuning.curves import Board
from training.tuning.measure import DIVERGED
from training.tuning.network import Tunable, optimizer_for, schedule_for, train_mode
from training.tuning.team import Team

if TYPE_CHECKING:
    from backbones.registry import Preprocess

__all__ = ["Loop", "Run", "State", "loss_of"]

LOSS_EVERY = 20
AGREE_EVERY = 10


def loss_of(logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """Mean over the batch of weight x cross-entropy."""
    losses = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    return (losses * weights).mean()


@dataclass(frozen=True)
class Run:
    """What one training is about; ``validate`` gives the measures of a network, or None."""

    backbone: str
    fingerprint: str
    recipe: FinetuneSection
    spec: Preprocess
    batches: Batches
    validate: Callable[[nn.Module], dict[str, float]] | None
    checkpoint: Path
    events: Path


@dataclass
class State:
    """What changes from step to step besides the network; all of it stands in a checkpoint."""

    iteration: int = 0
    recent: list[float] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    best: float = -math.inf
    best_at: int = 0
    best_weights: dict[str, Tensor] | None = None
    stopped: bool = False
    cut: bool = False


class Loop:
    """Train a network as ``run`` says; ``train`` goes on from the checkpoint if there is one."""

    def __init__(self, tunable: Tunable, run: Run, team: Team | None = None) -> None:
        self.run = run
        self.team = team or Team()
        self.network = _channels_last(tunable.network.to(self.team.device))
        self.optimizer = optimizer_for(tunable, run.recipe)
        self.schedule = schedule_for(self.optimizer, run.recipe)
        self.half = run.recipe.mixed_precision and self.team.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(self.team.device.type, enabled=self.half)
        self.parallel = self.team.wrap(self.network)
        self.state = State()
        self._losses: list[Tensor] = []
        self._saved_at = time.monotonic()

    def train(self) -> State:
        """Run to the last iteration, or until the validation stops getting better.

        The network is left with its last weights; those of the best validation, kept where early
        stopping is on, are ``State.best_weights``.

        Raises:
            DataError: the loss is not finite any more, or the checkpoint is damaged.
            WeightsError, FingerprintError: the checkpoint belongs to another run.
        """
        self._resume()
        recipe, state = self.run.recipe, self.state
        start = state.iteration
        train_mode(self.parallel, recipe)
        with (
            progress("finetune", total=recipe.iterations) as bar,
            self._board(start) as board,
            closing(prefetch(self._batch, start, recipe.iterations)) as batches,
        ):
            while not self._over():
                self._advance(next(batches), board)
                bar.update(state.iteration)
        if start < state.iteration:
            self._save()
        return state

    def _over(self) -> bool:
        return self.state.stopped or self.state.iteration >= self.run.recipe.iterations

    def step(self, batch: Batch) -> Tensor:
        """One step of the optimizer and of the schedule; the batch's loss, still on the device."""
        device, recipe = self.team.device, self.run.recipe
        x = to_input(batch.pictures.to(device, non_blocking=True), self.run.spec)
        labels, weights = batch.labels.to(device), batch.weights.to(device)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=torch.float16, enabled=self.half):
            loss = loss_of(self.parallel(x), labels, weights, recipe.label_smoothing)
        torch.autograd.backward(self.scaler.scale(loss))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        return loss.detach()

    def _batch(self, iteration: int) -> Batch:
        return self.run.batches(iteration, worker=self.team.rank, workers=self.team.size)

    def _board(self, start: int) -> Board:
        return Board(self.run.events if self.team.leads else None, start)

    def _advance(self, batch: Batch, board: Board) -> None:
        state, recipe = self.state, self.run.recipe
        rate = self.optimizer.param_groups[0]["lr"]
        self._losses.append(self.step(batch))
        state.iteration += 1
        last = state.iteration == recipe.iterations
        if last or state.iteration % LOSS_EVERY == 0:
            self._note_loss(board, rate)
        if self.run.validate and (last or state.iteration % recipe.evaluate_every == 0):
            self._validate(board)
        if self._checkpoint_due():
            self._save()

    def _note_loss(self, board: Board, rate: float) -> None:
        self._drain()
        loss = self.team.mean(math.fsum(self.state.recent) / len(self.state.recent))
        self.state.recent.clear()
        if not math.isfinite(loss):
            raise DataError(
                f"fine-tuning: the loss is {loss} at iteration {self.state.iteration}",
                hint=DIVERGED,
            )
        self._measured(board, "train", {"loss": loss, "learning_rate": rate})

    def _drain(self) -> None:
        """Fetch the losses from the device: waiting for it at every step would slow it down."""
        self.state.recent += [float(loss) for loss in self._losses]
        self._losses.clear()

    def _validate(self, board: Board) -> None:
        assert self.run.validate is not None
        mine = self.run.validate(self.network) if self.team.leads else None
        measures: dict[str, float] = self.team.broadcast(mine)
        train_mode(self.parallel, self.run.recipe)
        self._measured(board, "validation", measures)
        if self.run.recipe.schedule == "plateau":
            self._plateau(measures["loss"])
            return
        state, patience = self.state, self.run.recipe.patience
        enough = patience * self.run.recipe.evaluate_every
        if measures["average_precision"] > state.best:
            state.best, state.best_at = measures["average_precision"], state.iteration
            if patience and self.team.leads:
                state.best_weights = _copied(self.network)
        elif patience and state.iteration - state.best_at >= enough:
            state.stopped = True
            note(f"finetune: no progress since iteration {state.best_at}, stopping early")

    def _plateau(self, loss: float) -> None:
        """Cut the rate when the loss is not better than the best; stop when that did not help.

        Source: paper 4, page 11: the rate falls by ten when validation has worsened; if it fell
        after the last epoch and there is still no improvement, the model is trained.
        """
        state = self.state
        if -loss > state.best:
            state.best, state.best_at, state.cut = -loss, state.iteration, False
            if self.team.leads:
                state.best_weights = _copied(self.network)
        elif state.cut:
            state.stopped = True
            note(f"finetune: no progress since iteration {state.best_at}, stopping")
        else:
            state.cut = True
            for group in self.optimizer.param_groups:
                group["lr"] *= self.run.recipe.gamma

    def _measured(self, board: Board, part: str, measures: dict[str, float]) -> None:
        for metric, value in measures.items():
            point = {
                "iteration": self.state.iteration,
                "part": part,
                "metric": metric,
                "value": value,
            }
            self.state.curves.append(point)
            board.add(point)

    def _checkpoint_due(self) -> bool:
        if self.team.size > 1 and self.state.iteration % AGREE_EVERY:
            return False
        due = time.monotonic() - self._saved_at >= 60 * self.run.recipe.checkpoint_minutes
        return bool(self.team.broadcast(due))

    def _save(self) -> None:
        self._drain()
        random = self.team.gather(_random_state(self.team.device))
        if self.team.leads:
            checkpoint.write(
                self.run.checkpoint,
                {
                    "backbone": self.run.backbone,
                    "fingerprint": self.run.fingerprint,
                    "threads": torch.get_num_threads(),
                    "network": self.network.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "schedule": self.schedule.state_dict(),
                    "scaler": self.scaler.state_dict(),
                    "random": random,
                    "state": vars(self.state),
                },
            )
        self._saved_at = time.monotonic()

    def _resume(self) -> None:
        saved = checkpoint.read(
            self.run.checkpoint, backbone=self.run.backbone, fingerprint=self.run.fingerprint
        )
        if saved is None:
            return
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.scaler.load_state_dict(saved["scaler"])
        self.state = State(**saved["state"])
        _restore_random(saved["random"][self.team.rank], self.team.device)
        if self.team.leads:
            note(f"finetune: going on after iteration {self.state.iteration}")
        if saved["threads"] != torch.get_num_threads():
            note(
                f"finetune: {torch.get_num_threads()} threads, {saved['threads']} before: "
                "the last bits of the weights may differ from those of an undisturbed run"
            )


def _channels_last(network: nn.Module) -> nn.Module:
    moved: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def _random_state(device: torch.device) -> list[Tensor]:
    """States of the generators that dropout draws from: the CPU's, then the GPU's."""
    states = [torch.get_rng_state()]
    return states + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])


def _restore_random(states: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
