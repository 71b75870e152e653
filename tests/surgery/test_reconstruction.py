"""Reconstruction: what can be reached by least squares is reached, and nothing gets worse."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slimprune.budget import Budget, CostModel, allocate
from slimprune.errors import DataError, UsageError
from slimprune.graph import find_groups
from slimprune.surgery import Reconstruction, SlimModel, prove, reconstruct, slim
from tests.networks import TOYS, Depthwise, Residual, toy


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 64) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=seeded())


def slimmed(model: nn.Module, example: Tensor, ratio: float = 0.4) -> SlimModel:
    """The slim model with the first channels of each group."""
    groups = find_groups(model, example)
    plan = allocate(None, groups, Budget(ratio), CostModel.of(model, groups, example), rule="uniform")
    found = slim(model, plan)
    return found.with_proof(prove(model, found, example))


def outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = copy.deepcopy(model).eval()(inputs)
    return found


def trained(model: nn.Module) -> nn.Module:
    """The network after a few steps, so that its batch norm statistics are those of its activations."""
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.05)
    inputs, targets = images(), torch.randint(0, 2, (64,), generator=seeded(1))
    for _ in range(10):
        optimizer.zero_grad()
        output = model(inputs)
        F.cross_entropy(output.flatten(2).mean(2) if output.ndim > 2 else output, targets).backward()
        optimizer.step()
    return model.eval()


def test_channels_that_depend_on_others_are_made_up_for() -> None:
    """Hidden channels 3 ... 5 are sums of channels 0 ... 2, which stay."""
    model = nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 4)).double()
    with torch.no_grad():
        mix = torch.randn(3, 3, dtype=torch.float64, generator=seeded())
        for parameter in (model[0].weight, model[0].bias):  # type: ignore[union-attr]
            parameter[3:] = mix @ parameter[:3]
    inputs = torch.randn(60, 5, dtype=torch.float64, generator=seeded(1))
    found = slimmed(model, inputs[:2])
    assert found.plan.kept["0"].tolist() == [0, 1, 2]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = reconstruct(model, found, [inputs[:30], inputs[30:]], ridge=1e-12)
    fresh = torch.randn(20, 5, dtype=torch.float64, generator=seeded(2))
    assert (outputs(found.module, fresh) - outputs(model, fresh)).abs().max() > 0.1
    assert (outputs(result.slim.module, fresh) - outputs(model, fresh)).abs().max() < 1e-6
    assert [layer.name for layer in result.layers] == ["1"]
    assert result.layers[0].reason is None
    assert result.after < 1e-12 < 0.01 < result.before
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_weights_of_a_convolution_are_those_of_lstsq() -> None:
    """The target of a strided grouped convolution are the dense outputs; its inputs are those of the slim network."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3, stride=2, padding=1, groups=2, bias=False)
    ).double()
    inputs = images(40).double()
    found = slimmed(model, inputs[:2])
    result = reconstruct(model, found, [inputs], ridge=1e-13)
    order = torch.randperm(40, generator=seeded())[:30]
    with torch.no_grad():
        patches = F.unfold(found.module[:2](inputs[order]), 3, stride=2, padding=1)  # type: ignore[index]
    wanted = outputs(model, inputs[order]).flatten(2)
    halves = zip(patches.chunk(2, 1), wanted.chunk(2, 1), strict=True)
    each = [torch.linalg.lstsq(x.mT.flatten(0, 1), y.mT.flatten(0, 1)).solution.T for x, y in halves]
    weight = result.slim.module[2].weight  # type: ignore[index]
    torch.testing.assert_close(weight.flatten(1), torch.cat(each), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", TOYS)
def test_nothing_gets_worse_and_nothing_is_modified(kind: type[nn.Module]) -> None:
    model = trained(toy(kind))
    found = slimmed(model, images()[:2])
    before = [copy.deepcopy(part.state_dict()) for part in (model, found.module)]
    one, other = (reconstruct(model, found, [images(96)]) for _ in range(2))
    for part, state in zip((model, found.module), before, strict=True):
        assert all(torch.equal(tensor, state[name]) for name, tensor in part.state_dict().items())
    assert one.after < one.before
    assert one.solved > 0
    assert one.slim.proof is found.proof
    assert prove(model, one.slim, images()[:2], trained=True).passed
    for layer in one.layers:
        assert layer.reason is not None or layer.after < layer.before  # type: ignore[operator]
    again = other.slim.module.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in one.slim.module.state_dict().items())


def test_layers_are_solved_in_the_order_of_the_forward_pass() -> None:
    model = trained(toy(Residual))
    found = slimmed(model, images()[:2], 0.7)
    assert [layer.name for layer in reconstruct(model, found, [images()]).layers] == ["inner", "outer", "head"]


def test_statistics_of_batch_norm_are_those_of_the_new_weights() -> None:
    model = trained(toy(Depthwise))
    result = reconstruct(model, slimmed(model, images()[:2]), [images()])
    with torch.no_grad():
        hidden = result.slim.module.expand(images())  # type: ignore[operator]
    mean = result.slim.module.expand_bn.running_mean  # type: ignore[union-attr]
    torch.testing.assert_close(mean, hidden.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert not result.slim.module.training


def test_the_loss_decides_about_the_whole() -> None:
    """A loss that grows as the outputs approach the dense ones is never lower after a reconstruction."""
    model = trained(toy(Residual))
    found = slimmed(model, images()[:2])
    batches = [(images(), outputs(model, images()))]
    result = reconstruct(model, found, batches, loss=lambda output, target: -F.mse_loss(output, target))
    assert not result.kept
    assert result.solved == 0
    assert result.slim is found


class Unusual(nn.Module):
    """Layers that read removed channels and cannot be solved, before one that can."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.function, self.twice = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.tied, self.same, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.same.weight = self.tied.weight

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(F.relu(self.enter(x)), self.function.weight)
        x = self.same(F.relu(x)) + self.tied(x)
        x = self.twice(F.relu(x)) + self.twice(x)
        hidden: Tensor = self.head(F.relu(x))
        return hidden


def test_layers_that_cannot_be_solved_keep_their_weights_and_say_why() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Unusual()
    inputs = torch.randn(64, 4, generator=seeded())
    result: Reconstruction = reconstruct(model, slimmed(model, inputs[:2]), [inputs])
    assert {layer.name: layer.reason for layer in result.layers} == {
        "head": None,
        "function": "it is not called as a module",
        "tied": "its weight is shared with another layer",
        "twice": "it is called 2 times",
    }


def test_samples_of_another_shape_are_passed_over() -> None:
    model = trained(toy(Residual))
    found = slimmed(model, images()[:2])
    one = reconstruct(model, found, [images(32), images(32)[:, :, 2:], images(32)])
    other = reconstruct(model, found, [images(32), images(32)])
    assert one.layers == other.layers


def test_progress_goes_from_the_first_layer_to_the_comparison() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 2, 1)).eval()
    events: list[tuple[str, int, int, str]] = []
    reconstruct(model, slimmed(model, images()[:2]), [images()], progress=lambda *event: events.append(event))
    steps = [(0, 3, ""), (1, 3, "1"), (2, 3, "2"), (3, 3, "")]
    assert events == [("reconstruct", *step) for step in steps]


def test_bad_arguments() -> None:
    model = toy(Residual)
    found = slimmed(model, images()[:2])
    with pytest.raises(UsageError, match="expected ridge > 0, got 0"):
        reconstruct(model, found, [images()], ridge=0)
    with pytest.raises(UsageError, match="expected at least 8 samples to reconstruct with, got 4"):
        reconstruct(model, found, [images()], samples=4)
    with pytest.raises(DataError, match="expected at least 8 samples to reconstruct with, got 6"):
        reconstruct(model, found, [images(6)])
