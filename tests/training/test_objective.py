import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from slimprune.errors import DataError, UsageError
from slimprune.tasks import find_task
from slimprune.training import TrainSettings, balanced_weights, training_loss

CPU = torch.device("cpu")
LOG3 = math.log(3)


def test_a_loss_without_options_is_the_very_function():
    assert training_loss(cross_entropy, TrainSettings(1), CPU) is cross_entropy


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # Logits log(3) and 0: -log p is log(4/3) for class 0, log(4) for class 1.
        ({"label_smoothing": 0.2}, 0.9 * math.log(4 / 3) + 0.1 * math.log(4)),
        ({"class_weights": (2.0, 1.0)}, math.log(4 / 3)),  # one label: its weight cancels
    ],
)
def test_cross_entropy_with_options(settings, expected):
    loss = training_loss(cross_entropy, TrainSettings(1, **settings), CPU)
    assert float(loss(torch.tensor([[LOG3, 0.0]]), torch.tensor([0]))) == pytest.approx(expected)


def test_class_weights_weigh_labels():
    loss = training_loss(cross_entropy, TrainSettings(1, class_weights=(3.0, 1.0)), CPU)
    outputs, labels = torch.tensor([[LOG3, 0.0], [LOG3, 0.0]]), torch.tensor([0, 1])
    assert float(loss(outputs, labels)) == pytest.approx((3 * math.log(4 / 3) + math.log(4)) / 4)
    with pytest.raises(UsageError, match=r"one number per class in class_weights \(3\), got 2"):
        loss(torch.rand(2, 3), labels)


@pytest.mark.parametrize(("name", "rest"), [("bce", 0.0), ("bce+dice", 1 - (2 * 0.75 + 1) / (0.75 + 1 + 1))])
def test_the_weight_of_the_foreground(name, rest):
    loss = training_loss(find_task("segmentation").loss(name), TrainSettings(1, class_weights=(5.0,)), CPU)
    found = loss(torch.full((1, 1, 1, 1), LOG3), torch.ones(1, 1, 1, 1))
    assert float(found) == pytest.approx(5 * math.log(4 / 3) + rest)


@pytest.mark.parametrize(
    ("name", "settings", "rule"),
    [
        ("bce", {"label_smoothing": 0.1}, "loss cross-entropy with label_smoothing, got binary_cross_entropy"),
        ("dice", {"class_weights": (2.0,)}, "loss with a cross-entropy for class_weights, got soft_dice"),
        ("bce", {"class_weights": (2.0, 1.0)}, "the weight of the foreground, got 2"),
    ],
)
def test_options_that_a_loss_does_not_have_are_refused(name, settings, rule):
    with pytest.raises(UsageError, match=rule):
        training_loss(find_task("segmentation").loss(name), TrainSettings(1, **settings), CPU)


def test_balanced_weights_are_in_inverse_proportion_to_the_counts():
    assert balanced_weights(torch.tensor([2, 6])) == pytest.approx((8 / (2 * 2), 8 / (2 * 6)))
    with pytest.raises(DataError, match="got none of class 1"):
        balanced_weights(torch.tensor([2, 0]))
