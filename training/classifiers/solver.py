"""Linear SVMs of all folds at once, along a rising path of C: the fast way to a C-curve.

Minimises, for every problem k (a fold, or all pictures) and one C after the other,

    f_k(w, b) = (|w|^2 + b^2) / 2 + C sum_i s_ki max(0, 1 - y_i (w x_i + b))^2,

which is what liblinear minimises for ``LinearSVC(loss="squared_hinge", penalty="l2",
intercept_scaling=1)`` (Fan et al. 2008, section 2 and appendix A; the intercept is regularised).
One pass over X serves all problems of a C. Newton steps (Keerthi and DeCoste 2005) are found by
conjugate gradients, preconditioned by the Cholesky factor of ``I + 2 C a (X'X)``: X'X is made
once and is nearly the curvature of every fold at every C, so a step takes few iterations even
where plain conjugate gradients crawl. Steps are as long as the exact line search says. The
optimum of one C starts the next. Where few rows stay inside the margin (few pictures, large C) the
preconditioner fails, and Newton's method on the Gram matrix takes over (``gram.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.classifiers.gram import FEW_ROWS, MOST_ROWS, GramNewton
from training.classifiers.line_search import exact_length

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

__all__ = ["Path", "PathPoint", "objective"]


def objective(
    rows: NDArray[np.float32],
    sign: NDArray[np.float32],
    share: NDArray[np.float32],
    c: float,
    weight: NDArray[np.float64],
    bias: float,
) -> float:
    """f(weight, bias) of one problem: (n, d) rows, (n,) signs and shares, (d,) weight."""
    margin = sign * (rows @ weight.astype(np.float32) + np.float32(bias))
    slack = np.maximum(0.0, 1.0 - margin.astype(np.float64))
    return float(0.5 * (weight @ weight + bias * bias) + c * (share * slack**2).sum())


@dataclass(frozen=True)
class PathPoint:
    """Optima of k problems at one C: (k, d) weights, (k,) biases, (k,) objectives."""

    c: float
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    objective: NDArray[np.float64]
    newton_steps: int
    passes: int


class Path:
    """Solves k problems over the same rows for one C after the other.

    Args:
        rows: (n, d) float32 features; not copied.
        sign: (n,) labels as -1 and +1.
        share: (k, n) weight of each row in each problem; 0 leaves it out.
        like: a path over the same rows with other labels, whose X'X is taken over.
        tolerance: stop when a Newton step promises less than this share of the objective.
        device: torch device; ``"cuda"`` where one is.
    """

    def __init__(
        self,
        rows: NDArray[np.float32],
        sign: NDArray[np.float32],
        share: NDArray[np.float32],
        *,
        like: Path | None = None,
        tolerance: float = 2e-5,
        device: str = "cpu",
    ) -> None:
        import torch

        self.tolerance = tolerance
        self.rows = torch.from_numpy(rows).to(device)
        self.sign = torch.from_numpy(sign).to(device)
        self.share = torch.from_numpy(share).to(device)
        self.gram: GramNewton | None = None
        self.second: torch.Tensor
        if len(rows) <= FEW_ROWS:
            self.gram = GramNewton(self.rows, self.sign, self.share, tolerance)
        else:
            self.second = self._second_moments() if like is None else like.second
        self.passes = 0
        self.at = torch.zeros(len(share), self.rows.shape[1] + 1, device=device)

    def solve(self, c_values: Iterable[float]) -> Iterator[PathPoint]:
        """Optima for each C in the given order; a rising order makes the best of warm starts."""
        for c in c_values:
            yield self.step(c)

    def start(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        """Go on from known optima, for instance those of the C before: (k, d) and (k,)."""
        import torch

        known = np.concatenate([weight, bias[:, None]], axis=1)
        self.at = torch.from_numpy(known).to(self.at.device)

    def step(self, c: float) -> PathPoint:
        """Optima for one C, starting at the last ones."""
        self.passes = 0
        output = self._forward(self.at)
        steps = self._descend(c, output) if self.gram is None else 0
        if self.gram is not None:
            steps += self.gram.solve(c, output)
            self.at = self.gram.weights()
            output = self._forward(self.at)
        slack = (1 - self.sign * output).clamp_min(0).double()
        value = 0.5 * self.at.double().square().sum(1) + c * (self.share * slack**2).sum(1)
        weight, bias = self.at[:, :-1].cpu().numpy().copy(), self.at[:, -1].cpu().numpy().copy()
        return PathPoint(c, weight, bias, value.cpu().numpy(), steps, self.passes)

    def _descend(self, c: float, output: torch.Tensor) -> int:
        """Newton steps until all problems are solved, or until conjugate gradients stall."""
        import torch

        factor = self._factor(c, output)
        unsolved = torch.arange(len(self.at), device=self.at.device)
        # Random labels of up to two rows a column can be told apart (Cover 1965); folds hold 0.8.
        may_switch = len(self.rows) <= min(MOST_ROWS, 2.5 * self.rows.shape[1])
        steps = 0
        while len(unsolved) and steps < 50:
            steps += 1
            state = _State(self, c, unsolved, self.at[unsolved], output[unsolved])
            done = state.newton(factor, 25 if may_switch else 60)
            self.at[unsolved], output[unsolved] = state.at, state.output
            unsolved = unsolved[~done]
            if state.stalled and may_switch and len(unsolved):
                self.gram = GramNewton(self.rows, self.sign, self.share, self.tolerance)
                break
        return steps

    def _forward(self, at: torch.Tensor) -> torch.Tensor:
        """(k, d + 1) weights to (k, n) outputs."""
        self.passes += 1
        product: torch.Tensor = at[:, :-1] @ self.rows.T + at[:, -1:]
        return product

    def _backward(self, per_row: torch.Tensor) -> torch.Tensor:
        """(k, n) to (k, d + 1). Rows stay on the right: the transposed product is 20 x slower."""
        import torch

        self.passes += 1
        return torch.cat([per_row @ self.rows, per_row.sum(1, keepdim=True)], dim=1)

    def _second_moments(self) -> torch.Tensor:
        import torch

        d = self.rows.shape[1]
        second = torch.empty(d + 1, d + 1, device=self.rows.device)
        torch.mm(self.rows.T, self.rows, out=second[:d, :d])
        second[d, :d] = second[:d, d] = self.rows.sum(0)
        second[d, d] = len(self.rows)
        return second

    def _factor(self, c: float, output: torch.Tensor) -> torch.Tensor:
        """Cholesky factor of the curvature that the problems share, jittered until it exists."""
        import torch

        active = (self.share * (self.sign * output < 1)).mean().item()
        curvature = self.second * (2 * c * max(active, 1e-3))
        jitter = 1e-7 * curvature.diagonal().max().item()
        curvature.diagonal().add_(1.0 + jitter)
        while True:
            factor: torch.Tensor
            factor, failed = torch.linalg.cholesky_ex(curvature)
            if not failed.item():
                return factor
            jitter *= 10
            curvature.diagonal().add_(jitter)


class _State:
    """The problems of one C that are not solved yet: (k, d + 1) points, (k, n) outputs."""

    def __init__(
        self, path: Path, c: float, which: torch.Tensor, at: torch.Tensor, output: torch.Tensor
    ) -> None:
        self.path, self.c, self.at, self.output = path, c, at, output
        self.share = path.share[which]
        self.stalled = False

    def newton(self, factor: torch.Tensor, limit: int) -> torch.Tensor:
        """One Newton step for all problems; returns (k,) whether each needs no more."""
        path = self.path
        slack = (1 - path.sign * self.output).clamp_min(0)
        gradient = self.at - path._backward(2 * self.c * self.share * path.sign * slack)
        curvature = 2 * self.c * self.share * (slack > 0)
        direction, moved = self._conjugate_gradients(gradient, curvature, factor, limit)
        value = 0.5 * self.at.square().sum(1) + self.c * (self.share * slack.square()).sum(1)
        promise = -(gradient * direction).sum(1) / 2
        length = exact_length(
            (self.at * direction).sum(1),
            direction.square().sum(1),
            self.output,
            moved,
            path.sign,
            self.c * self.share,
        )
        self.at = self.at + length[:, None] * direction
        self.output = self.output + length[:, None] * moved
        return promise <= path.tolerance * value

    def _conjugate_gradients(
        self, gradient: torch.Tensor, curvature: torch.Tensor, factor: torch.Tensor, limit: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Solve ``(I + X' diag(curvature) X) direction = -gradient``; also X direction."""
        import torch

        direction, moved = torch.zeros_like(gradient), torch.zeros_like(self.output)
        residual = -gradient
        search = solved = torch.cholesky_solve(residual.T, factor).T
        size = first = (residual * solved).sum(1)
        for _ in range(limit):
            output = self.path._forward(search)
            product = search + self.path._backward(curvature * output)
            length = size / (search * product).sum(1).clamp_min(1e-30)
            length = torch.where(size > 0.01 * first, length, 0.0)
            direction = direction + length[:, None] * search
            moved = moved + length[:, None] * output
            residual = residual - length[:, None] * product
            solved = torch.cholesky_solve(residual.T, factor).T
            new = (residual * solved).sum(1)
            if (new <= 0.01 * first).all():
                break
            search = solved + (new / size.clamp_min(1e-30))[:, None] * search
            size = new
        else:
            self.stalled = True
        return direction, moved
