import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slimprune.errors import UnsupportedModelError
from slimprune.graph import find_groups, free_groups
from slimprune.saliency import GATES, Problem, channel_target
from slimprune.saliency.criteria.synflow import SynFlow
from tests.networks import EXAMPLE, Residual, toy
from tests.saliency.references import assert_same, best, gated_output, open_gates, residual_problem, slopes


def shares(scores):
    total = sum(values.sum() for values in scores.values())
    return {group: values / total for group, values in scores.items()}


@pytest.mark.parametrize(
    ("density", "counts"),
    [
        (0.3, []),
        (0.25, [6]),  # round(11 * 0.25 ** (1/2)) = round(5.5) = 6
        (0.2, [6, 4]),  # round(11 * 0.2 ** (1/3)) = round(6.43), round(11 * 0.2 ** (2/3)) = round(3.76)
    ],
)
def test_equals_the_gates_written_out(density, counts):
    model, _, problem = residual_problem(1, channel_target(density))
    positive = copy.deepcopy(model).eval()
    for name, tensor in positive.state_dict().items():
        tensor.copy_(
            {"bias": torch.zeros_like, "running_var": torch.ones_like}.get(name.split(".")[-1], torch.abs)(tensor)
        )
    gates, ones = open_gates(), torch.ones(1, 3, 8, 8, dtype=torch.float64)
    for count in [*counts, None]:
        found = slopes(lambda leaves: gated_output(positive, leaves, ones).sum(), gates)
        scores = {group: gates[group] * slope for group, slope in found.items()}
        gates = gates if count is None else best(scores, count)
    assert_same(shares(SynFlow(len(counts) + 1).score(problem)), shares(scores))


WIDTHS = (6, 3, 12, 5)


class Chain(nn.Sequential):
    """Four layers of different widths, all paths through each of them."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
            nn.Conv2d(6, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(48, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 4),
        )  # fmt: skip


def chain(target, gate="consumer", model=None, dtype=torch.float64):
    model = toy(Chain) if model is None else model
    groups = free_groups(find_groups(model, EXAMPLE))
    problem = Problem.prepare(model, groups, F.cross_entropy, gate, dtype)
    return replace(problem, batches=[(torch.zeros(2, 3, 8, 8), torch.zeros(2))], target=target)


@pytest.mark.parametrize("gate", GATES)
def test_what_flows_through_a_layer_is_the_same_for_every_layer(gate):
    scores = SynFlow(1).score(chain(channel_target(0.5), gate))
    sums = torch.stack([values.sum() for values in scores.values()])
    assert tuple(len(values) for values in scores.values()) == WIDTHS
    assert torch.allclose(sums, sums[0], rtol=1e-12)


def test_what_flows_through_a_narrowed_layer_is_the_same_too():
    scores = SynFlow(30).score(chain(channel_target(0.3)))
    assert any((values == 0).any() for values in scores.values())
    sums = torch.stack([values.sum() for values in scores.values()])
    assert torch.allclose(sums, sums[0], rtol=1e-12)


@pytest.mark.parametrize("channels", range(4, 27, 3))
def test_no_layer_is_emptied_up_to_the_greatest_compression(channels):
    """26 channels in 4 layers: with 4 left, every layer keeps exactly one."""
    target = channel_target(min(channels / sum(WIDTHS), 0.999))
    kept = [int(mask.sum()) for mask in target.narrow(SynFlow().score(chain(target)), channels / sum(WIDTHS)).values()]
    assert sum(kept) == channels
    assert min(kept) >= 1
    assert kept == [1, 1, 1, 1] or channels > 4


def test_one_round_does_empty_a_layer():
    """What the rounds are for: a single threshold favours the narrow layers, whose channels share the same sum."""
    target = channel_target(4 / 26)
    kept = [int(mask.sum()) for mask in target.narrow(SynFlow(1).score(chain(target)), 4 / 26).values()]
    assert min(kept) == 0


def test_only_the_shape_of_the_batch_counts():
    problem = chain(channel_target(0.5))
    other = replace(problem, batches=[(torch.full((7, 3, 8, 8), float("nan")), torch.ones(7))], seed=5)
    one, two = SynFlow(5).score(problem), SynFlow(5).score(other)
    assert all(torch.equal(one[group], two[group]) for group in one)


def test_float64_whatever_the_dtype():
    one, two = (SynFlow(5).score(chain(channel_target(0.5), dtype=dtype)) for dtype in (torch.float32, torch.float64))
    assert all(torch.equal(one[group], two[group]) and one[group].dtype == torch.float64 for group in one)


def test_a_norm_without_running_statistics_only_scales_as_well():
    model, other = toy(Chain), toy(Chain)
    for index in (1, 4, 8):
        other[index] = nn.BatchNorm2d(other[index].num_features, track_running_stats=False)
    one, two = (SynFlow(5).score(chain(channel_target(0.5), model=each)) for each in (model, other))
    assert all(torch.equal(one[group], two[group]) for group in one)


def test_flows_beyond_the_range_of_float64_keep_their_ranking():
    """Twenty layers that each multiply by 2^80 more: 2^1600 in all, where float64 ends at 2^1024."""

    torch.manual_seed(6)
    layers = [nn.Conv2d(3, 3, 1, bias=False) for _ in range(20)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    for layer in layers:
        layer.weight.data.abs_()
    problem = chain(channel_target(0.7), model=model)
    larger = replace(problem, network=copy.deepcopy(problem.network))
    for layer in larger.network[:20]:
        layer.weight.data *= 2.0**80
    one, two = (SynFlow(4).score(each) for each in (problem, larger))
    assert all(bool(values.isfinite().all()) for values in two.values())
    assert_same(shares(two), shares(one))
    ranks = [torch.cat(list(scores.values())).argsort().tolist() for scores in (one, two)]
    assert ranks[0] == ranks[1]


def test_several_inputs_are_ones_and_indices_are_zero():
    class Several(Residual):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(3, 4)

        def forward(self, x, y, index):
            return super().forward(x + y) + self.table(index)

    _, _, problem = residual_problem(1, channel_target(0.5))
    # an input of ones beside an input of ones is an input of twos: the scores double, their shares stay
    expected = shares(SynFlow(3).score(problem))
    inputs = (torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8), torch.tensor([2, 1]))
    several = replace(problem, network=toy(Several).double(), batches=[(inputs, torch.zeros(2))])
    assert_same(shares(SynFlow(3).score(several)), expected)


def test_every_output_counts():
    class Double(Residual):
        def forward(self, x):
            output = super().forward(x)
            return {"out": output, "again": [output], "index": output.argmax(1)}

    _, _, problem = residual_problem(1, channel_target(0.5))
    double = replace(problem, network=toy(Double).double())
    assert_same(shares(SynFlow(3).score(double)), shares(SynFlow(3).score(problem)))


def test_a_norm_that_divides_by_its_input_is_refused():
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    problem = Problem.prepare(model, (), F.cross_entropy, "consumer", torch.float32)
    problem = replace(problem, batches=[(torch.zeros(1, 4), torch.zeros(1))], target=channel_target(0.5))
    with pytest.raises(UnsupportedModelError, match="synflow expects norms that only scale, got LayerNorm 1"):
        SynFlow().score(problem)


def test_the_problem_is_untouched():
    _, _, problem = residual_problem(1, channel_target(0.5))
    before = {name: tensor.clone() for name, tensor in problem.network.state_dict().items()}
    SynFlow(3).score(problem)
    assert all(torch.equal(before[name], tensor) for name, tensor in problem.network.state_dict().items())
    assert problem.network.training
