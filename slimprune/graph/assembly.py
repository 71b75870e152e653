"""From what single layers reach to channel groups: channels that meet in one place belong together."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from slimprune.graph.groups import ChannelGroup, Role, Slot
from slimprune.graph.tracing import Reach, Touch

Place = tuple[str, int]


def assemble(reaches: Iterable[Reach]) -> list[ChannelGroup]:
    """Channel groups of a model, in the order of their first producing layers.

    Every output channel of every layer starts alone; two channels that touch the same position of the same tensor
    (a residual sum makes them do so) are merged. Merged channels with the same pattern of places form one group.

    Args:
        reaches: reach of every layer, in the model's order.

    Returns:
        Disjoint groups that cover every touched position; protected where a channel meets an obstacle.
    """
    merged = _Merged()
    for reach in reaches:
        if not merged.covers(reach):
            merged.add(reach)
    return merged.groups()


@dataclass
class _Merged:
    """Union-find over channels, each numbered in the order in which it was met."""

    parents: list[int] = field(default_factory=list)
    layer_of: list[str] = field(default_factory=list)
    owners: dict[Place, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    roles: dict[Place, Role] = field(default_factory=dict)
    reasons: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))

    def covers(self, reach: Reach) -> bool:
        """Whether an earlier layer already reaches all channels of this one."""
        own = [touch for touch in reach.touches if _is_own(touch, reach)]
        return bool(own) and all(set(touch.index) <= self.owners[touch.name, touch.dim].keys() for touch in own)

    def add(self, reach: Reach) -> None:
        """Numbers the channels of a layer, and merges them with those that they meet."""
        base = len(self.parents)
        self.parents.extend(range(base, base + reach.width))
        self.layer_of.extend([reach.layer] * reach.width)
        for touch in reach.touches:
            place = (touch.name, touch.dim)
            self.roles.setdefault(place, touch.role)
            owners = self.owners[place]
            for position, channel in zip(touch.index, touch.root, strict=True):
                self.union(owners.setdefault(position, base + channel), base + channel)
        for obstacle in reach.obstacles:
            for channel in set(obstacle.root):
                self.reasons[base + channel].append(obstacle.reason)

    def find(self, channel: int) -> int:
        while self.parents[channel] != channel:
            self.parents[channel] = self.parents[self.parents[channel]]
            channel = self.parents[channel]
        return channel

    def union(self, one: int, other: int) -> None:
        first, second = sorted((self.find(one), self.find(other)))
        self.parents[second] = first

    def groups(self) -> list[ChannelGroup]:
        """Merged channels, gathered by the places they touch and how often."""
        positions: dict[int, dict[Place, list[int]]] = defaultdict(lambda: defaultdict(list))
        for place, owners in self.owners.items():
            for position in sorted(owners):
                positions[self.find(owners[position])][place].append(position)
        reasons: dict[int, str] = {}
        for channel in sorted(self.reasons):
            reasons.setdefault(self.find(channel), self.reasons[channel][0])
        gathered: dict[object, list[int]] = defaultdict(list)
        for channel in sorted(positions.keys() | reasons.keys()):
            pattern = tuple((place, len(found)) for place, found in positions[channel].items())
            gathered[self.layer_of[channel], pattern, reasons.get(channel)].append(channel)
        taken: dict[str, int] = defaultdict(int)
        groups = []
        for channels in gathered.values():
            layer = self.layer_of[channels[0]]
            taken[layer] += 1
            groups.append(
                ChannelGroup(
                    id=layer if taken[layer] == 1 else f"{layer}#{taken[layer]}",
                    width=len(channels),
                    slots=tuple(
                        Slot(*place, torch.tensor([positions[c][place] for c in channels]), self.roles[place])
                        for place in positions[channels[0]]
                    ),
                    protected_reason=reasons.get(channels[0]),
                )
            )
        return groups


def _is_own(touch: Touch, reach: Reach) -> bool:
    return touch.name.rpartition(".")[0] == reach.layer and touch.role in ("producer", "depthwise")
