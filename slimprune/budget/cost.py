"""Cost of a model as a function of its group widths: parameters, MACs and channels, which can be counted."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from slimprune.errors import UsageError
from slimprune.forward import ForwardFn, bind_forward
from slimprune.graph import ChannelGroup, Example, Kept, first_samples, free_groups, keep_channels
from slimprune.graph.groups import Integers
from slimprune.measure import macs_by_parameter


@dataclass(frozen=True)
class Cost:
    """Cost of a model with certain widths.

    Attributes:
        params: Number of parameters.
        macs: Multiply-accumulates of convolutions and matrix products for one sample.
        channels: Sum of the widths of all groups, output layers included.
        latency: Nanoseconds per batch, see `LatencyModel`; None if no time is known.
    """

    params: int
    macs: int
    channels: int
    latency: int | None = None

    def of(self, quantity: str) -> int:
        """Return the quantity called `quantity`.

        Raises:
            UsageError: If latency is requested and not known.
        """
        amount: int | None = asdict(self)[quantity]
        if amount is None:
            raise UsageError(f"expected a cost model of measured times to know {quantity}, got one without")
        return amount

    def to_json(self) -> dict[str, int]:
        """Return a plain form for JSON; unknown quantities are left out."""
        return {quantity: amount for quantity, amount in asdict(self).items() if amount is not None}


class Costs(Protocol):
    """The interface that allocation needs of a cost model of G groups."""

    @property
    def dense(self) -> Cost:
        """Cost of the dense model."""

    @property
    def marginal_costs(self) -> list[Cost]:
        """What the removal of one channel of each group saves in the dense model."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Dense shape of every parameter, by name."""

    def cost(self, widths: Integers) -> Cost:
        """Return the cost at the given group widths, [G]."""


@dataclass(frozen=True, eq=False)
class CostModel:
    """Sizes of all parameters as products of two affine functions of the group widths.

    If groups touch a parameter along two dimensions, the number of removed positions along each of them is linear in
    the numbers of removed channels. The size of the parameter is the product of what is left along both, times the size
    of its other dimensions. Its MACs are its size times the number of positions at which it is applied, measured once
    on the dense model.

    Attributes:
        widths: Dense widths of the groups, [G].
        sizes: Dense size of the two touched dimensions and of the rest, [T, 3].
        entries: Positions per channel of each group along the two dimensions, [2, T, G].
        uses: Applications of each parameter for one sample, [T].
        product_macs: MACs of one channel of each group in products in which no parameter of a group is a factor, as in
            attention, [G].
        fixed_macs: MACs of such products that no group changes.
        shapes: Dense shape of every parameter, by name, in the order of the other attributes.
    """

    widths: Integers
    sizes: Integers
    entries: Integers
    uses: Integers
    product_macs: Integers
    fixed_macs: int
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(
        cls,
        model: nn.Module,
        groups: Sequence[ChannelGroup],
        example: Example,
        *,
        forward_fn: ForwardFn | None = None,
    ) -> "CostModel":
        """Return the cost model of `model`; the model runs once on the first sample of `example`.

        Args:
            model: The dense model; it is not modified.
            groups: Channel groups of the dense model.
            example: One input batch.
            forward_fn: (model, batch) -> outputs; see `find_groups`.
        """
        model, example = bind_forward(model, example, forward_fn)
        parameters = dict(model.named_parameters())
        row_of = {name: row for row, name in enumerate(parameters)}
        touched: list[list[int]] = [[] for _ in parameters]
        entries = np.zeros((2, len(parameters), len(groups)), np.int64)
        for column, group in enumerate(groups):
            for slot in group.slots:
                if slot.name in row_of:
                    dims = touched[row_of[slot.name]]
                    if slot.dim not in dims:
                        dims.append(slot.dim)
                    entries[dims.index(slot.dim), row_of[slot.name], column] += slot.entries
        sizes = [_sizes(tensor, dims) for tensor, dims in zip(parameters.values(), touched, strict=True)]
        uses, others = _count_uses(model, groups, example)
        products = _product_macs(model, groups, example) if others and groups else np.zeros(len(groups), np.int64)
        widths = np.array([group.width for group in groups], np.int64)
        return cls(
            widths=widths,
            sizes=np.array(sizes, np.int64).reshape(-1, 3),
            entries=entries,
            uses=np.array([uses.get(name, 0) for name in parameters], np.int64),
            product_macs=products,
            fixed_macs=others - int(products @ widths),
            shapes={name: tuple(tensor.shape) for name, tensor in parameters.items()},
        )

    def cost(self, widths: Integers) -> Cost:
        """Return the cost at the given group widths, [G]."""
        kept = self.sizes[:, :2].T - self.entries @ (self.widths - widths)
        sizes = kept[0] * kept[1] * self.sizes[:, 2]
        macs = int(sizes @ self.uses) + int(widths @ self.product_macs) + self.fixed_macs
        return Cost(int(sizes.sum()), macs, int(widths.sum()))

    @property
    def dense(self) -> Cost:
        """Cost of the dense model."""
        return self.cost(self.widths)

    @cached_property
    def marginal_costs(self) -> list[Cost]:
        """What one channel of each group costs the dense model, in the group's own layers and its consumers."""
        return [self.saved(one) for one in np.eye(len(self.widths), dtype=np.int64)]

    def saved(self, removed: Integers) -> Cost:
        """Return what the removal of `removed` channels of the groups, [G], saves in the dense model."""
        dense, slim = self.dense, self.cost(self.widths - removed)
        return Cost(dense.params - slim.params, dense.macs - slim.macs, dense.channels - slim.channels)


def _sizes(tensor: Tensor, dims: list[int]) -> list[int]:
    along = [tensor.shape[dim] for dim in dims] + [1] * (2 - len(dims))
    return [*along, tensor.numel() // (along[0] * along[1])]


def _touched(groups: Sequence[ChannelGroup]) -> frozenset[str]:
    return frozenset(slot.name for group in groups for slot in group.slots)


def _count_uses(model: nn.Module, groups: Sequence[ChannelGroup], example: Example) -> tuple[dict[str, int], int]:
    """Return how often each parameter of a group is applied for one sample, and the MACs that use none of them.

    How often one is applied that belongs to no group, such as a filter along channels, may depend on the widths.
    """
    count, touched = macs_by_parameter(model, *first_samples(example)), _touched(groups)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    uses = {name: macs // sizes[name] for name, macs in count.by_parameter.items() if name in touched or not groups}
    return uses, count.total - sum(uses[name] * sizes[name] for name in uses)


def _product_macs(model: nn.Module, groups: Sequence[ChannelGroup], example: Example) -> Integers:
    """Return the MACs without a parameter that one channel of each group costs: they are linear in each width."""
    without_one = {group.id: torch.arange(1, group.width) for group in free_groups(groups) if group.width > 1}
    whole = _others(model, groups, {}, example)
    if _others(model, groups, without_one, example) == whole:
        return np.zeros(len(groups), np.int64)
    left = [
        _others(model, groups, {group.id: without_one[group.id]}, example) if group.id in without_one else whole
        for group in groups
    ]
    return whole - np.array(left, np.int64)


def _others(model: nn.Module, groups: Sequence[ChannelGroup], kept: Kept, example: Example) -> int:
    """Return the MACs of products in which no parameter of a group is a factor, at other widths."""
    count, touched = macs_by_parameter(keep_channels(model, groups, kept), *first_samples(example)), _touched(groups)
    return count.others + sum(macs for name, macs in count.by_parameter.items() if name not in touched)
