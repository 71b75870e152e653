import pytest
import torch
import torchmetrics
from torch import nn

from slimprune.errors import DataError, UsageError
from slimprune.training import Metric, as_metric, evaluate, top1
from slimprune.training.metrics import binary_accuracy, class_iou, top5
from slimprune.training.torch_metrics import MOST_DECIBELS, mean_average_precision, psnr, r2, rmse, ssim

SAME = nn.Identity()


def value(metric, *batches):
    return evaluate(SAME, batches, metric, device="cpu")


def test_root_mean_squared_error_is_taken_over_all_batches_at_once():
    batches = (torch.tensor([[1.0], [2.0]]), torch.tensor([0.0, 0.0])), (torch.tensor([[2.0]]), torch.tensor([0.0]))
    assert value(rmse, *batches) == pytest.approx(((1 + 4 + 4) / 3) ** 0.5)


def test_r2_is_one_less_the_share_of_the_variance_that_is_left():
    outputs, targets = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 2.0, 3.0])
    assert value(r2, (outputs, targets)) == pytest.approx(1 - 1 / 2)  # residual 1, variance 1 + 0 + 1


def test_mean_average_precision_of_two_labels():
    logits = torch.tensor([[3.0, 0.0], [2.0, 1.0], [1.0, 2.0]])
    targets = torch.tensor([[1, 1], [0, 1], [1, 1]])
    # first label: precision 1 at the first hit, 2/3 at the second; the second label is always there
    assert value(mean_average_precision, (logits, targets)) == pytest.approx((((1 + 2 / 3) / 2) + 1) / 2)


def test_psnr_is_the_mean_over_images_and_equal_images_have_a_finite_one():
    targets = torch.zeros(2, 1, 8, 8)
    outputs = torch.stack([torch.full((1, 8, 8), 0.1), torch.full((1, 8, 8), 0.01)])
    assert value(psnr, (outputs, targets)) == pytest.approx((20 + 40) / 2)  # -10 log10 of 0.01 and 0.0001
    assert value(psnr, (targets, targets)) == MOST_DECIBELS


def test_ssim_of_equal_images_is_one_and_falls_with_noise():
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert value(ssim, (images, images)) == pytest.approx(1, abs=1e-5)
    assert value(ssim, (1 - images, images)) < 0.5


def test_mean_iou_of_classes_is_that_of_torchmetrics_and_leaves_ignored_pixels_out():
    generator = torch.Generator().manual_seed(0)
    logits, truth = torch.randn(4, 5, 6, 6, generator=generator), torch.randint(5, (4, 6, 6), generator=generator)
    truth[:, 0], truth[:, 1, 0] = 255, -100
    judge = torchmetrics.classification.MulticlassJaccardIndex(5, ignore_index=-100)
    expected = float(judge(logits, truth.masked_fill(truth == 255, -100)))
    assert value(class_iou, (logits[:2], truth[:2]), (logits[2:], truth[2:])) == pytest.approx(expected)


def test_top5_and_the_accuracy_of_one_logit():
    logits = torch.arange(8.0).repeat(2, 1)
    assert value(top5, (logits, torch.tensor([3, 2]))) == 1 / 2  # 7, 6, 5, 4 and 3 are the largest
    assert value(binary_accuracy, (torch.tensor([[1.0], [-1.0], [2.0]]), torch.tensor([1.0, 0.0, 0.0]))) == 2 / 3


def test_objects_of_torchmetrics_are_taken_with_their_direction_and_start_empty():
    given = torchmetrics.MeanAbsoluteError()
    given.update(torch.tensor([5.0]), torch.tensor([0.0]))
    metric = as_metric(given)
    assert (metric.name, metric.scale.higher_is_better, metric.scale.unit) == ("MeanAbsoluteError", False, "")
    assert value(metric, (torch.tensor([1.0]), torch.tensor([0.0]))) == 1
    assert as_metric(top1) is top1


def test_what_is_no_metric_is_refused():
    with pytest.raises(UsageError, match=r"^expected a slimprune\.Metric or a .* of torchmetrics, got R2Score"):
        as_metric(torchmetrics.R2Score)
    with pytest.raises(UsageError, match="got by_hand: Metric"):
        as_metric(by_hand)
    unknown = torchmetrics.MeanMetric()
    with pytest.raises(UsageError, match="higher_is_better is True or False, got None of MeanMetric"):
        as_metric(unknown)


def by_hand(output, target):
    return output - target


def test_a_metric_of_ratios_may_be_an_error():
    off = Metric("off", lambda o, t: ((o - t).abs().sum()[None], torch.tensor([len(o)])), "", higher_is_better=False)
    assert value(off, (torch.tensor([3.0, 0.0]), torch.tensor([0.0, 0.0]))) == 1.5


def test_targets_that_a_metric_cannot_judge_are_an_error():
    with pytest.raises(DataError, match="expected targets that r2 can judge, got nan"):
        value(r2, (torch.tensor([1.0, float("nan")]), torch.tensor([1.0, 2.0])))
