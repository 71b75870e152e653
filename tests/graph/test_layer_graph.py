import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slimprune.errors import UnsupportedModelError
from slimprune.graph import DataFlow, trace_flow
from tests.networks import EXAMPLE, Concat, Residual, named, toy


def drawn(flow: DataFlow) -> list[str]:
    """Every node with those that it reads: `add < stem_bn outer_bn`."""
    names = [node.name for node in flow.nodes]
    return [
        " ".join([name, *(["<"] if number else []), *(names[first] for first, last in flow.edges if last == number)])
        for number, name in enumerate(names)
    ]


def test_a_sum_of_two_branches():
    flow = trace_flow(toy(Residual), EXAMPLE)
    assert drawn(flow) == [
        "input", "stem < input", "stem_bn < stem", "inner < stem_bn", "inner_bn < inner", "outer < inner_bn",
        "outer_bn < outer", "add < stem_bn outer_bn", "head < add", "output < head",
    ]  # fmt: skip
    assert [node.kind for node in flow.nodes] == ["input", *["layer"] * 6, "join", "layer", "output"]
    assert flow.nodes[2].tensors == tuple(f"stem_bn.{n}" for n in ("weight", "bias", "running_mean", "running_var"))


def test_a_concatenation():
    assert drawn(trace_flow(toy(Concat), EXAMPLE))[3:5] == ["cat < left right", "merge < cat"]


@pytest.mark.parametrize("arch", ["resnet18", "unet", "densenet121", "mobilenet_v2"])
def test_every_parameter_takes_part_and_edges_go_forward(arch):
    model, example, _, _ = named(arch)
    flow = trace_flow(model, example)
    assert flow.tensors >= set(dict(model.named_parameters()))
    assert all(first < last for first, last in flow.edges)
    assert {last for _, last in flow.edges} == set(range(1, len(flow.nodes)))


class Shared(nn.Module):
    """One layer applied to its own output, after another."""

    def __init__(self):
        super().__init__()
        self.twice, self.between = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.twice(self.between(self.twice(x)))


def test_a_layer_that_reads_what_it_made_is_drawn_again():
    assert drawn(trace_flow(Shared(), EXAMPLE)) == [
        "input", "twice < input", "between < twice", "twice < between", "output < twice",
    ]  # fmt: skip


class Siamese(nn.Module):
    """One layer applied to both halves of the input."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        left, right = self.left(x), self.right(x)
        return self.head(left), self.head(right)


def test_a_layer_that_is_used_side_by_side_is_one_node():
    assert drawn(trace_flow(Siamese(), EXAMPLE))[3:] == ["head < left right", "output < head"]


class Slices(nn.Module):
    """Two layers write into parts of one tensor."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        both = torch.zeros(len(x), 8, *x.shape[2:])
        both[:, :4] = self.left(x)
        both[:, 4:] = self.right(x)
        return self.head(F.relu(both))


def test_parts_that_are_written_in_place_are_seen():
    assert drawn(trace_flow(Slices(), EXAMPLE))[3:5] == ["copy < left right", "head < copy"]


class Auxiliary(nn.Module):
    """A head that runs in training mode only, and a parameter that is joined by a plain operator."""

    def __init__(self):
        super().__init__()
        self.body, self.head, self.extra = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)
        self.scale = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x):
        x = self.scale * self.body(x)
        return (self.head(x), self.extra(x)) if self.training else self.head(x)


def test_what_runs_in_training_only_is_seen_and_so_are_bare_parameters():
    model = Auxiliary().eval()
    assert drawn(trace_flow(model, EXAMPLE)) == [
        "input", "body < input", "scale < body", "head < scale", "extra < scale", "output < head extra",
    ]  # fmt: skip
    assert not model.training


def test_the_model_is_left_untouched():
    model = toy(Residual).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    hooks = len(model._forward_hooks)
    trace_flow(model, EXAMPLE)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert len(model._forward_hooks) == hooks
    assert model.training


def test_a_model_that_fails_is_refused():
    with pytest.raises(UnsupportedModelError, match="Conv2d cannot be traced: "):
        trace_flow(nn.Conv2d(5, 2, 1), EXAMPLE)
