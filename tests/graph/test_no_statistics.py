import pytest
import torch
import torch.nn.functional as F

from slimprune.graph import find_groups, keep_channels, prove_removal
from slimprune.graph.no_statistics import NoStatistics
from tests.graph.brought import ComputedWeights, NormedWeights, NormsByHand
from tests.networks import EXAMPLE, halves, toy

WEIGHT = torch.tensor([[1.0, 2.0], [3.0, 5.0]], dtype=torch.float64)
GAIN = torch.tensor([2.0, 3.0], dtype=torch.float64)

COMPUTED = {
    "standardised": (lambda w: (w - w.mean(1, keepdim=True)) / w.std(1, keepdim=True), WEIGHT),
    "standardised at once": (lambda w: (w - torch.std_mean(w, 1, keepdim=True)[1]) * 2, 2 * WEIGHT),
    "by a batch norm": (lambda w: F.batch_norm(w[None], None, None, GAIN, training=True)[0], GAIN[:, None] * WEIGHT),
    "normalised": (lambda w: w / w.norm(dim=1, keepdim=True), WEIGHT),
    "direction and length": (lambda w: torch._weight_norm(w, GAIN[:, None], 0), GAIN[:, None] * WEIGHT),
    "spectral": (lambda w: w / torch.dot(GAIN, torch.mv(w, GAIN)), WEIGHT),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_weights_are_computed_without_statistics(name):
    function, expected = COMPUTED[name]
    with NoStatistics(torch.zeros(2)):
        torch.testing.assert_close(function(WEIGHT), expected)


def test_statistics_of_data_stay():
    x = WEIGHT.clone()
    with NoStatistics(x) as mode:
        found = x - x.mean(1)[:, None]
        lengths = x.norm(dim=1, keepdim=True)
    assert (found.tolist(), mode.changed) == ([[-0.5, 0.5], [-1.0, 1.0]], {})
    assert lengths.tolist() == WEIGHT.norm(dim=1, keepdim=True).tolist()


def test_statistics_over_channels_are_those_of_normal_numbers():
    x = WEIGHT - 3
    with NoStatistics(x) as mode:
        mean, square = x.mean(1, keepdim=True), x.pow(2).mean(-1, keepdim=True)
        deviation = x.std(1, keepdim=True)
    assert [found.flatten().tolist() for found in (mean, square, deviation)] == [[0, 0], [1, 1], [1, 1]]
    assert list(mode.changed) == ["mean", "std"]


def test_statistics_of_what_a_layer_makes_of_a_table_stay():
    with NoStatistics(torch.zeros(2)):
        assert F.linear(WEIGHT, WEIGHT).mean(0).tolist() == [9.0, 23.5]


@pytest.mark.parametrize(
    ("kind", "statistics"),
    [
        (ComputedWeights, ("std_mean", "native_batch_norm")),
        (NormedWeights, ("weight_norm_interface",)),
        (NormsByHand, ("mean",)),
    ],
)
def test_a_proof_says_which_statistics_it_left_out(kind, statistics):
    model = toy(kind)
    groups = find_groups(model, EXAMPLE)
    kept = halves(groups)
    proof = prove_removal(model, keep_channels(model, groups, kept), groups, kept, EXAMPLE)
    assert proof.passed
    assert [name.removeprefix("_").removesuffix("_legit") for name in proof.statistics] == list(statistics)
