"""SynFlow: the share of a channel in the sum over all paths of |weights|; needs no data."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils._pytree import tree_leaves, tree_map_only

from slimprune.errors import UnsupportedModelError
from slimprune.measure.devices import has_float64
from slimprune.saliency.iterative import IterativePruning, connection_sensitivity, target_of
from slimprune.saliency.problem import AnyBatch, Problem
from slimprune.saliency.registry import UNITS, register


@register("synflow", "flow along |weights|, narrowed in rounds; looks at no data (Tanaka et al., NeurIPS 2020)")
@dataclass(frozen=True)
class SynFlow(IterativePruning):
    """Synaptic flow: s_j = sum over what gate j multiplies of |w| * dR/d|w|, with R = sum of the outputs on ones.

    R is the sum over all paths from input to output of the product of their |weights|, with an input of ones. As in the
    paper, biases do not contribute to R, and norms only scale (statistics 0 and 1). In such a network the scores of
    every layer that all paths cross have the same sum, so the last channel of a layer is never the first to be removed.
    Removed channels do not come back.

    Everything is computed in float64, whatever the dtype of the problem. Each draw takes one batch, of which only the
    shape is used.

    Attributes:
        rounds: How often the channels are scored.

    Source: Tanaka et al., Pruning Neural Networks without Any Data by Iteratively Conserving Synaptic Flow
    (NeurIPS 2020), equation 2 and algorithm 1, with one gate per channel.
    """

    rounds: int = 100
    steps = 0
    batches_per_draw = 1
    deterministic = True
    units = UNITS

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return the saliency [width] of every group.

        Raises:
            UsageError: If the problem has no target.
            UnsupportedModelError: If a norm divides by statistics of its input.
        """
        target = target_of(problem, "synflow")
        network = _all_positive(problem.network)
        flow = replace(problem, network=network, batches=[_ones(problem)], loss=_sum_of_outputs)
        if not flow.loss_at(flow.initial, 0).isfinite():
            flow = replace(flow, batches=[_ones(problem, TINY)])
        return self.scores_after_rounds(
            flow, target, lambda gates, _: connection_sensitivity(flow, gates, 0), may_return=False
        )


TINY = 2.0**-900
"""Input in place of 1 if float64 overflows: a power of two, so that all scores shrink by it without rounding."""


def _all_positive(network: nn.Module) -> nn.Module:
    """Return a float64 copy in eval mode with |weights| and without biases, whose norms only scale."""
    for parameter in network.parameters():
        if not has_float64(parameter.device):
            raise UnsupportedModelError(f"synflow expects a device with float64, got {parameter.device.type}")
    copied = copy.deepcopy(network).double().eval()
    for name, module in copied.named_modules():
        if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.RMSNorm):
            kind = type(module).__name__
            raise UnsupportedModelError(f"synflow expects norms that only scale, got {kind} {name}")
        if isinstance(module, _NormBase):
            some = next(copied.parameters())
            module.running_mean = some.new_zeros(module.num_features)
            module.running_var = some.new_ones(module.num_features)
            module.track_running_stats = True
    with torch.no_grad():
        for name, parameter in copied.named_parameters():
            parameter.copy_(torch.zeros_like(parameter) if name.endswith("bias") else parameter.abs())
    return copied


def _ones(problem: Problem, value: float = 1.0) -> AnyBatch:
    """Return a batch with `value` in every floating-point tensor and 0 (a valid index) in the others.

    For a pair (inputs, targets) the batch has one sample; with a `forward_fn` it keeps its size.
    """

    def constant(tensor: Tensor) -> Tensor:
        floating = tensor.is_floating_point()
        return torch.full_like(tensor, value, dtype=torch.float64) if floating else torch.zeros_like(tensor)

    batch = problem.batches[0]
    if problem.forward_fn is not None:
        return tree_map_only(Tensor, constant, batch)
    inputs = (batch[0],) if isinstance(batch[0], Tensor) else batch[0]
    return [constant(tensor[:1]) for tensor in inputs], torch.zeros(())


def _sum_of_outputs(output: object, _: Tensor) -> Tensor:
    """Return R times a power of two that brings it near 1.

    Gradients then have a moderate size instead of that of R. The scaling is exact.
    """
    leaves = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    total = torch.stack([leaf.sum() for leaf in leaves]).sum()
    _, exponent = torch.frexp(total.detach())
    return total * 2.0 ** min(1000, -int(exponent))
