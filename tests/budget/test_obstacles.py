"""What keeps a budget from being met is named, with what would be reached without it."""

import pytest
from torch import nn

from slimprune.budget import Budget, CostModel, allocate
from slimprune.errors import BudgetError
from slimprune.graph import find_groups
from tests.networks import EXAMPLE

NET = nn.Sequential(nn.Conv2d(3, 10, 1, bias=False), nn.ReLU(), nn.Conv2d(10, 20, 1, bias=False), nn.Conv2d(20, 2, 1))
"""Parameters at widths a and b: 3 a + a b + 2 b + 2, which are 30 + 200 + 40 + 2 = 272 for 10 and 20."""


@pytest.mark.parametrize(
    ("options", "protect", "found"),
    [
        # 2 and 4 channels: 6 + 8 + 8 + 2 = 24; 1 and 1: 3 + 1 + 2 + 2 = 8
        ({"floor": 0.2}, (), "a ratio of 0.9117 at most; --floor 0.2 holds most of it back: 0.9705 at most without"),
        # 4 and 4 channels: 12 + 16 + 8 + 2 = 38
        ({"floor": 0, "round_to": 4}, (), "0.8602 at most; --round-to 4 holds most of it back: 0.9705 at most without"),
        # 1 and 20 channels: 3 + 20 + 40 + 2 = 65
        ({"floor": 0}, ("2",), "0.7610 at most; 2 .asked for by --protect 2. holds most of it back: 0.9705 at most"),
    ],
)
def test_the_largest_obstacle_is_named(options, protect, found):
    groups = find_groups(NET, EXAMPLE, protect=protect)
    with pytest.raises(BudgetError, match=rf"cannot remove 0.99 of params: .*{found}"):
        allocate(None, groups, Budget(0.99, "params"), CostModel.of(NET, groups, EXAMPLE), rule="uniform", **options)
