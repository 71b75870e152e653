"""SynFlow: how much of the sum over all paths of |weights| runs through a channel; needs no data."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils._pytree import tree_leaves, tree_map_only

from slimprune.errors import UnsupportedModelError
from slimprune.saliency.iterative import IterativePruning, connection_sensitivity, target_of
from slimprune.saliency.problem import AnyBatch, Problem
from slimprune.saliency.registry import register


@register("synflow", "flow along |weights|, narrowed in rounds; looks at no data (Tanaka et al., NeurIPS 2020)")
@dataclass(frozen=True)
class SynFlow(IterativePruning):
    """s_j = sum over what gate j multiplies of |w| * dR/d|w|, with R = sum of the outputs on an input of ones.

    R is the sum over all paths from input to output of the product of their |weights|. As in the paper's R biases take
    no part; norms only scale (statistics 0 and 1). In such a network the scores of every layer that all paths cross
    have the same sum, so a layer's last channel is never the first to go. Removed channels do not come back.

    All in float64, whatever the dtype of the problem. Of the one batch that a draw asks for only the shape is used.

    Attributes:
        rounds: how often the channels are scored.

    Source: Tanaka et al., Pruning Neural Networks without Any Data by Iteratively Conserving Synaptic Flow
    (NeurIPS 2020), equation 2 and algorithm 1, with one gate per channel.
    """

    rounds: int = 100
    steps = 0
    batches_per_draw = 1
    deterministic = True

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Saliency [width] of every group.

        Raises:
            UsageError: the problem has no target.
            UnsupportedModelError: a norm that divides by statistics of its input.
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
"""Input in place of 1 where float64 overflows: a power of two, so that all scores shrink by it without rounding."""


def _all_positive(network: nn.Module) -> nn.Module:
    """A float64 copy in evaluation mode with |weights|, without biases, whose norms only scale."""
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
    """A batch with `value` in every floating tensor and 0 (an index that exists) in the others.

    Of a pair (inputs, targets) one sample; where a `forward_fn` takes the batch apart, as many as it has.
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
    """R times a power of two that brings it near 1: gradients as small as the ranking, not as large as R, exactly."""
    leaves = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    total = torch.stack([leaf.sum() for leaf in leaves]).sum()
    _, exponent = torch.frexp(total.detach())
    return total * 2.0 ** min(1000, -int(exponent))
