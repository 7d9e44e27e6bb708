"""Static 8-bit quantisation of an exported network, and what it does to average precision.

Weights and activations become 8-bit integers; the range of each activation is measured on sample
pictures (calibration). Off unless ``[extract] precision = "int8"``: it is about twice as fast on a
CPU with 8-bit dot products (AVX512-VNNI and the like) and changes the features by some percent.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backbones.inference import embed
from backbones.plan import MODEL, Plan
from backbones.preprocess import prepare
from likewise.errors import DataError
from likewise.study import fingerprint
from likewise.whole import whole_folder

__all__ = ["Effect", "measure", "quantise"]

CALIBRATION = 64
"""Pictures that the ranges of the activations are measured on."""


class Effect(NamedTuple):
    """What int8 does: mean relative error of the features, average precision, CPU ms a view."""

    pictures: int
    relative_error: dict[str, float]
    average_precision: dict[str, dict[str, float]]
    cpu_ms: dict[str, float]


def quantise(plan: Plan, pictures: Sequence[bytes]) -> Plan:
    """The plan with an int8 copy of its export, calibrated on the first 64 ``pictures``.

    The copy lies beside the export; one that was calibrated on the same pictures is used again.

    Raises:
        DataError: there is no picture to calibrate on.
    """
    assert plan.onnx is not None
    if not pictures:
        raise DataError("int8 needs pictures to measure the activations on, there are none")
    source, sample = Path(plan.onnx), pictures[:CALIBRATION]
    made_from = fingerprint(
        {
            "seven_bits": _saturates(),
            "pictures": [hashlib.sha256(data).hexdigest() for data in sample],
        }
    )
    folder = source.parent.with_name(f"{source.parent.name}-int8-{made_from}")
    if not (folder / MODEL).is_file():
        _write(source, folder, _Reader(plan, sample))
    return replace(plan, onnx=str(folder / MODEL), precision="int8")


def _saturates() -> bool:
    """Whether this processor adds int8 products in 16 bits; unknown ones are taken to."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return True
    return "vnni" not in flags


def _write(source: Path, folder: Path, reader: _Reader) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with whole_folder(folder) as staged, warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        quantize_static(
            source,
            staged / MODEL,
            reader,
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Without VNNI a processor adds pairs of products in 16 bits, where eight-bit weights
            # overflow (onnxruntime.ai, "Quantize ONNX models", on reduce_range): seven bits fit.
            reduce_range=_saturates(),
            per_channel=True,
            use_external_data_format=True,
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser recommends a preparation that serves transformers."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


class _Reader:
    """Feeds the calibrator one picture at a time."""

    def __init__(self, plan: Plan, pictures: Sequence[bytes]) -> None:
        self._inputs = self._views(plan, pictures)

    @staticmethod
    def _views(plan: Plan, pictures: Sequence[bytes]) -> Iterator[dict[str, Any]]:
        from backbones.onnx_export import INPUT
        from filters.pictures.decode import PictureError

        for data in pictures:
            with contextlib.suppress(PictureError):
                yield {INPUT: prepare(data, plan.backbone)[None]}

    def get_next(self) -> dict[str, Any] | None:
        """The next input, None after the last."""
        return next(self._inputs, None)

    # The calibrator asks for these by iteration, too.
    def __iter__(self) -> _Reader:
        return self

    def __next__(self) -> dict[str, Any]:
        return next(self._inputs)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Part of the calibrator's interface; everything is one range here."""


def measure(
    plan: Plan, pictures: Sequence[bytes], labels: Sequence[int], test: Sequence[bool]
) -> Effect:
    """Features by fp32 and by int8, a LinearSVC on each, average precision on the test pictures.

    ``plan`` is the fp32 plan; ``test`` marks the pictures that the classifier is not fitted on.

    Raises:
        DataError: a picture cannot be decoded, or one label only is left on a side.
    """
    y, held = np.asarray(labels), np.asarray(test, bool)
    if any(len(set(y[part])) < 2 for part in (held, ~held)):
        raise DataError("the sample holds one label only on one side of the split: take more")
    calibration = [data for data, out in zip(pictures, held, strict=True) if not out]
    plans = {"fp32": plan, "int8": quantise(plan, calibration)}
    found, cost = {}, {}
    for name, one in plans.items():
        began = time.process_time()
        found[name] = _features(one, pictures)
        cost[name] = (time.process_time() - began) / max(1, len(y) * plan.views) * 1000
    errors = {
        layer: float(_relative(found["fp32"][layer], found["int8"][layer])) for layer in plan.layers
    }
    precision = {
        name: {layer: _average_precision(x[layer], y, held) for layer in plan.layers}
        for name, x in found.items()
    }
    return Effect(len(y), errors, precision, cost)


def _features(plan: Plan, pictures: Sequence[bytes]) -> dict[str, NDArray[np.float32]]:
    """layer -> (n, d): both views averaged."""
    batches = []
    for batch in embed(((str(i), data) for i, data in enumerate(pictures)), plan):
        bad = next((e for e in batch.errors if e is not None), None)
        if bad is not None:
            raise DataError(f"a picture of the sample cannot be decoded: {bad}")
        batches.append(batch.features)
    joined = {layer: np.concatenate([b[layer] for b in batches]) for layer in plan.layers}
    return {k: v.reshape(-1, plan.views, v.shape[1]).mean(axis=1) for k, v in joined.items()}


def _relative(truth: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    lengths = np.linalg.norm(truth, axis=1)
    return float((np.linalg.norm(found - truth, axis=1) / np.maximum(lengths, 1e-12)).mean())


def _average_precision(x: NDArray[np.float32], y: NDArray[Any], held: NDArray[np.bool_]) -> float:
    from sklearn.metrics import average_precision_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    model = make_pipeline(StandardScaler(), LinearSVC(C=1e-4, dual=True, max_iter=5000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x[~held], y[~held])
    return float(average_precision_score(y[held], model.decision_function(x[held])))
