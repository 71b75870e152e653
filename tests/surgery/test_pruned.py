"""Networks that torch-pruning has cut: proven, refuted with the tensor named, or refused."""

import copy
import doctest

import pytest
import torch
import torch_pruning
import torchvision
from torch import nn

import slimprune
from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.graph import find_groups, keep_channels
from slimprune.models import InputSpec, build
from slimprune.surgery import pruned as module
from slimprune.surgery.pruned import prove_pruned
from tests.networks import EXAMPLE, TOYS, Concat, Depthwise, Flatten, Residual, halves, toy

IMAGE = torch.zeros(1, 3, 32, 32)


def vgg():
    features = torchvision.models.vgg.make_layers([16, "M", 32, "M", 32, "M"], batch_norm=True)
    return nn.Sequential(features, nn.Flatten(), nn.Linear(32 * 16, 40), nn.ReLU(), nn.Linear(40, 10))


NETWORKS = {
    "resnet18": lambda: torchvision.models.resnet18(num_classes=10),
    "vgg": vgg,
    "densenet": lambda: torchvision.models.DenseNet(8, (2, 3), 8, num_classes=10),
    "unet": lambda: build("unet:depth=2,width=8", InputSpec(3, 32, 32, 1)),
}


def cut(network, example, ratio=0.5):
    """A copy that torch-pruning has pruned at random, and by layer the rows that it left."""
    pruned, alive = copy.deepcopy(network), {}
    names = {layer: name for name, layer in pruned.named_modules()}
    output = [layer for layer in pruned.modules() if isinstance(layer, nn.Conv2d | nn.Linear)][-1]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        pruner = torch_pruning.BasePruner(
            pruned, example, torch_pruning.importance.RandomImportance(), pruning_ratio=ratio, ignored_layers=[output]
        )
        for group in pruner.step(interactive=True):
            for dep, gone in group:
                layer = dep.target.module
                if layer in names and pruner.DG.is_out_channel_pruning_fn(dep.handler):
                    left = alive.setdefault(names[layer], list(range(pruner.DG.get_out_channels(layer) or 0)))
                    alive[names[layer]] = [row for at, row in enumerate(left) if at not in set(gone)]
            group.prune()
    return pruned.train(network.training), alive


@pytest.mark.parametrize("name", NETWORKS)
def test_what_torch_pruning_cuts_right_is_proven(name):
    torch.manual_seed(0)
    network = NETWORKS[name]()
    pruned, alive = cut(network, IMAGE)
    before = [{key: value.clone() for key, value in model.state_dict().items()} for model in (network, pruned)]
    found = slimprune.prove_pruned(network, pruned, IMAGE)
    assert found.passed, found.reason
    assert found.reason is None
    assert 0 <= found.proof.max_rel_diff <= 1e-9
    shrunk = [group for group in found.groups if found.widths[group.id] < group.width]
    assert len(shrunk) >= 4
    assert all(found.kept[group.id].tolist() == alive[group.id] for group in shrunk)
    for model, state in zip((network, pruned), before, strict=True):
        assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("kind", TOYS)
def test_what_our_own_surgery_cuts_is_proven(kind):
    network = toy(kind)
    groups = find_groups(network, EXAMPLE)
    kept = halves(groups)
    found = prove_pruned(network, keep_channels(network, groups, kept), EXAMPLE)
    assert found.passed, found.reason
    assert all(torch.equal(found.kept[name], channels) for name, channels in kept.items())


def test_a_network_that_lost_nothing_is_proven():
    network = toy(Residual)
    found = prove_pruned(network, copy.deepcopy(network), EXAMPLE)
    assert found.passed
    assert found.widths == {group.id: group.width for group in found.groups}


def test_a_network_behind_a_forward_function():
    network = toy(Residual)
    pruned, _ = cut(network, EXAMPLE)
    batch = {"image": EXAMPLE}
    found = prove_pruned(network, pruned, batch, forward_fn=lambda model, given: model(given["image"]))
    assert found.passed, found.reason


# Refuted -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tensor", ["stem.weight", "stem_bn.weight", "outer.weight", "outer_bn.running_mean", "head.weight", "head.bias"]
)
def test_an_altered_entry_is_named(tensor):
    network = toy(Residual)
    pruned, _ = cut(network, EXAMPLE)
    with torch.no_grad():
        pruned.state_dict()[tensor].view(-1)[2] += 1e-3
    found = prove_pruned(network, pruned, EXAMPLE)
    assert not found.passed
    assert found.reason == f"{tensor} does not hold the weights of the kept channels"


def test_columns_that_torch_pruning_takes_wrongly_are_named():
    class Interleaved(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6 * 64, 4)

        def forward(self, x):
            return self.head(self.conv(x).relu().permute(0, 2, 3, 1).flatten(1))

    network = toy(Interleaved)
    pruned, alive = cut(network, EXAMPLE)
    assert pruned(EXAMPLE).shape == (1, 4)  # it runs, and says nothing
    found = prove_pruned(network, pruned, EXAMPLE)
    assert not found.passed
    assert found.reason == "head.weight does not hold the weights of the kept channels"
    assert found.kept["conv"].tolist() == alive["conv"]
    ours = keep_channels(network, found.groups, found.kept)
    assert prove_pruned(network, ours, EXAMPLE).passed


def test_other_columns_of_the_next_layer_are_named():
    network = toy(Residual)
    pruned, _ = cut(network, EXAMPLE)
    pruned.outer.weight.data = pruned.outer.weight.data.flip(1)
    found = prove_pruned(network, pruned, EXAMPLE)
    assert found.reason == "outer.weight does not hold the weights of the kept channels"


def test_channels_in_another_order_are_refuted():
    network = toy(Concat)
    pruned, _ = cut(network, EXAMPLE)
    for tensor in (pruned.merge.weight, pruned.merge.bias):
        tensor.data = tensor.data.flip(0)
    pruned.head.weight.data = pruned.head.weight.data.flip(1)
    found = prove_pruned(network, pruned, EXAMPLE)
    assert found.reason == "the channels of merge are not those of the dense network in its order"


def test_layers_that_lost_different_numbers_are_named():
    network = toy(Residual)
    pruned, _ = cut(network, EXAMPLE)
    pruned.inner_bn = nn.BatchNorm2d(4)
    assert "inner_bn.weight has shape (4,), the other layers say (" in prove_pruned(network, pruned, EXAMPLE).reason


def test_classes_that_went_are_named():
    network = toy(Residual)
    pruned = copy.deepcopy(network)
    torch_pruning.prune_linear_out_channels(pruned.head, [1])
    found = prove_pruned(network, pruned, EXAMPLE)
    assert found.reason == (
        "head.weight has shape (3, 6), the other layers say (4, 6); the channels of head have to stay: model output"
    )


def test_attributes_that_do_not_fit_the_weights_are_refuted():
    network = toy(Depthwise)
    pruned, _ = cut(network, EXAMPLE)
    pruned.filter.groups = 8
    found = prove_pruned(network, pruned, EXAMPLE)
    assert not found.passed
    assert found.reason.startswith("the slim model fails")


def test_a_weight_that_is_no_longer_tied_is_named():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.enter, self.one, self.two = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1)
            self.two.weight, self.head = self.one.weight, nn.Conv2d(6, 4, 1)

        def forward(self, x):
            return self.head(self.two(self.one(self.enter(x).relu()).relu()).relu())

    network = toy(Tied)
    pruned = copy.deepcopy(network)
    assert prove_pruned(network, pruned, EXAMPLE).passed
    pruned.two.weight = nn.Parameter(pruned.two.weight.detach().clone())
    found = prove_pruned(network, pruned, EXAMPLE)
    assert found.reason == "two.weight is tied to one.weight in the dense network, but not in the pruned one"


# Channels that look alike --------------------------------------------------------------------------------------------


def test_equal_filters_are_told_apart_by_the_layer_that_reads_them():
    network = toy(Residual)
    with torch.no_grad():
        network.inner.weight[:] = network.inner.weight[:1]
    groups = {group.id: group for group in find_groups(network, EXAMPLE)}
    kept = {"inner": torch.tensor([1, 4]), "stem": torch.tensor([0, 2, 5])}
    pruned = keep_channels(network, groups.values(), kept)
    found = prove_pruned(network, pruned, EXAMPLE)
    assert found.passed, found.reason
    assert found.kept["inner"].tolist() == [1, 4]
    assert found.kept["stem"].tolist() == [0, 2, 5]


def test_either_of_two_equal_channels_will_do():
    network = toy(Flatten)
    with torch.no_grad():
        for tensor, dim in ((network.conv.weight, 0), (network.conv.bias, 0)):
            tensor.index_copy_(dim, torch.tensor([3]), tensor.index_select(dim, torch.tensor([1])))
        network.hidden.weight[:, 12:16] = network.hidden.weight[:, 4:8]
    groups = find_groups(network, EXAMPLE)
    pruned = keep_channels(network, groups, {"conv": torch.tensor([2, 3, 5])})
    found = prove_pruned(network, pruned, EXAMPLE)
    assert found.passed, found.reason
    assert found.kept["conv"].tolist() == [2, 3, 5]
    first = keep_channels(network, groups, {"conv": torch.tensor([1, 5])})
    assert prove_pruned(network, first, EXAMPLE).kept["conv"].tolist() == [1, 5]


def test_a_network_whose_channels_are_all_alike():
    network = toy(Residual)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.5)
    found = prove_pruned(network, cut(network, EXAMPLE)[0], EXAMPLE)
    assert found.passed, found.reason


# Refused -------------------------------------------------------------------------------------------------------------


def test_a_network_that_was_trained_afterwards_is_refused():
    network = toy(Residual)
    pruned, _ = cut(network, EXAMPLE)
    pruned(torch.randn(4, 3, 8, 8)).square().sum().backward()
    torch.optim.SGD(pruned.parameters(), lr=0.1).step()
    with pytest.raises(UsageError, match="it was trained after it was pruned, or it was cut from another network"):
        prove_pruned(network, pruned, EXAMPLE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda net: setattr(net, "inner_bn", nn.Identity()), "got Identity at inner_bn in place of BatchNorm2d"),
        (lambda net: setattr(net, "more", nn.ReLU()), "got ReLU at more in place of nothing"),
        (lambda net: delattr(net, "head"), "got nothing at head in place of Linear"),
        (lambda net: net.register_parameter("scale", nn.Parameter(torch.ones(2))), "got a float32 tensor .* at scale"),
        (lambda net: net.half(), "got a float16 tensor with 4 dimensions at stem.weight in place of a float32 tensor"),
        (
            lambda net: setattr(net, "head", nn.Linear(7, 4)),
            r"got head.weight of shape \(4, 7\) in place of \(4, 6\)",
        ),
    ],
)
def test_another_structure_is_refused(change, message):
    network = toy(Residual)
    other = copy.deepcopy(network)
    change(other)
    with pytest.raises(UsageError, match=message):
        prove_pruned(network, other, EXAMPLE)


@pytest.mark.parametrize(
    ("parts", "middle", "message"),
    [
        (4, nn.Conv2d(8, 4, 1, groups=4), "expected 1 to lose whole groups, .* its 4 groups, got"),
        (2, nn.Conv2d(4, 4, 1), "expected 1 to lose channels of each group, .* its 2 groups, got"),
    ],
)
def test_groups_that_were_divided_in_another_way_are_neither_proven_nor_refuted(parts, middle, message):
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1, groups=parts), nn.Conv2d(8, 4, 1))
    pruned = copy.deepcopy(network)
    pruned[0], pruned[1], pruned[2] = nn.Conv2d(3, middle.in_channels, 1), middle, nn.Conv2d(4, 4, 1)
    with pytest.raises(UnsupportedModelError, match=message):
        prove_pruned(network, pruned, EXAMPLE)


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_convolutions_in_groups_are_proven_where_they_are_divided_alike(parts):
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1, groups=parts), nn.ReLU(), nn.Conv2d(8, 4, 1))
    groups = find_groups(network, EXAMPLE)
    found = prove_pruned(network, keep_channels(network, groups, halves(groups)), EXAMPLE)
    assert found.passed, found.reason


def test_the_example_in_the_docstring():
    tests = doctest.DocTestFinder().find(prove_pruned, "prove_pruned", globs=vars(module))
    results = doctest.DocTestRunner().run(tests[0])
    assert results.attempted == 7
    assert results.failed == 0
