import pytest
import torch

from slimprune.models import InputSpec
from slimprune.models.alexnet import build

from .asserts import assert_maps, parameter_count

CONVOLUTIONS = 11 * 11 * 3 * 96 + 5 * 5 * 96 * 256 + 3 * 3 * 256 * 384 + 3 * 3 * 384 * 384 + 3 * 3 * 384 * 256
UNITS = 96 + 256 + 384 + 384 + 256


@pytest.mark.parametrize(("name", "units", "millions"), [("alexnet-s", 1024, 5.1), ("alexnet-b", 2048, 8.5)])
def test_parameters_and_outputs(name, units, millions):
    """The weights are the 5.1 and 8.5 millions of the SNIP paper; a bias, a gain and an offset come with each unit."""
    inputs = InputSpec(3, 32, 32, 10)
    model = build(name, "", inputs)
    weights = CONVOLUTIONS + 256 * units + units * units + 10 * units
    assert round(weights / 1e6, 1) == millions
    assert parameter_count(model) == weights + 3 * (UNITS + 2 * units) + 10
    assert_maps(model, inputs, 10)


def test_one_pixel_is_left_of_images_of_32_and_of_64_pixels():
    for side in (32, 64):
        model = build("alexnet-s", "", InputSpec(3, side, side, 10)).eval()
        assert model[:15](torch.zeros(1, 3, side, side)).shape == (1, 256, 1, 1)
