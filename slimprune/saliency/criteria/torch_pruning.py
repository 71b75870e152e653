"""The importances of torch-pruning as criteria: `tp:NAME`, computed by that library on our channel groups.

Source: Fang et al., DepGraph: Towards Any Structural Pruning (CVPR 2023), and its library torch-pruning 1.6.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from slimprune.errors import UnsupportedModelError
from slimprune.forward import loss_of
from slimprune.saliency.problem import Problem
from slimprune.saliency.registry import register
from slimprune.saliency.torch_pruning_groups import Importance, channel_scores


@register("tp:magnitude", "torch-pruning: group L2 norm of all weights of a channel", importance="MagnitudeImportance")
@register("tp:bn-scale", "torch-pruning: norms' factors, for trained networks", importance="BNScaleImportance")
@register("tp:lamp", "torch-pruning: magnitude over that of all larger ones in the group", importance="LAMPImportance")
@register("tp:fpgm", "torch-pruning: distance to the other filters of the group", importance="FPGMImportance")
@dataclass(frozen=True)
class WeightImportance:
    """An importance that uses only weights.

    Attributes:
        importance: Name of a class in `torch_pruning.importance`, which is used with its defaults, or an instance of
            one.
    """

    importance: str | Importance
    steps = 0
    batches_per_draw = 0
    deterministic = True

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return the saliency [width] of every group.

        Raises:
            UnsupportedModelError: If the importance cannot score a group, or if all scores are equal.
        """
        scores = _scores(_made(self.importance), problem)
        every = torch.cat(list(scores.values()))
        if bool((every == every[0]).all()):
            raise UnsupportedModelError(
                "expected weights that differ, got the same score for every channel from torch-pruning: train first"
            )
        return scores


@register("tp:taylor", "torch-pruning: sum of |weight * gradient| over a group", importance="TaylorImportance")
@dataclass(frozen=True)
class GradientImportance:
    """An importance that uses weights and the gradient of the loss on one batch.

    Attributes:
        importance: Name of a class in `torch_pruning.importance`, which is used with its defaults, or an instance of
            one.
    """

    importance: str | Importance
    steps = 0
    batches_per_draw = 1
    deterministic = False

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return the saliency [width] of every group."""
        with _gradients(problem, problem.gradient(problem.initial, 0)):
            return _scores(_made(self.importance), problem)


@register("tp:hessian", "torch-pruning: sum of weight^2 * gradient^2 of single samples", importance="HessianImportance")
@dataclass(frozen=True)
class SampleGradientImportance:
    """An importance that accumulates the gradients of the individual samples of a batch.

    Each sample costs a backward pass through the batch. torch-pruning 1.6 overwrites what it accumulates, so that only
    the last sample counts; the scores are returned as the library computes them.

    Attributes:
        importance: Name of a class in `torch_pruning.importance`, which is used with its defaults, or an instance of
            one.
    """

    importance: str | Importance
    steps = 0
    batches_per_draw = 1
    deterministic = False

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return the saliency [width] of every group.

        Raises:
            UnsupportedModelError: If an output or target does not have one row for each sample.
        """
        importance: Any = _made(self.importance)
        importance.zero_grad()
        for gradient in _sample_gradients(problem):
            with _gradients(problem, gradient):
                importance.accumulate_grad(problem.network)
        with _gradients(problem, torch.zeros_like(problem.initial)):
            return _scores(importance, problem)


@register("tp:obdc", "torch-pruning: optimal brain damage by Fisher matrices, layers without biases")
@dataclass(frozen=True)
class FisherImportance:
    """OBD-C: sum of weight^2 * Fisher diagonal over the rows of a channel, from the gradients on one batch.

    torch-pruning 1.6 supports it for 2D convolutions and linear layers, both without a bias.

    Source: Wang et al., EigenDamage: Structured Pruning in the Kronecker-Factored Eigenbasis (ICML 2019).
    """

    steps = 0
    batches_per_draw = 1
    deterministic = False

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return the saliency [width] of every group.

        Raises:
            UnsupportedModelError: If a group has layers of another kind or with biases.
        """
        # The output layer is never scored, so no layer has to be skipped by its number of classes.
        importance = _made("OBDCImportance", num_classes=-1)
        with _recorded(problem.network, importance.A, importance.DS):
            gradient = problem.gradient(problem.initial, 0)
        importance.modules = [layer for layer in importance.DS if _fits_fisher(layer)]
        importance.step()
        with _gradients(problem, gradient):
            return _scores(importance, problem)


@register("tp:activation", "torch-pruning: mean size of what a channel gives to the layers that read it")
@dataclass(frozen=True)
class ActivationImportance:
    """Mean |input| (for linear layers the sum) of the layers that read the channel, on one batch."""

    steps = 0
    batches_per_draw = 1
    deterministic = False

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return the saliency [width] of every group."""
        importance = _made("ActivationImportance", target_types=[nn.Conv2d, nn.Linear])
        with torch.no_grad(), importance.compute_importance(problem.network):
            problem.loss_at(problem.initial, 0)
        try:
            return _scores(importance, problem)
        finally:
            for module in problem.network.modules():
                vars(module).pop("_importance", None)


@register("tp:random", "torch-pruning: independent uniform scores, from the seed")
@dataclass(frozen=True)
class RandomImportance:
    """Uniform scores in (0, 1), from torch's generator with the seed of the draw."""

    steps = 0
    batches_per_draw = 0
    deterministic = False
    ratios = False

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return the saliency [width] of every group."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(problem.seed)
            return _scores(_made("RandomImportance"), problem)


def _made(importance: str | Importance, **options: Any) -> Any:
    """Return the importance; torch-pruning is imported only here, when a score is requested."""
    if not isinstance(importance, str):
        return importance
    from torch_pruning import importance as classes

    return getattr(classes, importance)(**options)


def _scores(importance: Importance, problem: Problem) -> dict[str, Tensor]:
    return {group.id: channel_scores(importance, problem.network, group) for group in problem.groups}


@contextmanager
def _gradients(problem: Problem, gradient: Tensor) -> Iterator[None]:
    """Set `.grad` of the network's parameters to the gradient [P] temporarily, because torch-pruning reads it there."""
    parts = problem.named(gradient)
    parameters = dict(problem.network.named_parameters())
    try:
        for name, parameter in parameters.items():
            parameter.grad = parts[name].clone()
        yield
    finally:
        for parameter in parameters.values():
            parameter.grad = None


def _sample_gradients(problem: Problem) -> Iterator[Tensor]:
    """Yield the gradient [P] of the loss of every sample of the batch, all from one forward pass."""
    losses: list[Tensor] = []

    def total(output: Any, target: Any) -> Tensor:
        losses.extend(loss_of(problem.loss, *sample) for sample in _samples(output, target))
        return torch.stack(losses).sum()

    weights = problem.initial.detach().requires_grad_()
    replace(problem, loss=total).loss_at(weights, 0)
    for loss in losses:
        yield torch.autograd.grad(loss, weights, retain_graph=True)[0]


def _samples(output: Any, target: Any) -> Iterator[tuple[Any, Any]]:
    tensors = [leaf for leaf in tree_leaves((output, target)) if isinstance(leaf, Tensor)]
    sizes = {len(tensor) if tensor.ndim else 0 for tensor in tensors}
    if len(sizes) != 1:
        raise UnsupportedModelError(
            f"expected outputs and targets with a row for each sample, got {len(sizes)} sizes: {sorted(sizes)[:4]}"
        )
    for at in range(sizes.pop()):
        yield _row(output, at), _row(target, at)


def _row(values: Any, at: int) -> Any:
    return tree_map_only(Tensor, lambda tensor: tensor[at : at + 1], values)


def _fits_fisher(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear | nn.Conv2d) and isinstance(getattr(layer, "padding", ()), tuple)


@contextmanager
def _recorded(
    network: nn.Module, inputs: dict[nn.Module, Tensor], gradients: dict[nn.Module, Tensor]
) -> Iterator[None]:
    """Record the input of every convolution and linear layer, and the gradient of the loss at its output."""

    def record(layer: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
        inputs[layer] = arguments[0].detach()
        output.register_hook(_stored(gradients, layer))

    with ExitStack() as hooks:
        for module in network.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                hooks.enter_context(module.register_forward_hook(record))
        yield


def _stored(gradients: dict[nn.Module, Tensor], layer: nn.Module) -> Callable[[Tensor], None]:
    def store(gradient: Tensor) -> None:
        gradients[layer] = gradient.detach()

    return store
