import math

import pytest
import torch
import torch.nn.functional as F

from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.tasks import find_task
from slimprune.training.losses import binary_cross_entropy, cross_entropy_and_dice, soft_dice

MASKS = find_task("segmentation").losses
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(3, 1, 4, 5, generator=GENERATOR)
MASK = torch.randint(0, 2, (3, 1, 4, 5), generator=GENERATOR).float()


def dice_by_hand(logits: torch.Tensor, mask: torch.Tensor) -> float:
    """One image after the other, pixel by pixel."""
    losses = []
    for image, truth in zip(logits.flatten(1).tolist(), mask.flatten(1).tolist(), strict=True):
        shares = [1 / (1 + math.exp(-logit)) for logit in image]
        overlap = sum(p * t for p, t in zip(shares, truth, strict=True))
        losses.append(1 - (2 * overlap + 1) / (sum(shares) + sum(truth) + 1))
    return sum(losses) / len(losses)


def cross_entropy_by_hand(logits: torch.Tensor, mask: torch.Tensor) -> float:
    pairs = list(zip(logits.flatten().tolist(), mask.flatten().tolist(), strict=True))
    return sum(math.log1p(math.exp(-z if t else z)) for z, t in pairs) / len(pairs)


def test_losses_are_their_formulas():
    bce, dice = cross_entropy_by_hand(LOGITS, MASK), dice_by_hand(LOGITS, MASK)
    assert binary_cross_entropy(LOGITS, MASK).item() == pytest.approx(bce, rel=1e-5)
    assert soft_dice(LOGITS, MASK).item() == pytest.approx(dice, rel=1e-5)
    assert cross_entropy_and_dice(LOGITS, MASK).item() == pytest.approx(bce + dice, rel=1e-5)


@pytest.mark.parametrize(
    ("logit", "truth", "expected"),
    [
        (-99.0, 0.0, 0.0),  # 1 - (0 + 1) / (0 + 0 + 1)
        (99.0, 1.0, 0.0),  # 1 - (2 * 16 + 1) / (16 + 16 + 1)
        (99.0, 0.0, 16 / 17),  # 1 - (0 + 1) / (16 + 0 + 1)
        (-99.0, 1.0, 16 / 17),  # 1 - (0 + 1) / (0 + 16 + 1)
        (0.0, 1.0, 8 / 25),  # 1 - (2 * 8 + 1) / (8 + 16 + 1)
    ],
)
def test_dice_of_images_that_are_all_empty_or_all_full(logit: float, truth: float, expected: float):
    output = torch.full((2, 1, 4, 4), logit, requires_grad=True)
    loss = soft_dice(output, torch.full((2, 1, 4, 4), truth))
    loss.backward()
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    assert output.grad is not None
    assert output.grad.isfinite().all()


@pytest.mark.parametrize("name", list(MASKS))
def test_a_small_step_against_the_gradient_lowers_the_loss(name: str):
    output = LOGITS.clone().requires_grad_()
    loss = MASKS[name](output, MASK)
    loss.backward()
    assert output.grad is not None
    assert output.grad.isfinite().all()
    assert MASKS[name](LOGITS - 0.1 * output.grad, MASK) < loss


@pytest.mark.parametrize("name", list(MASKS))
def test_all_shapes_of_one_segmentation_have_one_loss(name: str):
    two = torch.cat([torch.full_like(LOGITS, 0.7), LOGITS + 0.7], dim=1)
    losses = [
        MASKS[name](output, target).item()
        for output, target in ((LOGITS, MASK), (LOGITS[:, 0], MASK[:, 0]), (two, MASK), (LOGITS, MASK[:, 0].byte()))
    ]
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-5)


def test_two_outputs_under_binary_cross_entropy_are_under_cross_entropy():
    two = torch.randn(3, 2, 4, 5, generator=GENERATOR)
    torch.testing.assert_close(binary_cross_entropy(two, MASK), F.cross_entropy(two, MASK[:, 0].long()))


@pytest.mark.parametrize("name", list(MASKS))
def test_autocast_does_not_make_losses_coarse(name: str):
    logits, mask = torch.randn(1, 1, 300, 300), torch.randint(0, 2, (1, 1, 300, 300)).float()
    half = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = MASKS[name](half, mask)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, MASKS[name](half.float(), mask))


@pytest.mark.parametrize("name", list(MASKS))
@pytest.mark.parametrize("output", [torch.zeros(3, 3, 4, 5), torch.zeros(3, 1, 5, 4), torch.zeros(3, 2)])
def test_shapes_that_do_not_fit_are_refused(name: str, output: torch.Tensor):
    with pytest.raises(UnsupportedModelError, match=r"expected (logits|output and mask)"):
        MASKS[name](output, MASK)


def test_names_go_with_tasks():
    labels = find_task("classification")
    assert labels.loss("auto") is labels.loss("cross-entropy") is F.cross_entropy
    assert find_task("segmentation").loss("auto") is find_task("segmentation").loss("bce") is binary_cross_entropy
    with pytest.raises(UsageError, match=r"^expected a loss for classification \(auto, cross-entropy\), got 'dice'$"):
        find_task("classification").loss("dice")
    with pytest.raises(UsageError, match=r"segmentation \(auto, bce, dice, bce\+dice\), got 'cross-entropy'$"):
        find_task("segmentation").loss("cross-entropy")
