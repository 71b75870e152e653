"""Groups whose widths the code takes to be equal, such as one that is viewed in the shape of another: they are one."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from slimprune.graph.groups import ChannelGroup
from slimprune.graph.proof import Proof
from slimprune.graph.removal import Kept

Prove = Callable[[Kept], Proof]
Choice = Callable[[ChannelGroup], Tensor]
"""Which channels of a group to keep; the same for all groups of one width."""

_NEAR = 3
_MOST_PROOFS = 32
"""A few failed proofs are no loss against the training of a network with whole layers; hundreds would be."""


def equal_widths(
    prove: Prove, refused: Sequence[ChannelGroup], proven: Kept, choices: Sequence[Choice]
) -> list[list[ChannelGroup]]:
    """Return sets of groups that cannot lose channels alone, but the same channels together.

    Groups of one width are tried in pairs, then all that are left together: the width that code reads from another
    layer is mostly that of a layer nearby.

    Args:
        prove: Proves a removal.
        refused: Groups that cannot be proven alone, in the model's order.
        proven: What else is removed meanwhile, by group id.
        choices: Each set is proven for each choice.
    """
    classes: dict[int, list[ChannelGroup]] = defaultdict(list)
    for group in refused:
        classes[group.width].append(group)
    search = _Search(prove, dict(proven), choices)
    return [found for members in classes.values() if len(members) > 1 for found in search.sets(members)]


class _Search:
    """The search for sets; every set that is found is removed together with all others from then on."""

    def __init__(self, prove: Prove, proven: dict[str, Tensor], choices: Sequence[Choice]) -> None:
        self._prove = prove
        self._proven = proven
        self._choices = choices
        self._left = _MOST_PROOFS

    def sets(self, members: Sequence[ChannelGroup]) -> list[list[ChannelGroup]]:
        """Return pairs among the groups of one width that stand near each other, and what is left as one set."""
        found: list[list[ChannelGroup]] = []
        apart: list[ChannelGroup] = []
        waiting = list(members)
        while waiting:
            first = waiting.pop(0)
            partner = next((other for other in waiting[:_NEAR] if self._passes([first, other])), None)
            if partner is None:
                apart.append(first)
            else:
                found.append([first, partner])
                waiting.remove(partner)
        several = len(apart) > 2 or (len(apart) == 2 and len(members) > 2)
        return [*found, apart] if several and self._passes(apart) else found

    def _passes(self, members: Sequence[ChannelGroup]) -> bool:
        """Return whether the groups can lose the same channels; if so, they lose them in all later proofs too."""
        for choice in self._choices:
            tried = {**self._proven, **{group.id: choice(group) for group in members}}
            self._left -= 1
            if self._left < 0 or not self._prove(tried).passed:
                return False
        self._proven |= tried
        return True


def merged(groups: Sequence[ChannelGroup], sets: Sequence[Sequence[ChannelGroup]]) -> list[ChannelGroup]:
    """Return the groups with each set replaced by one group, which stands at the place of its first member."""
    joined = {members[0].id: members for members in sets}
    gone = {group.id for members in sets for group in members[1:]}
    return [
        replace(group, slots=tuple(slot for member in joined[group.id] for slot in member.slots))
        if group.id in joined
        else group
        for group in groups
        if group.id not in gone
    ]
