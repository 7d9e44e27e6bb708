"""The exact minimum of a squared-hinge objective along a direction, for many problems at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["exact_length"]


def exact_length(
    linear: torch.Tensor,
    square: torch.Tensor,
    output: torch.Tensor,
    moved: torch.Tensor,
    sign: torch.Tensor,
    penalty: torch.Tensor,
) -> torch.Tensor:
    """Minimisers over t of ``t linear + t^2 square / 2 + sum penalty slack(t)^2``.

    Here ``slack(t) = max(0, 1 - sign (output + t moved))``. The derivative is continuous, rising
    and piecewise linear: Newton's method on it, kept inside a bracket, ends after a few steps.

    Args:
        linear: (k,) product of the point and the direction.
        square: (k,) squared length of the direction.
        output: (k, n) outputs at the point.
        moved: (k, n) change of the outputs along the direction.
        sign: (n,) labels as -1 and +1.
        penalty: (k, n) C times the share of each row.

    Returns:
        (k,) step lengths.
    """
    import torch

    low, high = torch.zeros_like(linear), torch.full_like(linear, float("inf"))
    length = torch.ones_like(linear)
    for _ in range(12):
        slack = (1 - sign * (output + length[:, None] * moved)).clamp_min(0)
        slope = linear + length * square - 2 * (penalty * slack * sign * moved).sum(1)
        bend = square + 2 * (penalty * (slack > 0) * moved.square()).sum(1)
        low, high = torch.where(slope < 0, length, low), torch.where(slope < 0, high, length)
        newton = length - slope / bend.clamp_min(1e-30)
        middle = torch.where(high.isinf(), 2 * low, (low + high) / 2)
        length = torch.where((newton > low) & (newton < high), newton, middle)
    return length
