"""From cached pictures to batches: augmentation, prefetching, the network's input."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from training.tuning.samples import Order, Samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backbones.registry import Preprocess

__all__ = ["Augmentation", "Batch", "Batches", "Pictures", "centre", "prefetch", "to_input"]

# Rec. 601 luma, the weights with which OpenCV turns RGB to grey.
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


class Pictures(Protocol):
    """Decoded pictures by index: uint8 (side, side, 3) RGB."""

    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training picture. ``colour`` is the largest relative change, 0 none."""

    flip: bool = True
    crop: bool = True
    colour: float = 0.0

    def __call__(
        self, picture: NDArray[np.uint8], size: int, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """(side, side, 3) to (size, size, 3). All numbers are drawn whatever is switched on."""
        top, left = rng.integers(0, picture.shape[0] - size + 1, 2)
        mirrored = rng.random() < 0.5
        factors = 1 + self.colour * rng.uniform(-1, 1, 3).astype(np.float32)
        view = picture[top : top + size, left : left + size] if self.crop else centre(picture, size)
        if self.flip and mirrored:
            view = view[:, ::-1]
        return _recolour(view, factors) if self.colour else view


def _recolour(view: NDArray[np.uint8], factors: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Brightness, contrast and saturation times the three factors, in this order."""
    brightness, contrast, saturation = factors
    pixels = view.astype(np.float32) * brightness
    mean = float((pixels @ LUMA).mean())
    pixels = mean + contrast * (pixels - mean)
    grey = (pixels @ LUMA)[:, :, None]
    pixels = grey + saturation * (pixels - grey)
    recoloured: NDArray[np.uint8] = pixels.round().clip(0, 255).astype(np.uint8)
    return recoloured


def centre(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The middle ``size`` x ``size`` of a (height, width, 3) picture."""
    top, left = (picture.shape[0] - size) // 2, (picture.shape[1] - size) // 2
    return picture[top : top + size, left : left + size]


def to_input(pictures: Tensor, spec: Preprocess) -> Tensor:
    """uint8 (n, H, W, 3) RGB to the float32 (n, 3, H, W) that the network was trained on.

    The answer lies in memory as channels_last, which is the quicker layout on CPUs.
    """
    ordered = pictures if spec.colour == "rgb" else pictures.flip(-1)
    mean = torch.tensor(spec.mean, device=pictures.device)
    std = torch.tensor(spec.std, device=pictures.device)
    return ((ordered.float() - mean) / std).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Batch:
    """One step's pictures: uint8 (n, H, W, 3), labels int64 (n,), weights float32 (n,)."""

    pictures: Tensor
    labels: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Batches:
    """Training batches as a pure function of the iteration.

    The randomness of a picture comes from seed, epoch and picture alone, so batches are the same
    on one worker or on several, in a first run or a resumed one.
    """

    pictures: Pictures
    samples: Samples
    order: Order
    size: int
    augmentation: Augmentation
    batch_size: int
    seed: int

    def __call__(self, iteration: int, *, worker: int = 0, workers: int = 1) -> Batch:
        """The batch of this iteration, or the part of it that is one worker's."""
        places = self.order.batch(iteration, self.batch_size)[worker::workers]
        views = np.empty((len(places), self.size, self.size, 3), dtype=np.uint8)
        for row, (epoch, index) in enumerate(places):
            rng = np.random.default_rng([self.seed, epoch, index])
            views[row] = self.augmentation(self.pictures[index], self.size, rng)
        indices = [index for _, index in places]
        return Batch(
            torch.from_numpy(views),
            torch.from_numpy(self.samples.labels[indices]),
            torch.from_numpy(self.samples.weights[indices]),
        )


def prefetch(
    make: Callable[[int], Batch], start: int, stop: int, *, ahead: int = 2
) -> Generator[Batch, None, None]:
    """``make(start)`` ... ``make(stop - 1)``, made in a thread while the network computes."""
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        waiting: deque[Future[Batch]] = deque()
        try:
            for iteration in range(start, stop):
                waiting.append(pool.submit(make, iteration))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
