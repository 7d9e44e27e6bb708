"""The law of likes of a synthetic world: audience x author habit x picture appeal x noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PROPERTIES", "Law", "Visible"]

Floats = NDArray[np.float64]

PROPERTIES = ("brightness", "warmth", "closeness")
"""What makes a picture appealing; each is a standardised property that a person can see."""


@dataclass(frozen=True, slots=True)
class Visible:
    """Visible properties of pictures, standardised to mean 0 and SD 1 (clipped at +-2).

    Attributes:
        brightness: of the whole picture, shape (n,).
        warmth: red against blue, shape (n,).
        closeness: size of the face against the picture, shape (n,); 0 where nobody is shown.
    """

    brightness: Floats
    warmth: Floats
    closeness: Floats


@dataclass(frozen=True, slots=True)
class Law:
    """Parameters of ``likes ~ Poisson(rate)``.

    ``rate = base * (followers + passers_by)**exponent * exp(habit_sd * h) * exp(strength * appeal)
    * exp(noise_sd * e) * (1 - exp(-age / settling_days))`` with ``h`` standard normal per author,
    ``e`` standard normal per post, and ``appeal`` the weighted sum of the visible properties,
    scaled to SD 1 over pictures of people.
    """

    strength: float = 1.0
    habit_sd: float = 0.8
    noise_sd: float = 0.4
    base: float = 0.08
    exponent: float = 0.95
    passers_by: float = 3.0
    settling_days: float = 3.0
    brightness: float = 0.5
    warmth: float = 0.6
    closeness: float = 0.6

    def weights(self) -> Floats:
        """Weights of the visible properties, scaled to unit length (all 0 stay 0), shape (3,)."""
        raw = np.array([self.brightness, self.warmth, self.closeness])
        norm = float(np.linalg.norm(raw))
        return raw / norm if norm else raw

    def appeal(self, visible: Visible) -> Floats:
        """Appeal of each picture, shape (n,)."""
        columns = np.stack([visible.brightness, visible.warmth, visible.closeness], axis=1)
        return np.asarray(columns @ self.weights(), dtype=np.float64)

    def rate(
        self, *, followers: Floats, habit: Floats, appeal: Floats, noise: Floats, age_days: Floats
    ) -> Floats:
        """Expected likes of each post; all arguments and the answer have shape (n,)."""
        log_rate = (
            np.log(self.base)
            + self.exponent * np.log(followers + self.passers_by)
            + self.habit_sd * habit
            + self.strength * appeal
            + self.noise_sd * noise
        )
        settled = -np.expm1(-age_days / self.settling_days)
        return np.asarray(np.exp(log_rate) * settled, dtype=np.float64)

    def describe(self) -> str:
        """The law with its numbers, for people."""
        brightness, warmth, closeness = self.weights()
        return (
            f"likes ~ Poisson({self.base:g} * (followers + {self.passers_by:g})^{self.exponent:g}"
            f" * exp({self.habit_sd:g} * author habit) * exp({self.strength:g} * appeal)"
            f" * exp({self.noise_sd:g} * noise) * (1 - exp(-age / {self.settling_days:g} d)));\n"
            f"appeal = {brightness:.2f} * brightness + {warmth:.2f} * warmth"
            f" + {closeness:.2f} * closeness of the face"
        )
