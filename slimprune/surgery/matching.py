"""Channels of a dense network that a narrower one still has, found from the weights of both."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slimprune.errors import UsageError
from slimprune.graph import ChannelGroup, Slot

Tensors = Mapping[str, Tensor]
Axis = tuple[str, int]
"""A dimension of a tensor."""


def remaining_widths(dense: Tensors, pruned: Tensors, groups: Sequence[ChannelGroup]) -> dict[str, int]:
    """Return how many channels of each group are left, from the shapes; if layers disagree, the majority decides.

    Every dimension has lost as many positions as its groups lost channels times their entries. Protected groups count
    as complete.

    Raises:
        UsageError: If the shapes do not determine the widths.
    """
    lost = {group.id: 0 for group in groups if group.protected_reason is not None}
    axes = _axes(groups)
    while len(lost) < len(groups):
        votes: dict[str, dict[str, int]] = {}
        for (name, dim), slots in axes.items():
            gone = dense[name].shape[dim] - pruned[name].shape[dim]
            gone -= sum(lost[group.id] * slot.entries for group, slot in slots if group.id in lost)
            unknown = [(group, slot) for group, slot in slots if group.id not in lost]
            if len(unknown) == 1 or gone <= 0:
                for group, slot in unknown:
                    count = min(max(gone // slot.entries, 0), group.width - 1)
                    votes.setdefault(group.id, {})[slot.layer or name] = count
        if not votes:
            named = ", ".join([group.id for group in groups if group.id not in lost][:3])
            raise UsageError(f"expected shapes that say how many channels are left, got several answers for {named}")
        lost |= {name: Counter(by_layer.values()).most_common(1)[0][0] for name, by_layer in votes.items()}
    return {group.id: group.width - lost[group.id] for group in groups}


def find_kept(
    dense: Tensors, pruned: Tensors, groups: Sequence[ChannelGroup], widths: Mapping[str, int]
) -> dict[str, Tensor]:
    """Return the channels of `dense` that `pruned` has, assuming that they are in the same order.

    A channel of the narrower network is matched to the channel of the dense network with which it shares most of its
    slots, entry for entry. Slots are compared at those of their other positions whose origin is known: first the layers
    that read the input, then those that read these, and so on. Channels that look equal everywhere are matched in
    order.

    Args:
        dense: Tensors of the dense network by name.
        pruned: Tensors of the narrower network by name.
        groups: Channel groups of the dense network.
        widths: By group id, the number of channels that are left.

    Returns:
        By group id, a channel of the dense network for each one that is left. If the weights match nowhere this is a
        guess, so the result has to be checked.
    """
    match = _Match(dense, pruned, groups, widths)
    while open_groups := [group for group in groups if not match.complete(group)]:
        before = match.known
        votes = {group.id: match.identify(group) for group in open_groups}
        if match.known == before:
            # Nothing more can be identified: the first group with any evidence gets the first of its equal channels.
            told = [group for group in open_groups if votes[group.id].any()]
            match.settle((told or open_groups)[0], votes)
    return match.kept


def _axes(groups: Sequence[ChannelGroup]) -> dict[Axis, list[tuple[ChannelGroup, Slot]]]:
    axes: dict[Axis, list[tuple[ChannelGroup, Slot]]] = {}
    for group in groups:
        for slot in group.slots:
            axes.setdefault((slot.name, slot.dim), []).append((group, slot))
    return axes


@dataclass(frozen=True, eq=False)
class _Layout:
    """Origin of the positions of a dimension of a narrower tensor.

    Attributes:
        of_slot: By slot, positions in the narrower tensor [width left, entries]; missing if they depend on which
            channels are left.
        whole: Pairs (in the dense, in the narrower tensor) of positions that belong to no group.
    """

    of_slot: Mapping[int, Tensor]
    whole: tuple[Tensor, Tensor]


class _Match:
    """What is known about the channels that are left; -1 stands for a channel that is not known yet."""

    def __init__(
        self, dense: Tensors, pruned: Tensors, groups: Sequence[ChannelGroup], widths: Mapping[str, int]
    ) -> None:
        self._dense, self._pruned = dense, pruned
        self._widths = widths
        self._axes = _axes(groups)
        self.kept = {
            group.id: torch.arange(group.width)
            if widths[group.id] == group.width
            else torch.full((widths[group.id],), -1)
            for group in groups
        }

    def complete(self, group: ChannelGroup) -> bool:
        """Return whether all channels of the group are known."""
        return bool((self.kept[group.id] >= 0).all())

    @property
    def known(self) -> int:
        """Number of channels that are known."""
        return sum(int((channels >= 0).sum()) for channels in self.kept.values())

    def identify(self, group: ChannelGroup) -> Tensor:
        """Record every channel that agrees best with exactly one channel of the dense network.

        Returns:
            The number of slots in which each channel that is left [width left] agrees with each dense channel [width].
        """
        votes = torch.zeros(self._widths[group.id], group.width, dtype=torch.int64)
        for slot in group.slots:
            votes += self._agreement(group, slot)
        best = votes.max(1)
        clear = (votes == best.values[:, None]).sum(1) == 1
        self.kept[group.id] = torch.where(clear, best.indices, self.kept[group.id])
        return votes

    def settle(self, group: ChannelGroup, votes: Mapping[str, Tensor]) -> None:
        """Choose, for each unknown channel, the first of the best ones that keeps the order."""
        kept, counts = self.kept[group.id], votes[group.id]
        last = -1
        for channel in range(len(kept)):
            if kept[channel] < 0:
                after = kept[channel:]
                following = int(after[after >= 0].min()) if bool((after >= 0).any()) else group.width
                free = counts[channel, last + 1 : max(following, last + 2)]
                kept[channel] = min(last + 1 + int(free.argmax()) if len(free) else last, group.width - 1)
            last = int(kept[channel])

    def _agreement(self, group: ChannelGroup, slot: Slot) -> Tensor:
        """Return which remaining channels have the entries of which dense channels, as bool; 0 if undetermined."""
        at = self._layout((slot.name, slot.dim)).of_slot.get(id(slot))
        others = self._other_positions(slot)
        if at is None or any(len(left) == 0 for _, left in others.values()):
            return torch.zeros((), dtype=torch.int64)
        whole = _rows(self._dense[slot.name], slot.dim, slot.index, {dim: pair[0] for dim, pair in others.items()})
        left = _rows(self._pruned[slot.name], slot.dim, at, {dim: pair[1] for dim, pair in others.items()})
        numbers: dict[bytes, int] = {}
        whole_ids, left_ids = (
            torch.tensor([numbers.setdefault(row, len(numbers)) for row in rows]) for rows in (whole, left)
        )
        return left_ids[:, None] == whole_ids

    def _other_positions(self, slot: Slot) -> dict[int, tuple[Tensor, Tensor]]:
        """Return, for each other dimension of a slot's tensor, pairs of positions that are known to be the same."""
        dims = [dim for dim in range(self._dense[slot.name].ndim) if dim != slot.dim]
        return {dim: self._pairs((slot.name, dim)) for dim in dims}

    def _pairs(self, axis: Axis) -> tuple[Tensor, Tensor]:
        layout = self._layout(axis)
        pairs = [layout.whole]
        for group, slot in self._axes.get(axis, ()):
            known = self.kept[group.id] >= 0
            if (at := layout.of_slot.get(id(slot))) is not None:
                pairs.append((slot.index[self.kept[group.id][known]].flatten(), at[known].flatten()))
        whole, left = (torch.cat(part) for part in zip(*pairs, strict=True))
        return whole, left

    def _layout(self, axis: Axis) -> _Layout:
        """Return the layout that several choices of the unknown channels have in common."""
        name, dim = axis
        size, left = self._dense[name].shape[dim], self._pruned[name].shape[dim]
        slots = self._axes.get(axis, [])
        found = [self._layout_of(slots, size, choice) for choice in range(_CHOICES)]
        same = {
            id(slot): found[0].of_slot[id(slot)]
            for _, slot in slots
            if all(torch.equal(other.of_slot[id(slot)], found[0].of_slot[id(slot)]) for other in found)
            and int(found[0].of_slot[id(slot)].max()) < left
        }
        whole = found[0].whole
        fixed = torch.stack([other.whole[1] == whole[1] for other in found]).all(0) & (whole[1] < left)
        return _Layout(same, (whole[0][fixed], whole[1][fixed]))

    def _layout_of(self, slots: Sequence[tuple[ChannelGroup, Slot]], size: int, choice: int) -> _Layout:
        stays, alone = torch.ones(size, dtype=torch.bool), torch.ones(size, dtype=torch.bool)
        chosen = {group.id: self._chosen(group, choice) for group, _ in slots}
        for group, slot in slots:
            stays[slot.positions(group.without(chosen[group.id]))] = False
            alone[slot.index.flatten()] = False
        rank = stays.cumsum(0) - 1
        whole = alone.nonzero().flatten()
        return _Layout({id(slot): rank[slot.index[chosen[group.id]]] for group, slot in slots}, (whole, rank[whole]))

    def _chosen(self, group: ChannelGroup, choice: int) -> Tensor:
        """Return the channels that are left; if they are not known, one of several choices of the same number."""
        if self.complete(group) and bool((self.kept[group.id].diff() > 0).all()):
            return self.kept[group.id]
        if choice == _CHOICES - 1:
            order = torch.randperm(group.width, generator=torch.Generator().manual_seed(group.width))
        else:
            order = torch.arange(group.width) if choice == 0 else torch.arange(group.width).flip(0)
        chosen: Tensor = order[: self._widths[group.id]].sort().values
        return chosen


_CHOICES = 3


def _rows(tensor: Tensor, dim: int, index: Tensor, others: Mapping[int, Tensor]) -> Iterator[bytes]:
    """Return the entries of every channel [channels, entries] at the given other positions, as bytes."""
    for other, positions in others.items():
        tensor = tensor.index_select(other, positions)
    rows = np.ascontiguousarray(tensor.movedim(dim, 0)[index].flatten(1).contiguous().view(torch.uint8).numpy())
    return (row.tobytes() for row in rows)
