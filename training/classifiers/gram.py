"""Newton's method on the Gram matrix: for few rows, or where classes can be told apart perfectly.

With ``w = X' alpha``, the Newton step of the squared hinge is a linear system on the rows inside
the margin (Chapelle, "Training a support vector machine in the primal", 2007, section 3):

    (K_II + diag(1 / (2 C s_I))) alpha_I = y_I,    K = X X' + 1 (the regularised intercept).

Conjugate gradients on w crawl there: the rows inside the margin do not span the space, and no
matrix that all problems share has the same null space as theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.classifiers.line_search import exact_length

if TYPE_CHECKING:
    import torch

__all__ = ["FEW_ROWS", "MOST_ROWS", "GramNewton"]

# Up to FEW_ROWS this way is always faster; above MOST_ROWS its matrix outgrows the features.
FEW_ROWS = 1024
MOST_ROWS = 10_000
EXACT_ROWS = 4096


class GramNewton:
    """Solves k problems over n rows; keeps their ``alpha``, (k, n), from one C to the next.

    The Gram matrix takes 8 n^2 bytes, or 4 n^2 above ``EXACT_ROWS``.
    """

    def __init__(
        self, rows: torch.Tensor, sign: torch.Tensor, share: torch.Tensor, tolerance: float
    ) -> None:
        import torch

        kind = torch.float64 if len(rows) <= EXACT_ROWS else torch.float32
        self.rows, self.tolerance = rows, tolerance
        self.sign, self.share = sign.to(kind), share.to(kind)
        exact = rows.to(kind)
        self.gram = (exact @ exact.T).add_(1)
        self.alpha = torch.zeros_like(self.share)

    def solve(self, c: float, output: torch.Tensor) -> int:
        """Move ``alpha`` to the optima for ``c``, starting at (k, n) outputs; returns the steps."""
        output = output.to(self.gram.dtype)
        moving = list(range(len(self.share)))
        steps = 0
        while moving and steps < 100:
            steps += 1
            moving = [k for k in moving if not self._newton(k, c, output)]
        return steps

    def weights(self) -> torch.Tensor:
        """(k, d + 1) weights and biases."""
        import torch

        alpha = self.alpha.to(self.rows.dtype)
        return torch.cat([alpha @ self.rows, alpha.sum(1, keepdim=True)], dim=1)

    def _newton(self, k: int, c: float, output: torch.Tensor) -> bool:
        """One step of problem k, in place; true when it needs no more."""
        penalty = c * self.share[k]
        slack = (1 - self.sign * output[k]).clamp_min(0)
        direction = self._optimum(penalty, slack) - self.alpha[k]
        moved = self.gram @ direction
        point = self.gram @ self.alpha[k]
        linear, square = direction @ point, direction @ moved
        promise = (2 * (penalty * slack * self.sign * moved).sum() - linear) / 2
        value = 0.5 * (self.alpha[k] @ point) + (penalty * slack.square()).sum()
        length = 1.0
        if self.alpha[k].any():
            parts = (output[k][None], moved[None], self.sign, penalty[None])
            length = exact_length(linear[None], square[None], *parts).item()
        self.alpha[k] += length * direction
        output[k] = point + length * moved
        return bool(promise <= self.tolerance * value) and length > 0

    def _optimum(self, penalty: torch.Tensor, slack: torch.Tensor) -> torch.Tensor:
        """(n,) alpha that is best as long as the rows inside the margin stay the same ones."""
        import torch

        inside = ((slack > 0) & (penalty > 0)).nonzero()[:, 0]
        system = self.gram[inside][:, inside]
        system.diagonal().add_(1 / (2 * penalty[inside]))
        jitter = 1e-12 if system.dtype == torch.float64 else 1e-7
        system.diagonal().add_(jitter * system.diagonal().max() if len(inside) else 0)
        alpha = torch.zeros_like(penalty)
        factor, failed = torch.linalg.cholesky_ex(system)
        right = self.sign[inside][:, None]
        solved = (
            torch.linalg.lstsq(system, right).solution
            if failed.item()
            else torch.cholesky_solve(right, factor)
        )
        alpha[inside] = solved[:, 0]
        return alpha
