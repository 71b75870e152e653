"""What each task takes and refuses."""

import pytest
import torch
import torch.nn.functional as F

import slimprune
from slimprune.errors import DataError, SlimpruneError, UnsupportedModelError, UsageError
from slimprune.tasks import TASKS, Task, find_task, guessed_task

ONES, IMAGES = torch.ones(2), torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
MAP = torch.zeros(2, 8, 8, dtype=torch.long)


@pytest.mark.parametrize(
    ("name", "output", "target"),
    [
        ("binary", torch.zeros(2, 1), ONES),
        ("binary", torch.zeros(2), ONES),
        ("multi-label", torch.zeros(2, 4), torch.ones(2, 4)),
        ("regression", torch.zeros(2, 1), ONES),
        ("regression", torch.zeros(2, 3), torch.zeros(2, 3)),
        ("semantic-segmentation", torch.zeros(2, 4, 8, 8), MAP + 3),
        ("semantic-segmentation", torch.zeros(2, 4, 8, 8), MAP + 255),
        ("image-to-image", IMAGES, IMAGES),
    ],
)
def test_what_fits_has_a_finite_loss_with_every_loss_of_the_task(name, output, target):
    task = find_task(name)
    task.check(output, target)
    assert all(loss(output, target).isfinite() and loss(output, target).ndim == 0 for loss in task.losses.values())
    for metric in task.metrics.values():
        metric.start().add(output, target)


@pytest.mark.parametrize(
    ("name", "output", "target", "error", "found"),
    [
        ("binary", torch.zeros(2, 2), ONES, UnsupportedModelError, r"one logit per sample, got \[2, 2\]"),
        ("binary", torch.zeros(2, 1), 2 * ONES, DataError, "targets of 0 and 1, got 2"),
        ("multi-label", torch.zeros(2, 4), torch.ones(2, 3), UnsupportedModelError, r"got \[2, 4\] and \[2, 3\]"),
        ("multi-label", torch.zeros(2, 4), torch.full((2, 4), 0.5), DataError, "targets of 0 and 1, got 0.5"),
        ("regression", torch.zeros(2, 2), ONES, UnsupportedModelError, r"got \[2, 2\] and \[2\]"),
        ("regression", torch.zeros(2, 1), ONES.long(), DataError, "floating-point numbers, got torch.int64"),
        ("regression", torch.zeros(2, 1), ONES / 0, DataError, "finite targets, got nan or inf"),
        ("semantic-segmentation", torch.zeros(2, 4, 8, 8), MAP + 4, DataError, "classes 0 ... 3, 255 or -100 .* got 4"),
        ("semantic-segmentation", torch.zeros(2, 4, 4, 4), MAP, UnsupportedModelError, "output and mask of one size"),
        ("semantic-segmentation", torch.zeros(2, 1, 8, 8), MAP, UnsupportedModelError, "two or more classes"),
        ("semantic-segmentation", torch.zeros(2, 4, 8, 8), MAP.float(), DataError, "class numbers, got torch.float32"),
        ("image-to-image", IMAGES, 2 * IMAGES, DataError, "pixels in 0..1, got"),
        ("image-to-image", torch.zeros(2, 3), torch.zeros(2, 3), UnsupportedModelError, r"images \[N, C, H, W\]"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_rule_and_the_value(name, output, target, error, found):
    with pytest.raises(error, match=found):
        find_task(name).check(output, target)


def test_one_output_per_sample_is_not_spread_over_all_targets():
    assert find_task("regression").loss()(torch.tensor([[1.0], [3.0]]), torch.tensor([1.0, 1.0])) == (0 + 4) / 2


def test_ignored_pixels_have_no_loss_and_a_batch_of_them_none_at_all():
    loss, logits = find_task("semantic-segmentation").loss(), torch.randn(1, 3, 2, 2)
    target = torch.tensor([[[0, 1], [255, -100]]])
    assert loss(logits, target) == pytest.approx(F.cross_entropy(logits[:, :, 0], target[:, 0]))
    assert loss(logits, torch.full((1, 2, 2), 255)) == 0


def test_only_integers_leave_no_doubt():
    assert guessed_task(MAP) == guessed_task(MAP[:, None]) == "semantic-segmentation"
    assert {guessed_task(one) for one in (ONES.long(), ONES, MAP.float(), IMAGES, None)} == {"classification"}


def test_names_are_found_in_the_registry_and_in_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import torch.nn.functional as F\nfrom slimprune import Metric, Task, top1\n"
        "task = Task('mine', 'ours', {'smooth': F.smooth_l1_loss}, {'top1': top1})\nempty = Task('empty', '', {}, {})\n"
    )
    assert find_task("mine.py:task").loss("smooth") is F.smooth_l1_loss
    with pytest.raises(UsageError, match=r"expected task mine\.py:empty to have a loss and a metric, got none"):
        find_task("mine.py:empty")
    with pytest.raises(UsageError, match="did you mean regression"):
        find_task("regresion")
    with pytest.raises(UsageError, match=r"expected a metric for regression \(auto, rmse, r2\), got 'psnr'"):
        find_task("regression").metric("psnr")
    assert slimprune.Task is Task
    assert {"classification", "segmentation", "binary"} <= set(TASKS)


def test_every_task_refuses_an_output_that_is_no_tensor():
    for name in ("binary", "multi-label", "regression", "semantic-segmentation", "image-to-image"):
        with pytest.raises(SlimpruneError):
            find_task(name).check({"out": ONES}, ONES)
