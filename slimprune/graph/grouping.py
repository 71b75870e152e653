"""Channel groups from united channel ids: channels with equally many positions in the same places form one group."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from slimprune.graph.channel_ids import FIRST_PLACE, ChannelUnionFind, compressed, core, varying
from slimprune.graph.groups import ChannelGroup, Integers, Role, Slot


@dataclass(frozen=True)
class _Place:
    """One dimension of one tensor, and the channel [size] to which each position belongs."""

    name: str
    dim: int
    role: Role
    channels: Integers


def build_groups(channel_ids: ChannelUnionFind, order: Mapping[str, int]) -> list[ChannelGroup]:
    """Return the channel groups in the order of their first producing layers.

    Args:
        channel_ids: The result of a trace.
        order: Position of every tensor in the model, by name.

    Returns:
        Disjoint groups that cover every position of every layer that produces channels. Groups whose channels reach a
        barrier are protected.
    """
    _keep_splits(channel_ids)
    places = sorted(_places(channel_ids), key=lambda place: (order[place.name], place.dim))
    if not places:
        return []
    reasons = _reasons(channel_ids)
    labels = _labels(places, reasons)
    groups = _Gathered(places, labels, reasons).groups()
    return _named(groups)


def _keep_splits(channel_ids: ChannelUnionFind) -> None:
    """Unite the ids of split dimensions, so that all parts of a dimension keep the same length.

    A part whose channels are united is already removed as a whole. Otherwise all parts lose the same channels, because
    code that splits a dimension takes the number of parts as given (chunks, channel shuffle).
    """
    for numbers in channel_ids.splits:
        roots = channel_ids.find(numbers)
        removable = (roots >= FIRST_PLACE).any()
        if removable and not bool((roots == roots[:, :1]).all()):
            channel_ids.unite(roots, roots[:1])


def _places(channel_ids: ChannelUnionFind) -> Iterator[_Place]:
    for name, numbers in channel_ids.elements.items():
        ids = compressed(channel_ids.find(numbers))
        dims = sorted(varying(ids))
        if len(dims) == 1 and (name, dims[0]) in channel_ids.places:
            channel_ids.unite(core(ids).reshape(-1), channel_ids.places[name, dims[0]])
        elif len(dims) == 1:
            yield _Place(name, dims[0], channel_ids.roles[name, None], core(ids).reshape(-1).numpy())
        elif len(dims) > 1:
            channel_ids.protect(ids, f"{name} has channels along several dimensions")
    for (name, dim), numbers in channel_ids.places.items():
        yield _Place(name, dim, channel_ids.roles[name, dim], channel_ids.find(numbers).numpy())


def _reasons(channel_ids: ChannelUnionFind) -> dict[int, str]:
    """Return the first reason of every protected channel."""
    found: dict[int, str] = {}
    for numbers, reason in reversed(channel_ids.protections):
        found.update(dict.fromkeys(channel_ids.find(numbers).tolist(), reason))
    return found


def _labels(places: list[_Place], reasons: Mapping[int, str]) -> dict[int, int]:
    """Return equal labels for channels with the same places, equally many positions in each, and the same reason."""
    channels = np.concatenate([place.channels for place in places])
    which = np.repeat(np.arange(len(places)), [len(place.channels) for place in places])
    pairs, counts = np.unique(np.stack([channels, which]), axis=1, return_counts=True)
    patterns: dict[int, list[tuple[int, int]]] = {}
    for channel, place, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
        patterns.setdefault(channel, []).append((place, count))
    numbers: dict[object, int] = {}
    return {
        channel: numbers.setdefault((tuple(pattern), reasons.get(channel)), len(numbers))
        for channel, pattern in patterns.items()
        if _is_made([places[place].role for place, _ in pattern])
    }


def _is_made(roles: list[Role]) -> bool:
    """Return whether the model produces the channel; columns that read the model's input are not its channels."""
    return "producer" in roles or "depthwise" in roles or ("scale" in roles and "consumer" in roles)


class _Gathered:
    """Positions of all channels with the same label, place by place."""

    def __init__(self, places: list[_Place], labels: Mapping[int, int], reasons: Mapping[int, str]) -> None:
        self._places = places
        self._reasons = reasons
        size = 1 + max(int(place.channels.max()) for place in places)
        self._label = np.full(size, -1, np.int64)
        self._label[list(labels)] = list(labels.values())
        self._rank = np.zeros(size, np.int64)  # rank of each channel in its group
        self._slots: dict[int, list[Slot]] = {}
        self._channels: dict[int, Integers] = {}

    def groups(self) -> list[ChannelGroup]:
        """Return one group for each label, in the order of the places that produce them."""
        for place in self._places:
            found = self._label[place.channels]
            for label in np.unique(found[found >= 0]).tolist():
                self._add(place, np.flatnonzero(found == label), label)
        groups = [self._group(label, slots) for label, slots in self._slots.items()]
        return sorted(groups, key=lambda group: self._position(group))

    def _add(self, place: _Place, positions: Integers, label: int) -> None:
        owners = place.channels[positions]
        if label not in self._channels:
            # Channels are numbered in the order of their first positions.
            channels, first = np.unique(owners, return_index=True)
            self._channels[label] = channels[np.argsort(first, kind="stable")]
            self._rank[self._channels[label]] = np.arange(len(channels))
        index = positions[np.argsort(self._rank[owners], kind="stable")].reshape(len(self._channels[label]), -1)
        self._slots.setdefault(label, []).append(Slot(place.name, place.dim, torch.from_numpy(index), place.role))

    def _group(self, label: int, slots: list[Slot]) -> ChannelGroup:
        if not any(slot.role in ("producer", "depthwise") for slot in slots):
            # The channels are parameters themselves, such as learned queries.
            slots = [Slot(s.name, s.dim, s.index, "producer") if s.role == "scale" else s for s in slots]
        width = len(self._channels[label])
        reason = self._reasons.get(int(self._channels[label][0]))
        maker = _maker(slots)
        return ChannelGroup(maker.layer or maker.name, width, tuple(slots), reason)

    def _position(self, group: ChannelGroup) -> tuple[int, int]:
        maker = _maker(group.slots)
        names = [place.name for place in self._places]
        return names.index(maker.name), int(maker.index[0, 0])


def _maker(slots: list[Slot] | tuple[Slot, ...]) -> Slot:
    return next(slot for slot in slots if slot.role in ("producer", "depthwise"))


def _named(groups: list[ChannelGroup]) -> list[ChannelGroup]:
    """Return the groups with unique names; the second group of a layer is called layer#2."""
    taken: dict[str, int] = {}
    named = []
    for group in groups:
        taken[group.id] = taken.get(group.id, 0) + 1
        name = group.id if taken[group.id] == 1 else f"{group.id}#{taken[group.id]}"
        named.append(ChannelGroup(name, group.width, group.slots, group.protected_reason))
    return named
