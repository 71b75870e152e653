"""Static quantisation of ONNX files to 8-bit integers, calibrated on images.

The layers compute with int8 weights, which have one scale per output channel, and with uint8 activations, which have
one scale and zero point per tensor. In the file they stand as pairs of QuantizeLinear and DequantizeLinear (QDQ).

On x86, uint8 activations run in half the time of int8 ones, for which onnxruntime lacks kernels of sums.

Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from slimprune.errors import DataError, UnsupportedModelError, kind_and_line
from slimprune.export.runtime import CONVERSION_ERRORS, open_session, predictions
from slimprune.export.silence import onnxruntime_tools

METHODS = ("min-max", "entropy", "percentile")
"""Calibration methods by which the range of an activation is chosen, in the order in which they are tried."""

FEW_CHANGED = 0.005
"""Share of predictions that may change before another calibration method is tried."""

PERCENTILE = 99.99
"""Percentage of an activation's values that `percentile` covers.

Source: H. Wu et al., Integer Quantization for Deep Learning Inference, arXiv 2004.09602, section 5.
"""

_HISTOGRAMS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "entropy": ("Entropy", {"num_bins": 512, "num_quantized_bins": 128, "symmetric": False}),
    "percentile": ("Percentile", {"num_bins": 2048, "percentile": PERCENTILE, "symmetric": False}),
}
_MOST_IMAGES, _MOST_NUMBERS = 32, 2**21
_MOST_HISTOGRAM_NUMBERS = 2**22
"""Most numbers in the images of a histogram, which holds the activations of all of them at once."""


@dataclass(frozen=True)
class Calibration:
    """How the ranges of the activations were chosen.

    Attributes:
        method: A name of `METHODS`.
        images: Number of images on which the ranges were found.
        held_out: Number of further images on which the methods were compared.
        agreement: Fraction of the predictions for the held-out images that are those of the file of 32-bit floats.
    """

    method: str
    images: int
    held_out: int
    agreement: float


def quantise(
    model: onnx.ModelProto, inputs: Tensor, methods: Sequence[str] = METHODS
) -> tuple[onnx.ModelProto, Calibration]:
    """Return a model with 8-bit integers and how it was calibrated.

    Half of the inputs calibrate, the others are held out. A further method is tried only if too many predictions for
    the held-out ones change. The method with the fewest changes is taken.

    Args:
        model: Model of 32-bit floats with one input; it is left unchanged.
        inputs: Inputs [N, ...] of the model, as it takes them, from training images.
        methods: Calibration methods to try, in this order.

    Raises:
        DataError: If there are no inputs.
        UnsupportedModelError: If onnxruntime cannot quantise the model.
    """
    if len(inputs) == 0:
        raise DataError("expected at least one image for the calibration of int8, got none")
    calibrating, held_out = _halves(inputs)
    try:
        agreement, best, method = _best(model, calibrating, held_out, methods)
    except CONVERSION_ERRORS as error:
        rule = "expected a network that onnxruntime can quantise to int8"
        raise UnsupportedModelError(f"{rule}, got {kind_and_line(error)}") from error
    return best, Calibration(method, len(calibrating), len(held_out), agreement)


def _best(
    model: onnx.ModelProto, calibrating: Tensor, held_out: Tensor, methods: Sequence[str]
) -> tuple[float, onnx.ModelProto, str]:
    """Return agreement, model and method of the first good calibration, or of the best one."""
    expected, tried = _predicted(model, held_out), []
    with TemporaryDirectory() as folder:
        prepared = _prepared(model, Path(folder))
        for method in methods:
            found = _quantised(prepared, calibrating, method, Path(folder))
            agreement = float((_predicted(found, held_out) == expected).double().mean())
            tried.append((agreement, found, method))
            if agreement >= 1 - FEW_CHANGED:
                break
    return max(tried, key=lambda one: one[0])


class _Images:
    """Inputs in batches, as onnxruntime's calibration reads them.

    Args:
        name: Name of the model's input.
        inputs: Inputs [N, ...].
    """

    def __init__(self, name: str, inputs: Tensor) -> None:
        self._name, self._batches = name, inputs.split(_batch_size(inputs))
        self._rest: Iterator[Tensor] = iter(self._batches)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Continue with these batches only."""
        self._rest = iter(self._batches[start_index:end_index])

    def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
        """Return the next batch; None at the end."""
        batch = next(self._rest, None)
        return None if batch is None else {self._name: batch.numpy()}


def _halves(inputs: Tensor) -> tuple[Tensor, Tensor]:
    half = len(inputs) // 2
    return (inputs[:half], inputs[half:]) if half else (inputs, inputs)


def _batch_size(inputs: Tensor) -> int:
    return max(1, min(_MOST_IMAGES, _MOST_NUMBERS // max(1, inputs[0].numel())))


def _predicted(model: onnx.ModelProto, inputs: Tensor) -> Tensor:
    session = open_session(model.SerializeToString(), Path("a file to be quantised"))
    name = session.get_inputs()[0].name
    parts = [session.run(None, {name: part.numpy()})[0] for part in inputs.split(_batch_size(inputs))]
    return predictions(torch.cat([torch.from_numpy(part) for part in parts]))


def _prepared(model: onnx.ModelProto, folder: Path) -> Path:
    """Write the model with fused layers and known shapes, which quantisation starts from; return its path."""
    original, file = folder / "original.onnx", folder / "prepared.onnx"
    original.write_bytes(model.SerializeToString())
    with onnxruntime_tools():
        from onnxruntime.quantization.shape_inference import quant_pre_process

        # torch's exporter has written the symbolic shapes already.
        quant_pre_process(original, file, skip_symbolic_shape=True)
    return file


def _quantised(prepared: Path, inputs: Tensor, method: str, folder: Path) -> onnx.ModelProto:
    file, name = folder / f"{method}.onnx", onnx.load(prepared).graph.input[0].name
    with onnxruntime_tools():
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        ranges = _ranges(prepared, name, inputs, method, folder) if method in _HISTOGRAMS else {}
        quantize_static(
            prepared,
            file,
            _Images(name, inputs),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Minima and maxima are found one batch at a time; otherwise those of all batches are kept.
            extra_options={"CalibStridedMinMax": 1, "TensorQuantOverrides": ranges},
        )
    return _plain(onnx.load(file))


def _ranges(
    prepared: Path, name: str, inputs: Tensor, method: str, folder: Path
) -> dict[str, list[dict[str, np.ndarray[Any, Any]]]]:
    """Return the ranges of activations by their histograms, which override minima and maxima.

    `quantize_static` could make the histograms itself, but with settings that do not fit unsigned activations: for the
    entropy as many bins as steps, which leaves one range to choose, and for percentiles ranges around 0.
    """
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    kind, options = _HISTOGRAMS[method]
    calibrator = create_calibrator(
        prepared,
        augmented_model_path=str(folder / "augmented.onnx"),
        calibrate_method=getattr(CalibrationMethod, kind),
        extra_options=options,
    )
    size = min(_batch_size(inputs), len(inputs))
    most = max(size, min(len(inputs), _MOST_HISTOGRAM_NUMBERS // max(1, inputs[0].numel())))
    calibrator.collect_data(_Images(name, inputs[: most // size * size]))  # whole batches, as it expects
    found = calibrator.compute_data().items()
    return {tensor: [dict(zip(("rmin", "rmax"), data.range_value, strict=True))] for tensor, data in found}


def _plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model without the operator sets that its optimisation lists and it does not use."""
    used = {node.domain for node in model.graph.node} | {node.domain for f in model.functions for node in f.node}
    kept = [entry for entry in model.opset_import if entry.domain in ("", *used)]
    copied = [onnx.helper.make_opsetid(entry.domain, entry.version) for entry in kept]
    del model.opset_import[:]
    model.opset_import.extend(copied)
    return model
