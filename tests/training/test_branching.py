"""Batches that change their order at a step, and the line between two networks."""

import pytest
import torch
from torch import nn

from slimprune.training import BranchedBatches, between, distance


class Numbered:
    """Three batches an epoch, named after the order, the epoch and the place."""

    def __init__(self, order: str) -> None:
        self.order, self.epoch = order, 1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 3

    def __iter__(self):
        return iter([f"{self.order}{self.epoch}{place}" for place in (1, 2, 3)])


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, ["b11 b12 b13", "b21 b22 b23", "b31 b32 b33"]),
        (2, ["a11 a12 b13", "b21 b22 b23", "b31 b32 b33"]),
        (3, ["a11 a12 a13", "b21 b22 b23", "b31 b32 b33"]),
        (4, ["a11 a12 a13", "a21 b22 b23", "b31 b32 b33"]),
        (9, ["a11 a12 a13", "a21 a22 a23", "a31 a32 a33"]),
    ],
)
def test_the_other_order_begins_at_the_step(step, expected):
    batches = BranchedBatches(Numbered("a"), Numbered("b"), step)
    found = []
    for epoch in (1, 2, 3):
        batches.set_epoch(epoch)
        found.append(" ".join(batches))
        assert list(batches) == found[-1].split()
    assert found == expected
    assert len(batches) == 3


def two() -> tuple[nn.Module, nn.Module]:
    first, second = (nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)) for _ in range(2))
    for network, values in ((first, (1.0, 2.0, 3.0, 4.0)), (second, (4.0, 2.0, 3.0, 0.0))):
        for parameter, value in zip(network.parameters(), values, strict=True):
            nn.init.constant_(parameter, value)
    return first, second


def test_weights_between_two_networks():
    first, second = two()
    made = between(first, second, 0.25)
    # 0.75 * 1 + 0.25 * 4, 2, 3, and 0.75 * 4.
    assert [parameter.item() for parameter in made.parameters()] == pytest.approx([1.75, 2, 3, 3])
    assert [parameter.item() for parameter in first.parameters()] == [1, 2, 3, 4]


def test_the_ends_of_the_line_are_the_networks_themselves():
    first, second = two()
    for share, network in ((0.0, first), (1.0, second)):
        made = between(first, second, share)
        assert all(torch.equal(one, other) for one, other in zip(made.parameters(), network.parameters(), strict=True))


def test_the_distance_is_that_of_all_weights():
    assert distance(*two()) == pytest.approx(5)  # of (1, 2, 3, 4) and (4, 2, 3, 0)
