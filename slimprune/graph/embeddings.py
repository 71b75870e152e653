"""Embeddings whose width the code divides by a number of heads (`C // num_heads`): both lose the same share."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from slimprune.graph.groups import ChannelGroup, Slot
from slimprune.graph.proof import Proof
from slimprune.graph.removal import Kept

Prove = Callable[[Kept], Proof]


@dataclass(frozen=True, eq=False)
class Embedding:
    """Channels that layers of attention read, and the heads that these layers make of them.

    Attributes:
        channels: The group of the channels.
        heads: Groups of heads, of as many rows as there are channels.
    """

    channels: ChannelGroup
    heads: tuple[ChannelGroup, ...]

    @property
    def members(self) -> tuple[ChannelGroup, ...]:
        """All groups."""
        return (self.channels, *self.heads)

    @property
    def units(self) -> int:
        """Number of equal parts into which all groups can be divided."""
        return math.gcd(*(group.width for group in self.members))

    def kept(self, units: Tensor) -> dict[str, Tensor]:
        """Return the channels of all groups in the given parts, by group id."""
        sizes = [(group, group.width // self.units) for group in self.members]
        return {group.id: (units[:, None] * size + torch.arange(size)).flatten() for group, size in sizes}

    def merged(self) -> ChannelGroup:
        """Return one group whose channels are the parts."""
        slots = tuple(replace(slot, index=self._in_units(slot)) for group in self.members for slot in group.slots)
        return replace(self.channels, width=self.units, slots=slots)

    def _in_units(self, slot: Slot) -> Tensor:
        return slot.index.reshape(self.units, -1)


def embeddings_of(groups: Sequence[ChannelGroup]) -> list[Embedding]:
    """Return the embeddings among the free groups, each with all heads that are made of it."""
    free = [group for group in groups if group.protected_reason is None]
    makers = {slot.name: group for group in free for slot in group.slots if slot.role == "producer" and slot.dim == 0}
    found = []
    for group in free:
        read = [slot.name for slot in group.slots if slot.role == "consumer" and slot.dim == 1 and slot.name in makers]
        heads = {makers[name].id: makers[name] for name in read if _are_heads(makers[name], name, group)}
        embedding = Embedding(group, tuple(heads.values()))
        if heads and embedding.units > 1:
            found.append(embedding)
    return found


def _are_heads(group: ChannelGroup, name: str, embedding: ChannelGroup) -> bool:
    """Return whether the rows of a weight are several for each channel of the group, and as many as the embedding's."""
    rows = next(slot for slot in group.slots if slot.name == name and slot.dim == 0)
    return rows.entries > 1 and group is not embedding and rows.index.numel() in (embedding.width, 3 * embedding.width)


def bound_at_once(prove: Prove, groups: Sequence[ChannelGroup], parts: Kept) -> list[Embedding]:
    """Return the embeddings that are bound, if that can be told before it is known which groups can be reduced alone.

    That takes a few proofs, where a search would refuse the groups of every bound embedding one after the other.

    Args:
        prove: Proves a removal.
        groups: All groups.
        parts: What would be kept of each free group by itself, by group id.
    """
    found = embeddings_of(groups)
    members = [group.id for embedding in found for group in embedding.members]
    if not found or len(set(members)) < len(members) or prove(parts).passed:
        return []
    others = {name: kept for name, kept in parts.items() if name not in members}
    if not all(prove({**others, **share}).passed for share in shares_of(found)):
        return []
    bound = list(found)
    for embedding in found:
        alone = {group.id: parts[group.id] for group in embedding.members}
        rest, _ = shares_of([other for other in bound if other is not embedding])
        if prove({**others, **rest, **alone}).passed:
            others |= alone
            bound.remove(embedding)
    return bound


def shares_of(embeddings: Sequence[Embedding]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return two ways to keep half of the parts of all embeddings, by group id: their first parts or their last."""
    first: dict[str, Tensor] = {}
    last: dict[str, Tensor] = {}
    for embedding in embeddings:
        half = torch.arange(embedding.units // 2)
        first |= embedding.kept(half)
        last |= embedding.kept(embedding.units - 1 - half.flip(0))
    return first, last


def bound_embeddings(
    prove: Prove, groups: Sequence[ChannelGroup], refused: Mapping[str, str], proven: Kept
) -> list[Embedding]:
    """Return the embeddings that lose channels only together with their heads, in equal shares.

    Args:
        prove: Proves a removal.
        groups: Groups of which they may be made.
        refused: Why groups cannot be reduced alone, by group id.
        proven: What can be removed together, by group id.
    """
    found: list[Embedding] = []
    for embedding in embeddings_of(groups):
        ids = {group.id for group in embedding.members}
        others = {name: kept for name, kept in proven.items() if name not in ids}
        if not ids & refused.keys() and _goes_alone(prove, embedding, others):
            continue
        shares = shares_of([embedding])
        if all(prove({**others, **share}).passed for share in shares):
            found.append(embedding)
            proven = {**others, **shares[0]}
    return found


def _goes_alone(prove: Prove, embedding: Embedding, others: Kept) -> bool:
    """Return whether the channels can be reduced while all heads stay; half of both may be equal shares by chance."""
    kept = torch.arange(embedding.channels.width - 1)
    return prove({**others, embedding.channels.id: kept}).passed


def merged_embeddings(groups: Sequence[ChannelGroup], found: Sequence[Embedding]) -> list[ChannelGroup]:
    """Return the groups with the heads of each embedding merged into it."""
    whole = {embedding.channels.id: embedding.merged() for embedding in found}
    gone = {group.id for embedding in found for group in embedding.heads}
    return [whole.get(group.id, group) for group in groups if group.id not in gone]
