"""Runs of `compress` for every task: what they report, and that what they refuse takes no training step."""

import json

import pytest
import torch
import torchmetrics
from safetensors.torch import save_file
from torch import nn

import slimprune
from slimprune.cli import run as run_command
from slimprune.errors import DataError, SlimpruneError, UnsupportedModelError, UsageError

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(24, 3, 12, 12, generator=GENERATOR)
MEANS = IMAGES.mean((2, 3))
BRIGHT = (MEANS[:, 0] > MEANS[:, 0].median()).float()
CLASSES = (3.999 * IMAGES[:, 0]).long()
SETTINGS = {"ratio": 0.4, "epochs": 1, "lr": 0.01, "criterion": "magnitude", "rule": "uniform", "draws": 1}


def network(outputs: int, *, dense: bool = False) -> nn.Module:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    head = [nn.Conv2d(8, outputs, 1)] if dense else [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, outputs)]
    return nn.Sequential(*body, *head)


def batches(targets: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(IMAGES[:12], targets[:12]), (IMAGES[12:], targets[12:])]


def run(folder, model, targets, **options):
    given = {**SETTINGS, "train_batches": batches(targets), "test_batches": batches(targets), **options}
    report = slimprune.compress(model, out=folder / "net.onnx", **given)
    return report, json.loads((folder / "net.report.json").read_text())


@pytest.mark.parametrize(
    ("task", "model", "targets", "name", "said"),
    [
        ("binary", network(1), BRIGHT, "accuracy", "accuracy | not trained | {:.2f} % |"),
        ("multi-label", network(3), (MEANS > 0.5).float(), "map", "mAP | not trained | {:.2f} % |"),
        ("regression", network(2), MEANS[:, :2], "rmse", "RMSE (lower is better) | not trained | {} |"),
        (None, network(4, dense=True), CLASSES, "miou", "mean IoU | not trained | {:.2f} % |"),
        ("image-to-image", network(3, dense=True), IMAGES, "psnr", "PSNR | not trained | {:.2f} dB |"),
    ],
    ids=["binary", "multi-label", "regression", "semantic-segmentation", "image-to-image"],
)
def test_every_task_is_trained_exported_and_labelled(tmp_path, task, model, targets, name, said):
    report, document = run(tmp_path, model, targets, task=task)
    final = document["training"]["final"]
    shown = 100 * final if "%" in said else final
    text = said.format(f"{final:.4g}" if "lower" in said else shown)
    page = (tmp_path / "net.report.md").read_text()
    assert text in page
    assert ("predictions agree" in page) is (name not in ("rmse", "psnr"))
    assert document["metric"]["name"] == name
    assert document["metric"]["task"] == (task or "semantic-segmentation")
    assert document["metric"]["higher_is_better"] is (name != "rmse")
    assert document["onnx"]["max_abs_diff"] < 1e-4
    assert "lower is better" in (tmp_path / "net.report.html").read_text() or name != "rmse"
    assert report.training is not None


def test_the_best_of_errors_is_the_smallest(tmp_path):
    report, document = run(tmp_path, network(1), MEANS[:, 0], task="regression", metric="rmse", epochs=3, lr=0.3)
    assert report.training is not None
    values = [record.test_metric for record in report.training.history]
    assert min(values) < max(values)
    assert document["training"]["best"] == min(values)


def test_loss_and_metric_of_the_user_need_no_task(tmp_path):
    report, document = run(
        tmp_path, network(2), MEANS[:, :2], loss=nn.SmoothL1Loss(), metric=torchmetrics.MeanAbsoluteError()
    )
    assert document["metric"] == {
        "task": "own", "reads": "other", "name": "MeanAbsoluteError", "unit": "", "higher_is_better": False,
    }  # fmt: skip
    slim = slimprune.load(tmp_path / "net.slim", model=network(2)).eval()
    with torch.no_grad():
        expected = (slim(IMAGES) - MEANS[:, :2]).abs().mean()
    assert document["training"]["final"] == pytest.approx(float(expected), rel=1e-4)
    assert report.training is not None


def test_a_lower_precision_that_raises_an_error_is_warned_of(tmp_path):
    _, document = run(tmp_path, network(1), MEANS[:, 0], task="regression", int8=True, max_loss=0)
    first, int8 = document["precisions"]["files"]
    worse = int8["accuracy"] > first["accuracy"]
    assert any(warning.startswith("int8 loses ") for warning in document["warnings"]) is worse


class Counted(nn.Module):
    """A network that counts its backward passes."""

    steps = 0

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        output = self.model(inputs)
        if output.requires_grad:
            output.register_hook(self._count)
        return output

    @staticmethod
    def _count(gradient: torch.Tensor) -> None:
        Counted.steps += 1


@pytest.mark.parametrize(
    ("model", "targets", "options", "error", "found"),
    [
        (network(2), MEANS[:, 0], {"task": "regression"}, UnsupportedModelError, "shape of the targets"),
        (network(3), 2 * BRIGHT, {"task": "binary"}, UnsupportedModelError, "one logit per sample"),
        (network(1), 2 * BRIGHT, {"task": "binary"}, DataError, "targets of 0 and 1, got 2"),
        (network(3), MEANS, {"task": "multi-label"}, DataError, "targets of 0 and 1"),
        (network(3, dense=True), CLASSES, {}, DataError, "classes 0 ... 2"),
        (network(4, dense=True), CLASSES, {"task": "segmentation"}, UnsupportedModelError, "logits"),
        (network(3, dense=True), 3 * IMAGES, {"task": "image-to-image"}, DataError, "pixels in 0..1"),
        (network(3), MEANS, {}, UnsupportedModelError, "for top1"),
        (network(2), MEANS[:, :2], {"task": "regression", "metric": "top1"}, UsageError, "a metric for regression"),
        (network(2), MEANS[:, :2], {"task": "regression", "further_metrics": "top5"}, UsageError, "a metric for regr"),
        (network(2), MEANS[:, :2], {"task": "regression", "loss": "bce"}, UsageError, "a loss for regression"),
        (network(2), MEANS[:, :2], {"task": "regression", "metric": max}, UsageError, "a slimprune.Metric or"),
        (network(2), MEANS[:, :2], {"task": "regression", "resized_crop": 0.5}, UsageError, "no resized_crop"),
        (
            network(2),
            MEANS[:, :2],
            {"task": "regression", "distill": 0.5, "train_dense": True},
            UsageError,
            "a task whose outputs are logits beside --distill, got regression",
        ),
        (network(2), MEANS[:, :2], {"task": "regression", "label_smoothing": 0.1}, UsageError, "label_smoothing"),
        (network(2), MEANS[:, :2], {"task": "regression", "class_weights": "1,2"}, UsageError, "class_weights"),
    ],
)
def test_refusals_come_before_the_first_step(tmp_path, model, targets, options, error, found):
    Counted.steps = 0
    with pytest.raises(error, match=found):
        run(tmp_path, Counted(model), targets, **options)
    assert Counted.steps == 0


def test_training_batches_that_differ_from_the_test_batches_are_refused_before_the_first_step(tmp_path):
    Counted.steps = 0
    with pytest.raises(SlimpruneError, match="targets"):
        run(tmp_path, Counted(network(2)), MEANS[:, :2], task="regression", train_batches=batches(MEANS))
    assert Counted.steps == 0


def test_the_count_of_steps_counts(tmp_path):
    Counted.steps = 0
    run(tmp_path, Counted(network(2)), MEANS[:, :2], task="regression")
    assert Counted.steps >= 2


def test_named_data_brings_its_task_and_the_command_line_reports_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pixels = (255 * IMAGES).to(torch.uint8)
    (tmp_path / "data").mkdir()
    for part in ("train", "test"):
        save_file({"images": pixels, "values": MEANS[:, :1].contiguous()}, tmp_path / "data" / f"{part}.safetensors")
    base = "compress --arch resnet8 --data tensors:data --ratio 0.3 --epochs 1 --draws 1 --lr 0.001 --batch-size 8"
    assert run_command([*base.split(), "--metric", "r2", "--further-metrics", "rmse", "--out", "net.onnx"]) == 0
    assert "R2" in capsys.readouterr().out
    document = json.loads((tmp_path / "net.report.json").read_text())
    assert document["metric"] == {
        "task": "regression", "reads": "values", "name": "r2", "unit": "", "higher_is_better": True,
    }  # fmt: skip
    (rmse,) = document["training"]["further"]
    assert (rmse["name"], rmse["higher_is_better"]) == ("rmse", False)
    assert f"RMSE (lower is better) {rmse['final']:.4g}" in (tmp_path / "net.report.md").read_text()
    assert run_command([*base.split(), "--task", "multi-label", "--out", "other.onnx"]) == 2
    assert "expected a task for the targets of tensors:data (regression), got multi-label" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"loss": "crossentropy"}, "a loss .*cross-entropy.*, got 'crossentropy' .did you mean cross-entropy"),
        ({"metric": "top2"}, "a metric .*top1.*, got 'top2'"),
        ({"further_metrics": ("top9",)}, "a metric .*, got 'top9'"),
        ({"task": "binary", "loss": "mse"}, "a loss for binary .auto, bce., got 'mse'"),
        ({"task": "binry"}, "a task .*got 'binry'"),
    ],
)
def test_unknown_names_are_refused_before_data_is_looked_for(tmp_path, options, found):
    with pytest.raises(UsageError, match=found):
        slimprune.compress("resnet20", data=f"folder:{tmp_path / 'absent'}", out=tmp_path / "net.onnx", **options)
