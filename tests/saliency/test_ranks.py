import pytest
import torch

from slimprune.saliency import ranks, spearman


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1.0, 2, 3, 4], [10.0, 20, 30, 40], 1.0),
        ([1.0, 2, 3, 4], [4.0, 3, 2, 1], -1.0),
        ([1.0, 2, 3, 4], [1.0, 2, 4, 3], 1 - 6 * (1 + 1) / (4 * (16 - 1))),  # 1 - 6 sum(d^2) / (n (n^2 - 1))
        ([1.0, 1, 2, 2], [1.0, 1, 2, 2], 1.0),  # ties share the ranks 1.5 and 3.5
        ([1.0, 1, 1, 1], [1.0, 2, 3, 4], 0.0),
    ],
)
def test_spearman(one, other, expected):
    assert spearman(torch.tensor(one), torch.tensor(other)) == pytest.approx(expected)


def test_ranks_start_at_one_and_ties_share_them():
    assert ranks(torch.tensor([5.0, -1, 5, 9])).tolist() == [2.5, 1, 2.5, 4]
