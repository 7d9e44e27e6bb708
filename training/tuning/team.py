"""The processes that train one network together: one by itself, or several through torch."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import distributed, nn

__all__ = ["Team", "Workers"]

T = TypeVar("T")


class Team:
    """One process: itself the leader, on the GPU when there is one."""

    rank = 0
    size = 1

    def __init__(self) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def leads(self) -> bool:
        """True in the one process that validates and writes files."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network whose backward pass averages the gradients of the team."""
        return network

    def broadcast(self, value: T | None) -> T:
        """The leader's value."""
        assert value is not None
        return value

    def gather(self, value: T) -> list[T]:
        """Everybody's values by rank."""
        return [value]

    def mean(self, value: float) -> float:
        """Mean of everybody's values."""
        return sum(self.gather(value)) / self.size


class Workers(Team):
    """A process that TorchDistributor or torchrun has started: environment names its place."""

    def __init__(self) -> None:
        super().__init__()
        gpu = self.device.type == "cuda"
        distributed.init_process_group("nccl" if gpu else "gloo")
        self.rank = distributed.get_rank()
        self.size = distributed.get_world_size()
        if gpu:
            self.device = torch.device("cuda", self.rank % torch.cuda.device_count())
            torch.cuda.set_device(self.device)

    def close(self) -> None:
        """Leave the group."""
        distributed.destroy_process_group()

    def wrap(self, network: nn.Module) -> nn.Module:
        """DistributedDataParallel around the network."""
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=devices)

    def broadcast(self, value: T | None) -> T:
        """The leader's value, in every process."""
        box: list[Any] = [value]
        distributed.broadcast_object_list(box, src=0, device=self.device)
        answer: T = box[0]
        return answer

    def gather(self, value: T) -> list[T]:
        """Everybody's values by rank, in every process."""
        boxes: list[Any] = [None] * self.size
        distributed.all_gather_object(boxes, value)
        return boxes
