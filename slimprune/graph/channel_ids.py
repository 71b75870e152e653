"""Channel ids: integers that follow channels through a forward pass and are united where channels must stay together.

An *identity tensor* accompanies an activation. It has the activation's shape, dtype int64 and one id per element: 0
where there is no channel (constants, padding), the id of a barrier (a reason) where the channels that reach it cannot
be removed, or the id of a place (a position along one dimension of a parameter or buffer). Dimensions along which the
ids do not change have stride 0, so that most identity tensors store no more than one id per channel.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from slimprune.graph.groups import Role

FIRST_PLACE = 1 << 16
"""The first id of a place; lower ids are barriers."""

_PRECEDENCE: tuple[Role, ...] = ("producer", "depthwise", "cross-channel-norm", "norm", "scale", "consumer")


@dataclass
class ChannelUnionFind:
    """Ids of places and barriers, and a union-find structure over them.

    Attributes:
        places: (tensor name, dim) -> ids of its positions, int64 [size].
        elements: Tensor name -> ids of all its elements, for tensors that take part in the flow themselves.
        roles: (tensor name, dim) -> role; dim is None for `elements`.
        protections: Ids and the reason why they are protected, in the order in which they were found.
        suspicions: Ids and what may keep their channels from being removed, if the proof finds that something does.
        splits: Ids [parts, size] of dimensions that were split into equal parts; all parts must keep the same length.
    """

    places: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    elements: dict[str, Tensor] = field(default_factory=dict)
    roles: dict[tuple[str, int | None], Role] = field(default_factory=dict)
    protections: list[tuple[Tensor, str]] = field(default_factory=list)
    suspicions: list[tuple[Tensor, str]] = field(default_factory=list)
    splits: list[Tensor] = field(default_factory=list)
    _parents: Tensor = field(default_factory=lambda: torch.arange(FIRST_PLACE))
    _barriers: dict[str, int] = field(default_factory=dict)

    def barrier(self, reason: str) -> int:
        """Return the id of a barrier; whatever is united with it is protected for `reason`."""
        return self._barriers.setdefault(reason, min(len(self._barriers) + 1, FIRST_PLACE - 1))

    def place(self, name: str, dim: int, size: int, role: Role) -> Tensor:
        """Return the ids [size] of the positions along `dim` of the tensor called `name`."""
        if (name, dim) not in self.places:
            self.places[name, dim] = self._fresh(size)
        self._set_role(name, dim, role)
        return self.places[name, dim]

    def element(self, name: str, shape: torch.Size, role: Role) -> Tensor:
        """Return the ids of all elements of the tensor called `name`, in the given shape; for a vector its places."""
        if len(shape) == 1:
            return self.place(name, 0, shape[0], role)
        if name not in self.elements:
            self.elements[name] = self._fresh(shape.numel()).view(shape)
        self._set_role(name, None, role)
        return self.elements[name]

    def find(self, numbers: Tensor) -> Tensor:
        """Return for each id the representative of everything that it is united with."""
        roots = self._parents[numbers]
        while not torch.equal(above := self._parents[roots], roots):
            roots = above
        return roots

    def unite(self, first: Tensor, second: Tensor) -> None:
        """Unite places pairwise, broadcast against each other; a place paired with a barrier is protected."""
        first, second = (ids.reshape(-1) for ids in _narrowed(*torch.broadcast_tensors(first, second)))
        differ = first != second
        first, second = first[differ], second[differ]
        self._meet_barriers(first, second)
        self._meet_barriers(second, first)
        both = (first >= FIRST_PLACE) & (second >= FIRST_PLACE)
        first, second = first[both], second[both]
        while True:
            first, second = self.find(first), self.find(second)
            apart = first != second
            if not bool(apart.any()):
                return
            first, second = first[apart], second[apart]
            # If a root has several partners, the smallest wins now and the others follow in the next iteration.
            self._parents.scatter_reduce_(0, torch.maximum(first, second), torch.minimum(first, second), "amin")

    def protect(self, numbers: Tensor, reason: str) -> None:
        """Protect the channels with these ids for `reason`."""
        met = core(numbers).unique()
        met = met[met >= FIRST_PLACE]
        if len(met):
            self.protections.append((met, reason))

    def suspect(self, numbers: Tensor, reason: str) -> None:
        """Leave the channels with these ids to the proof, and note why it may refuse them."""
        self.suspicions.append((core(numbers).unique(), reason))

    def suspicion(self, name: str, dim: int, position: int) -> str | None:
        """Return what was noted about the channel at a position of a tensor called `name`, or None."""
        numbers = self.places.get((name, dim))
        if numbers is None:
            return None
        root = self.find(numbers[position])
        return next((reason for met, reason in self.suspicions if bool((self.find(met) == root).any())), None)

    def _meet_barriers(self, barriers: Tensor, others: Tensor) -> None:
        meets = (barriers > 0) & (barriers < FIRST_PLACE) & (others >= FIRST_PLACE)
        reasons = list(self._barriers)
        for number in barriers[meets].unique().tolist():
            self.protect(others[meets & (barriers == number)], reasons[number - 1])

    def _fresh(self, count: int) -> Tensor:
        numbers = torch.arange(len(self._parents), len(self._parents) + count)
        self._parents = torch.cat([self._parents, numbers])
        return numbers

    def _set_role(self, name: str, dim: int | None, role: Role) -> None:
        former = self.roles.get((name, dim), role)
        self.roles[name, dim] = min(former, role, key=_PRECEDENCE.index)


def core(ids: Tensor) -> Tensor:
    """Return the tensor with every dimension of stride 0 narrowed to its first entry."""
    for dim, (size, stride) in enumerate(zip(ids.shape, ids.stride(), strict=True)):
        if size > 1 and stride == 0:
            ids = ids.narrow(dim, 0, 1)
    return ids


def compressed(ids: Tensor) -> Tensor:
    """Return the same ids with stride 0 along every dimension where they do not change."""
    small = core(ids)
    for dim, size in enumerate(small.shape):
        if size > 1:
            first = small.narrow(dim, 0, 1)
            if bool((small == first).all()):
                small = first
    return small.expand(ids.shape)


def varying(ids: Tensor) -> set[int]:
    """Return the dimensions of a compressed tensor along which its ids change."""
    return {dim for dim, size in enumerate(core(ids).shape) if size > 1}


def tied(channel_ids: ChannelUnionFind, ids: Tensor, axis: int) -> Tensor:
    """Unite all places at each position along `axis`, and return one id per position, [size]."""
    axis %= ids.ndim
    rows = core(ids)
    others = [dim for dim in range(rows.ndim) if dim != axis]
    first = rows.amax(others, keepdim=True) if others else rows
    channel_ids.unite(rows, first)
    return first.reshape(-1).expand(ids.shape[axis])


def _narrowed(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return both tensors without the dimensions along which neither changes."""
    for dim, size in enumerate(first.shape):
        if size > 1 and first.stride(dim) == 0 == second.stride(dim):
            first, second = first.narrow(dim, 0, 1), second.narrow(dim, 0, 1)
    return first, second
