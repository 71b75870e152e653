"""The ONNX files of a run."""

from dataclasses import dataclass

from slimprune.export import Calibration, OnnxCheck
from slimprune.files import OnnxVerification, PrecisionOutcome, PrecisionsOutcome, PrecisionSpeed, adapter
from slimprune.scale import SHARES, Scale
from slimprune.types import Precision


@dataclass(frozen=True)
class DeployedFile:
    """One ONNX file of a run: its size, accuracy and speed.

    Attributes:
        precision: Numbers of the file.
        name: Name of the file.
        bytes: Size of the file.
        zstd_bytes: Size of the file after compression by Zstandard.
        accuracy: Metric on all test samples in onnxruntime.
        check: Comparison of the file with the torch model.
        calibration: How the ranges of int8 were chosen; None for others.
        speed: Paired times beside the file of 32-bit floats, one entry per batch size.
    """

    precision: Precision
    name: str
    bytes: int
    zstd_bytes: int
    accuracy: float
    check: OnnxCheck
    calibration: Calibration | None = None
    speed: tuple[PrecisionSpeed, ...] = ()

    def to_json(self) -> PrecisionOutcome:
        """Return the plain form for JSON."""
        return {
            "precision": self.precision,
            "file": self.name,
            "bytes": self.bytes,
            "zstd_bytes": self.zstd_bytes,
            "accuracy": self.accuracy,
            "agreement": self.check.top1_agreement,
            "samples": self.check.samples,
            "calibration": None
            if self.calibration is None
            else adapter(Calibration).dump_python(self.calibration, mode="json"),
            "speed": list(self.speed),
        }


@dataclass(frozen=True)
class Precisions:
    """The ONNX files of a run in their precisions.

    Attributes:
        metric: Name of the metric.
        max_loss: Loss of the metric, see `Scale.loss`, up to which it is not worth a warning.
        files: The files, the one of 32-bit floats first.
        scale: How values of the metric are read.
    """

    metric: str
    max_loss: float
    files: tuple[DeployedFile, ...]
    scale: Scale = SHARES

    @property
    def losses(self) -> list[str]:
        """One sentence for every file that loses too much."""
        first, scale = self.files[0].accuracy, self.scale
        points = scale.points or " %"
        return [
            f"{file.precision} loses {lost:.2f}{points} of {self.metric} on the whole test set: {file.name} has "
            f"{scale.shown(file.accuracy)}, fp32 {scale.shown(first)}; --max-loss is {self.max_loss:g}"
            for file in self.files[1:]
            if (lost := scale.loss(file.accuracy, first)) > self.max_loss
        ]

    def to_json(self) -> PrecisionsOutcome:
        """Return the plain form for JSON."""
        return {"metric": self.metric, "max_loss": self.max_loss, "files": [file.to_json() for file in self.files]}


def check_to_json(check: OnnxCheck) -> OnnxVerification:
    """Return the plain form of a verification."""
    verification: OnnxVerification = {
        "path": str(check.path),
        "opset": check.opset,
        "max_abs_diff": check.max_abs_diff,
        "top1_agreement": check.top1_agreement,
        "samples": check.samples,
        "batches": list(check.batches),
        "size_step": check.size_step,
        "sizes": [list(size) for size in check.sizes],
    }
    if check.precision != "fp32":
        verification["precision"] = check.precision
    return {**verification, "noise": True} if check.noise else verification
