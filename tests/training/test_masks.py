import pytest
import torch

from slimprune.errors import UnsupportedModelError
from slimprune.training import foreground_logits, plain_mask

MASK = torch.ones(2, 1, 3, 4)
ONE = torch.arange(24.0).view(2, 1, 3, 4)


@pytest.mark.parametrize("output", [ONE, ONE[:, 0], torch.cat([ONE, 2 * ONE], dim=1)])
@pytest.mark.parametrize("target", [MASK, MASK[:, 0]])
def test_one_logit_per_pixel(output, target):
    assert torch.equal(foreground_logits(output, target), ONE[:, 0])
    assert plain_mask(target).shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (torch.zeros(2, 3, 3, 4), r"logits \[N, 1 or 2, H, W\] or \[N, H, W\] beside masks, got \[2, 3, 3, 4\]"),
        (torch.zeros(2, 5), r"got \[2, 5\]"),
        (torch.zeros(2, 1, 4, 3), r"output and mask of one size, got \[2, 1, 4, 3\] and \[2, 1, 3, 4\]"),
        (torch.zeros(1, 3, 4), "output and mask of one size"),
    ],
)
def test_other_shapes_are_refused(output, message):
    with pytest.raises(UnsupportedModelError, match=message):
        foreground_logits(output, MASK)
