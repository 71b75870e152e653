import pytest
import torch

from slimprune.errors import DataError, UnsupportedModelError
from slimprune.training import mean_iou, top1


def test_top1_is_the_share_of_largest_logits_on_the_target():
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.0, 1.0, 5.0], [9.0, 0.0, 0.0]])
    counts = top1(logits, torch.tensor([0, 1, 1, 0]))
    assert [count.tolist() for count in counts] == [[3], [4]]
    assert top1.value(*counts) == 3 / 4


def test_outputs_that_are_no_numbers_are_wrong():
    logits = torch.tensor([[float("nan"), 0.0], [float("inf"), 0.0], [1.0, 0.0]])
    assert top1.value(*top1(logits, torch.tensor([0, 0, 0]))) == 1 / 3


MASK = torch.tensor([[[1, 1], [0, 0]]])
LOGITS = torch.tensor([[[0.3, -0.2], [0.1, -4.0]]])
# predicted 1 0 / 1 0 against 1 1 / 0 0: foreground 1 of 3 pixels, background 1 of 3


@pytest.mark.parametrize(
    ("output", "target"),
    [
        (LOGITS, MASK),
        (LOGITS[:, None], MASK[:, None].float()),
        (torch.stack([torch.zeros_like(LOGITS), LOGITS], dim=1), MASK),
    ],
)
def test_mean_iou_counts_intersection_and_union_of_background_and_foreground(output, target):
    counts = mean_iou(output, target)
    assert [count.tolist() for count in counts] == [[1, 1], [3, 3]]
    assert mean_iou.value(*counts) == pytest.approx((1 / 3 + 1 / 3) / 2)


def test_mean_iou_skips_a_foreground_that_neither_side_has():
    counts = mean_iou(torch.full((1, 2, 2), -1.0), torch.zeros(1, 2, 2))
    assert [count.tolist() for count in counts] == [[4, 0], [4, 0]]
    assert mean_iou.value(*counts) == 1.0


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [
        ([1, 1, 0, 0], [1, 1, 0, 0], 1.0),
        ([1, 1, 1, 1], [1, 1, 1, 1], 1.0),  # no background on either side
        ([0, 0, 0, 0], [1, 1, 1, 1], 0.0),
        ([1, 1, 1, 1], [1, 1, 0, 0], (2 / 4 + 0 / 2) / 2),
        ([1, 0, 0, 0], [1, 1, 1, 0], (1 / 3 + 1 / 3) / 2),
        ([0, 1, 1, 0], [1, 1, 0, 0], (1 / 3 + 1 / 3) / 2),
    ],
)
def test_mean_iou_of_known_masks(predicted, true, expected):
    logits = torch.tensor(predicted).view(1, 1, 2, 2) - 0.5
    assert mean_iou.value(*mean_iou(logits, torch.tensor(true).view(1, 1, 2, 2))) == pytest.approx(expected)


def test_mean_iou_is_taken_over_all_images_at_once():
    batches = [(torch.ones(1, 2, 2), torch.ones(1, 2, 2)), (torch.ones(1, 2, 2), torch.zeros(1, 2, 2))]
    counts = [mean_iou(*batch) for batch in batches]
    # foreground: 4 pixels of 8, background: none of 4
    assert mean_iou.value(*(sum(parts) for parts in zip(*counts, strict=True))) == (4 / 8 + 0 / 4) / 2


def test_nothing_counted_is_an_error():
    with pytest.raises(DataError, match="top1"):
        top1.value(torch.zeros(1), torch.zeros(1))


@pytest.mark.parametrize(
    ("metric", "output", "target"),
    [
        (top1, torch.zeros(4), torch.zeros(4)),
        (top1, torch.zeros(4, 3), torch.zeros(5)),
    ],
)
def test_shapes_that_do_not_fit_are_refused_by_name(metric, output, target):
    with pytest.raises(UnsupportedModelError, match=metric.name):
        metric(output, target)
