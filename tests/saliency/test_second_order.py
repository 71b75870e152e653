"""Hessian products against torch's own double backward, in float64."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from slimprune.saliency.problem import Problem
from slimprune.saliency.second_order import SecondOrder


class Standardised(nn.Conv2d):
    """A convolution whose kernel is made from its weight: the kernel's gradient is read on the way to the weight."""

    def forward(self, x):
        spread = self.weight.var((1, 2, 3), keepdim=True).sqrt()
        return nn.functional.conv2d(x, weight=self.weight / spread, bias=self.bias, padding=self.padding)


class Shared(nn.Module):
    """One convolution applied twice."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return self.conv(self.conv(x).tanh())


SIDE = {1: (9,), 2: (9, 8), 3: (5, 6, 5)}
LAYERS = {
    "1-D": (1, lambda: nn.Conv1d(4, 6, 3)),
    "2-D": (2, lambda: nn.Conv2d(4, 6, 3)),
    "3-D": (3, lambda: nn.Conv3d(4, 6, 3, padding=1)),
    "no bias": (2, lambda: nn.Conv2d(4, 6, 3, bias=False)),
    "stride and padding": (2, lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1)),
    "unequal sides": (2, lambda: nn.Conv2d(4, 6, (3, 1), stride=(1, 2), padding=(2, 0))),
    "dilation": (2, lambda: nn.Conv2d(4, 6, 3, dilation=2)),
    "groups": (2, lambda: nn.Conv2d(4, 6, 3, groups=2)),
    "depthwise": (2, lambda: nn.Conv2d(4, 8, 3, groups=4, padding=1)),
    "same padding": (2, lambda: nn.Conv2d(4, 6, 3, padding="same")),
    "circular padding": (2, lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular")),
    "transposed": (2, lambda: nn.ConvTranspose2d(4, 6, 3, stride=2)),
    "standardised": (2, lambda: Standardised(4, 6, 3, padding=1)),
    "shared": (2, Shared),
}


def two_layers(name):
    """The layer between a first convolution, so that its inputs have derivatives, and a loss that is not quadratic."""
    dimensions, make = LAYERS[name]
    first = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1](3, 4, 1)
    model = nn.Sequential(first, nn.Tanh(), make())
    inputs, target = torch.randn(2, 3, *SIDE[dimensions]), torch.zeros(2)
    problem = Problem.prepare(model, (), lambda output, _: output.sin().square().sum(), "consumer", torch.float64)
    return replace(problem, batches=[(inputs, target)])


def by_torch(problem, direction):
    weights = problem.initial.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(problem.loss_at(weights, 0), weights, create_graph=True)
    return gradient.detach(), torch.autograd.grad(gradient, weights, direction)[0]


@pytest.mark.parametrize("name", LAYERS)
def test_gradient_and_product_equal_those_of_torch(name):
    torch.manual_seed(0)
    problem = two_layers(name)
    direction = torch.randn_like(problem.initial)
    gradient, product = by_torch(problem, direction)
    found, times = problem.curvature(problem.initial, 0)
    torch.testing.assert_close(found, gradient, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(times(direction), product, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(problem.hessian_product(problem.initial, 0, direction), product, rtol=1e-11, atol=1e-11)


def products_of(graph):
    """Names of the nodes that a result was made by."""
    names, waiting, seen = [], [graph], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            names.append(node.name())
            waiting.extend(before for before, _ in node.next_functions)
    return names


@pytest.mark.parametrize("name", sorted(LAYERS.keys() - {"same padding", "transposed"}))
def test_plain_convolutions_are_taken_over(name):
    problem = two_layers(name)
    weights = problem.initial.clone().requires_grad_()
    with SecondOrder(weights, gradient_read=True):
        names = products_of(problem.loss_at(weights, 0).grad_fn)
    assert "_ConvolutionBackward" in names
    assert "ConvolutionBackward0" not in names


def test_an_image_without_a_batch_is_left_to_torch():
    weights = torch.randn(1 * 3 * 2 * 2, requires_grad=True)
    image = torch.randn(3, 5, 5)
    with SecondOrder(weights, gradient_read=True):
        output = nn.functional.conv2d(image, weights.view(1, 3, 2, 2))
    assert torch.equal(output, nn.functional.conv2d(image, weights.view(1, 3, 2, 2)))


@pytest.mark.parametrize("hard", [nn.Hardsigmoid(), nn.Hardsigmoid(inplace=True), nn.functional.hardsigmoid])
def test_hard_sigmoids_are_derived_twice(hard):
    """Against the same network with the hard sigmoid written out."""

    class Squeezed(nn.Module):
        def __init__(self, gate):
            super().__init__()
            self.conv, self.gate = nn.Conv2d(3, 4, 3), gate

        def forward(self, x):
            x = self.conv(x)
            return x * self.gate(4 * x.mean((2, 3), keepdim=True))

    torch.manual_seed(0)
    model = Squeezed(hard)
    written_out = Squeezed(lambda x: (x + 3).clamp(0, 6) / 6)
    written_out.load_state_dict(model.state_dict())
    batches = [(torch.randn(8, 3, 6, 6), torch.zeros(8))]
    found, expected = (
        replace(
            Problem.prepare(network, (), lambda output, _: output.square().sum(), "consumer", torch.float64),
            batches=batches,
        )
        for network in (model, written_out)
    )
    direction = torch.randn_like(found.initial)
    _, product = by_torch(expected, direction)
    torch.testing.assert_close(found.hessian_product(found.initial, 0, direction), product, rtol=1e-11, atol=1e-11)
