import pytest
import torch

from slimprune.errors import UsageError
from slimprune.saliency import Target, channel_target

SCORES = {
    "a": torch.tensor([0.1, 0.9, 0.3]),
    "b": torch.tensor([0.8, 0.0, 0.7, 0.2, 0.6]),
    "c": torch.tensor([0.5, 0.4]),
}


@pytest.mark.parametrize(
    ("share", "kept"),
    [
        (0.5, {"a": [1], "b": [0, 2, 4], "c": [0]}),  # round(0.5 * 10) = 5
        (0.34, {"a": [1], "b": [0, 2], "c": []}),  # round(3.4) = 3, a layer may end up empty
        (0.66, {"a": [1, 2], "b": [0, 2, 4], "c": [0, 1]}),  # round(6.6) = 7
        (0.01, {"a": [1], "b": [], "c": []}),  # round(0.1) = 0, but one stays
        (1.0, {"a": [0, 1, 2], "b": [0, 1, 2, 3, 4], "c": [0, 1]}),
    ],
)
def test_the_best_channels_of_all_groups_stay(share, kept):
    stays = channel_target(0.1).narrow(SCORES, share)
    assert {group: mask.nonzero().flatten().tolist() for group, mask in stays.items()} == kept
    assert all(mask.dtype == torch.bool for mask in stays.values())


def test_equal_scores_go_to_the_earlier_channel():
    stays = channel_target(0.5).narrow({"a": torch.ones(3), "b": torch.ones(5)}, 0.5)
    assert [mask.tolist() for mask in stays.values()] == [[True, True, True], [True, False, False, False, False]]


@pytest.mark.parametrize("density", [0.0, 1.0, -0.5, 1.5, float("nan")])
def test_a_density_is_a_share(density):
    for make in (channel_target, lambda density: Target(density, lambda scores, share: scores)):
        with pytest.raises(UsageError, match=r"expected a target density in \(0, 1\), got"):
            make(density)
