"""Norms without gain and offset, whose width no tensor tells: they take that of what they read."""

import torch.nn.functional as F
from torch import Tensor, nn

from slimprune.graph.groups import loses_whole_groups


class LayerNormOfInput(nn.LayerNorm):
    """A layer norm without gain and offset over the last dimension, of whatever size."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 the name in torch
        """Return the input with mean 0 and variance 1 along its last dimension."""
        return F.layer_norm(input, input.shape[-1:], eps=self.eps)


class GroupNormOfInput(nn.GroupNorm):
    """A group norm without gain and offset that has lost whole groups: the others keep their size."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 the name in torch
        """Return the input with mean 0 and variance 1 in every group of channels."""
        return F.group_norm(input, input.shape[1] * self.num_groups // self.num_channels, eps=self.eps)


def norm_of_input(module: nn.Module) -> None:
    """Change the class of a norm of torch without gain and offset that knows its width."""
    if type(module) is nn.LayerNorm and module.weight is None and len(module.normalized_shape) == 1:
        module.__class__ = LayerNormOfInput
    elif type(module) is nn.GroupNorm and module.weight is None and _loses_groups(module):
        module.__class__ = GroupNormOfInput


def _loses_groups(norm: nn.GroupNorm) -> bool:
    return loses_whole_groups(norm.num_groups, norm.num_channels // norm.num_groups)
