"""The share of each rank."""

import pytest
import torch

from slimprune.ranks.group import Ranks


@pytest.mark.parametrize(("index", "rows"), [(0, [0, 1]), (1, [2, 3]), (2, [4, 5])])
def test_rows_are_divided_equally(index, rows):
    assert Ranks(index, 3).rows(torch.arange(6)).tolist() == rows


@pytest.mark.parametrize("batch", [torch.arange(4), torch.tensor(3.0)], ids=str)
def test_a_rank_that_is_alone_has_all_rows_and_scalars_too(batch):
    assert Ranks().rows(batch) is batch
