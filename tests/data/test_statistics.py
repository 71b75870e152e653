import pytest
import torch

from slimprune.data.statistics import channel_statistics


def test_mean_and_standard_deviation():
    images = torch.tensor([[[[0, 255]], [[51, 51]]], [[[0, 255]], [[51, 153]]]], dtype=torch.uint8)
    mean, std = channel_statistics([images])
    assert mean == pytest.approx(((0 + 1 + 0 + 1) / 4, (0.2 + 0.2 + 0.2 + 0.6) / 4))
    assert std == pytest.approx((0.5, ((3 * 0.1**2 + 0.3**2) / 4) ** 0.5))


def test_batches_count_by_their_pixels():
    images = torch.randint(0, 256, (7, 3, 5, 4), dtype=torch.uint8)
    scaled = images.double() / 255
    mean, std = channel_statistics(iter(images.split(3)))
    assert mean == pytest.approx(scaled.mean(dim=(0, 2, 3)).tolist())
    assert std == pytest.approx(scaled.std(dim=(0, 2, 3), correction=0).tolist())


def test_a_constant_channel_can_be_divided_by():
    assert channel_statistics([torch.full((2, 1, 3, 3), 51, dtype=torch.uint8)]) == (pytest.approx((0.2,)), (1.0,))
