import pytest
import torch
from torch import nn

from slimprune.export.sizes import other_sizes, resized, size_step

from .cases import Classifier, InSteps, OneSize, Segmenter, images


@pytest.mark.parametrize(
    ("model", "step"),
    [
        (InSteps(1), 1),
        (InSteps(4), 4),
        (InSteps(8), 8),
        (OneSize(), None),
        (Classifier(), None),
        (nn.Conv2d(3, 2, 3, stride=2), None),
        (nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Conv2d(3, 2, 1)), None),
    ],
)
def test_the_finest_step_that_a_model_takes(model, step):
    assert size_step(model.eval(), images(1)) == step


def test_a_bilinear_way_up_takes_even_sizes():
    # Its transposed convolution gives twice the rounded half.
    assert size_step(Segmenter().eval(), images(1)) == 2


def test_inputs_without_a_size_have_no_step():
    assert size_step(nn.Linear(4, 2), torch.zeros(1, 4)) is None


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (1, ((257, 259), (128, 257), (256, 192))),
        (16, ((272, 304), (128, 272), (256, 192))),
        (64, ((320, 448), (128, 320), (256, 192))),
    ],
)
def test_other_sizes_are_multiples_larger_and_smaller(step, expected):
    assert other_sizes(torch.zeros(1, 3, 256, 256), step) == expected
    assert all(side % step == 0 for size in expected for side in size)


def test_samples_are_resized():
    samples = resized(images(2), (9, 5))
    assert samples.shape == (2, 3, 9, 5)
    assert torch.equal(resized(images(2), (8, 8)), images(2))
