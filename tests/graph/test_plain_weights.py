import pytest
import torch
import torch.nn.functional as F

from slimprune.graph import find_groups, keep_channels, prove_removal
from slimprune.graph.plain_weights import PlainWeights
from tests.graph.brought import ComputedWeights, NormedWeights
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
    with PlainWeights(torch.zeros(2)):
        torch.testing.assert_close(function(WEIGHT), expected)


def test_statistics_of_data_stay():
    x = WEIGHT.clone()
    with PlainWeights(x) as mode:
        found = x - x.mean(1, keepdim=True)
    assert (found.tolist(), mode.changed) == ([[-0.5, 0.5], [-1.0, 1.0]], {})


def test_statistics_of_what_a_layer_makes_of_a_table_stay():
    with PlainWeights(torch.zeros(2)):
        assert F.linear(WEIGHT, WEIGHT).mean(0).tolist() == [9.0, 23.5]


@pytest.mark.parametrize(
    ("kind", "statistics"),
    [
        (ComputedWeights, ("std_mean", "native_batch_norm")),
        (NormedWeights, ("weight_norm_interface",)),
    ],
)
def test_a_proof_says_which_statistics_of_weights_it_left_out(kind, statistics):
    model = toy(kind)
    groups = find_groups(model, EXAMPLE)
    kept = halves(groups)
    proof = prove_removal(model, keep_channels(model, groups, kept), groups, kept, EXAMPLE)
    assert proof.passed
    assert [name.removeprefix("_").removesuffix("_legit") for name in proof.statistics] == list(statistics)
