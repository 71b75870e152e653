"""Files of lower precision beside the ONNX file of a run: made, verified, tested and timed."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from slimprune.data import Batch
from slimprune.errors import DataError
from slimprune.export import Calibration, InputForm, OnnxCheck, OnnxRunner, convert_onnx, verify_onnx
from slimprune.files import PrecisionSpeed
from slimprune.measure import zstd_bytes
from slimprune.pipeline.staging import Outputs
from slimprune.pipeline.workload import Workload, first_inputs, seeded
from slimprune.recipe import BENCH_BATCH, ResolvedRecipe
from slimprune.results import DeployedFile, Precisions, Report
from slimprune.timing.precision import compare_precisions
from slimprune.training import AnyMetric, evaluate
from slimprune.types import Listener, Precision

CALIBRATION_IMAGES = 512
"""Most training images for int8, of which one half calibrates and the other compares the calibrations."""

STAGE = "precision"
"""Name of the stage that listeners receive."""


def check_conversion(source: Path, precisions: Iterable[Precision], inputs: Tensor) -> None:
    """Check that the ONNX file of an untrained network can be converted.

    Raises:
        UnsupportedModelError: If it cannot.
    """
    for precision in precisions:
        target = source.with_suffix(f".{precision}.onnx")
        convert_onnx(source, target, precision, images=inputs, methods=("min-max",))
        target.unlink()


def add_lower_precisions(
    report: Report, work: Workload, module: nn.Module, outputs: Outputs, form: InputForm, listener: Listener
) -> Report:
    """Stage the files of lower precision that the recipe requests; return the report with all files' figures.

    Args:
        report: Report of the run with the verification of its ONNX file.
        work: Workload with training images for the calibration and the test set.
        module: Trained slim network on the CPU.
        outputs: Outputs of the run, whose stage contains the ONNX file.
        form: What the files take.
        listener: Called after every step.
    """
    recipe, wanted = report.recipe, report.recipe.lower_precisions
    if not wanted or outputs.onnx is None or report.onnx is None:
        return report
    total = 3 * len(wanted) + 1
    listener(STAGE, 0, total, "fp32")
    source, check = outputs.staged(outputs.onnx), report.onnx
    files = [described(source, "fp32", check, None, work)]
    images = calibration_images(work, recipe.seed) if "int8" in wanted else None
    for number, precision in enumerate(wanted):
        target = outputs.staged(outputs.lower(precision))
        listener(STAGE, 3 * number + 1, total, f"{precision}, conversion")
        calibration = convert_onnx(source, target, precision, images=images)
        listener(STAGE, 3 * number + 2, total, f"{precision}, verification")
        check = verify_onnx(module, target, work.samples, preprocessing=work.preprocessing)
        found = described(target, precision, check, calibration, work)
        listener(STAGE, 3 * number + 3, total, f"{precision}, speed")
        files.append(replace(found, speed=_speed(source, target, form.pixels(work.images), recipe)))
    listener(STAGE, total, total, ", ".join(wanted))
    return replace(report, precisions=Precisions(work.metric.name, recipe.max_loss, tuple(files), work.metric.scale))


def described(
    file: Path, precision: Precision, check: OnnxCheck, calibration: Calibration | None, work: Workload
) -> DeployedFile:
    """Return the size of a staged file and its accuracy on the whole test set."""
    accuracy = accuracy_of(file, work.test_batches, work.metric)
    return DeployedFile(
        precision, file.name, file.stat().st_size, zstd_bytes(file), accuracy, check, calibration=calibration
    )


def accuracy_of(file: Path, batches: Iterable[Batch], metric: AnyMetric) -> float:
    """Return the metric of an ONNX file on all batches of normalised inputs, run by onnxruntime on the CPU."""
    return evaluate(OnnxRunner(file), batches, metric, device="cpu")


def calibration_images(work: Workload, seed: int) -> Tensor:
    """Return training images for the calibration, normalised, on the CPU.

    Raises:
        DataError: If there are none.
    """
    with seeded(seed):
        return training_images(work.calibration_batches or work.train_batches)


def training_images(batches: Iterable[Batch]) -> Tensor:
    """Return the inputs of the first training batches, at most `CALIBRATION_IMAGES`, on the CPU.

    Raises:
        DataError: If there are none.
    """
    inputs = first_inputs(batches, CALIBRATION_IMAGES)
    if len(inputs) == 0:
        raise DataError("expected training images for the calibration of int8, got none")
    return inputs


def _speed(source: Path, target: Path, pixels: Tensor, recipe: ResolvedRecipe) -> tuple[PrecisionSpeed, ...]:
    batches = dict.fromkeys((1, recipe.bench_batch or BENCH_BATCH))
    return tuple(
        compare_precisions(source, target, _repeated(pixels, batch), threads=recipe.bench_threads) for batch in batches
    )


def _repeated(pixels: Tensor, count: int) -> Tensor:
    return pixels[torch.arange(count) % len(pixels)].contiguous()
