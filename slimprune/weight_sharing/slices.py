"""The entries of a model's tensors that a narrower network has."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slimprune.graph import ChannelGroup
from slimprune.graph.groups import Integers


@dataclass(frozen=True, eq=False)
class Slice:
    """The channels along one dimension of a tensor.

    Attributes:
        name: Name of the tensor.
        dim: The dimension.
        group: Number of the group that each position belongs to, [N]; -1 for positions that always stay.
        rank: Rank of its channel within the group, [N]; a network of width w has the channels of ranks below w.
    """

    name: str
    dim: int
    group: Integers
    rank: Integers

    def positions(self, widths: Integers) -> Integers:
        """Return the positions that a network of these widths, [G], has."""
        found: Integers = np.flatnonzero((self.group < 0) | (self.rank < widths[self.group]))
        return found

    def only(self, widths: Integers) -> "Slice":
        """Return the slice of the tensor of a network that has these widths, [G]."""
        kept = self.positions(widths)
        return Slice(self.name, self.dim, self.group[kept], self.rank[kept])


def find_slices(
    tensors: Mapping[str, Tensor], groups: Sequence[ChannelGroup], ranks: Mapping[str, Tensor]
) -> list[Slice]:
    """Return a slice for every dimension of a tensor that a group touches.

    Args:
        tensors: Tensors of the dense model by name.
        groups: Channel groups of the dense model.
        ranks: Ranks of the channels of a group, int64 [width], by group; groups that are not listed have their order.
    """
    found: dict[tuple[str, int], Slice] = {}
    for number, group in enumerate(groups):
        order = ranks.get(group.id, torch.arange(group.width)).numpy()
        for slot in group.slots:
            size = tensors[slot.name].shape[slot.dim]
            empty = Slice(slot.name, slot.dim, np.full(size, -1, np.int64), np.zeros(size, np.int64))
            one = found.setdefault((slot.name, slot.dim), empty)
            positions = slot.index.numpy()
            one.group[positions] = number
            one.rank[positions] = order[:, None]
    return list(found.values())


def cut(tensors: Mapping[str, Tensor], slices: Iterable[Slice], widths: Integers) -> dict[str, Tensor]:
    """Return the tensors that get smaller at these widths, [G]: views where the positions are a range."""
    smaller: dict[str, Tensor] = {}
    for one in slices:
        tensor = smaller.get(one.name, tensors[one.name])
        positions = one.positions(widths)
        if len(positions) < tensor.shape[one.dim]:
            smaller[one.name] = _taken(tensor, one.dim, positions)
    return smaller


def _taken(tensor: Tensor, dim: int, positions: Integers) -> Tensor:
    count = len(positions)
    if count and positions[-1] == count - 1:
        return tensor.narrow(dim, 0, count)
    return tensor.index_select(dim, torch.from_numpy(positions).to(tensor.device))
