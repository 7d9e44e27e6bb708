"""What runs a network: ONNX Runtime on the CPU, torch on the CPU or a GPU."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from likewise.errors import WeightsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backbones.plan import Plan

__all__ = ["Engine", "OnnxEngine", "TorchEngine", "open_engine"]


class Engine(Protocol):
    """Runs a network on a batch."""

    def run(self, views: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """(n, 3, side, side) -> layer name -> (n, d)."""


class OnnxEngine:
    """ONNX Runtime, on the CPU, with ``threads`` threads.

    With ``shared`` the parameters stay where they are mapped, so that all workers of a machine
    share one copy; otherwise each repacks its own, which pays for int8 only.

    Raises:
        WeightsError: the file is damaged.
    """

    def __init__(
        self, path: Path, layers: tuple[str, ...], threads: int = 1, *, shared: bool = True
    ) -> None:
        import onnxruntime as ort

        _grow_as_asked()
        options = ort.SessionOptions()
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        # Idle threads that spin would take the core of the next worker.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.disable_prepacking", "1" if shared else "0")
        try:
            self._session: Any = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise WeightsError(
                f"{path} cannot be opened: {str(error).splitlines()[0]}",
                hint=f"delete {path.parent}; it is made again from the weights",
            ) from error
        self._layers = layers
        self._input = self._session.get_inputs()[0].name

    def run(self, views: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """(n, 3, side, side) -> layer name -> (n, d)."""
        values = self._session.run(list(self._layers), {self._input: views})
        return dict(zip(self._layers, values, strict=True))


@functools.cache
def _grow_as_asked() -> None:
    """Let this process's ONNX Runtime take the memory it asks for, not the next power of two.

    With the pattern of one large block switched off, too, a worker needs 20 MB less.
    """
    import onnxruntime as ort

    place = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    same_as_requested = 1
    ort.create_and_register_allocator(place, ort.OrtArenaCfg(0, same_as_requested, -1, -1))


class TorchEngine:
    """Plain torch on ``device`` with ``threads`` CPU threads."""

    def __init__(
        self,
        network: Any,
        layers: tuple[str, ...],
        *,
        pre_relu: bool = False,
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        import torch

        if device == "cpu":
            torch.set_num_threads(threads)
        self._torch = torch
        self._device = device
        self._network = network.to(device).eval()
        self._layers = layers
        self._pre_relu = pre_relu

    def run(self, views: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """(n, 3, side, side) -> layer name -> (n, d)."""
        with self._torch.inference_mode():
            batch = self._torch.from_numpy(views).to(self._device, non_blocking=True)
            found = self._network.features(batch, pre_relu=self._pre_relu)
            return {layer: found[layer].cpu().numpy() for layer in self._layers}


@functools.lru_cache(maxsize=2)
def open_engine(plan: Plan) -> Engine:
    """The plan's engine; a Python worker opens it once and keeps it for its next tasks."""
    if plan.engine == "onnx":
        assert plan.onnx is not None
        shared = plan.precision == "fp32"
        return OnnxEngine(Path(plan.onnx), plan.layers, plan.threads, shared=shared)
    from backbones.loading import load

    network = load(plan.backbone, random_weights=plan.random_weights, weights=plan.weights)
    return TorchEngine(
        network, plan.layers, pre_relu=plan.pre_relu, device=plan.device, threads=plan.threads
    )
