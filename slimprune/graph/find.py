"""Channel groups of a model, each one proven or protected."""

import copy
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cache, partial

import torch
from torch import Tensor, nn

from slimprune.errors import UnsupportedModelError, UsageError, first_line
from slimprune.forward import ForwardFn, bind_forward
from slimprune.graph.channel_ids import ChannelUnionFind
from slimprune.graph.embeddings import bound_at_once, bound_embeddings, merged_embeddings, shares_of
from slimprune.graph.equal_widths import equal_widths, merged
from slimprune.graph.example import Example, inputs_of, on_device_of_proofs, shapes_of
from slimprune.graph.grouping import build_groups
from slimprune.graph.groups import ChannelGroup, free_groups, named_tensors
from slimprune.graph.proof import Proof, ProofTrial, prove_in
from slimprune.graph.removal import Kept, select, with_tensors
from slimprune.graph.tracing import trace
from slimprune.types import Listener, ignore

Prove = Callable[[Kept], Proof]


def find_groups(
    model: nn.Module,
    example: Example,
    *,
    protect: Sequence[str] = (),
    progress: Listener = ignore,
    forward_fn: ForwardFn | None = None,
) -> list[ChannelGroup]:
    """Find the channel groups of a model, and protect those whose removal cannot be proven.

    Args:
        model: Any module; it is not modified.
        example: One input batch: a tensor [N, ...], a tuple of arguments, or a list or dict of tensors as one argument.
        protect: Names or patterns (`layer1.*`) of layers whose channels are all kept.
        progress: Called with ("prove", number of proven groups, total, "") during the proofs; each group is proven
            twice.
        forward_fn: (model, batch) -> outputs, for models that are not called with their inputs. `example` is then a
            batch that this function takes.

    Returns:
        Groups in the order of their first producing layers, each protected one with its reason. Output layers are
        protected.

    Raises:
        UnsupportedModelError: If the model fails on the example or cannot be traced.
        UsageError: If a pattern matches no layer.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> [(g.id, g.width, g.protected_reason) for g in find_groups(net, torch.zeros(1, 3, 8, 8))]
        [('0', 8, None), ('2', 4, 'model output')]
    """
    model, example = bind_forward(model, example, forward_fn)
    _check_forward(model, example)
    model, example = on_device_of_proofs(model, example)
    order = {name: position for position, name in enumerate(named_tensors(model))}
    channel_ids = trace(model, example)
    groups = _protect_named(build_groups(channel_ids, order), protect)
    groups = [g.protect(_single(g)) if g.width == 1 and not g.protected_reason else g for g in groups]
    draw = cache(lambda seed: ProofTrial.prepare(model, example, groups, seed))

    proofs: dict[frozenset[tuple[str, tuple[int, ...]]], Proof] = {}

    def prove(kept: Kept) -> Proof:
        key = frozenset((name, tuple(channels.tolist())) for name, channels in kept.items())
        if key not in proofs:
            tensors = named_tensors(model)
            slim = with_tensors(model, {**tensors, **select(tensors, groups, kept)})
            proofs[key] = prove_in(draw, slim, groups, kept)
        return proofs[key]

    bound = bound_at_once(prove, groups, _parts(free_groups(groups), 0))
    of_bound = {group.id for embedding in bound for group in embedding.members}
    others = [group for group in groups if group.id not in of_bound]
    refused, proven = _refused(prove, others, shares_of(bound), progress)
    bound += bound_embeddings(prove, others, refused, proven)
    of_bound = {group.id for embedding in bound for group in embedding.members}
    proven = {name: kept for name, kept in proven.items() if name not in of_bound}
    refused = {name: reason for name, reason in refused.items() if name not in of_bound}
    alone = [group for group in groups if group.id in refused]
    sets = equal_widths(prove, alone, proven, (_random_half, _first_half))
    for group in (member for members in sets for member in members):
        del refused[group.id]
    groups = merged_embeddings(merged(groups, sets), bound)
    return [
        group.protect(f"not proven: {refused[group.id]}{_suspicion(channel_ids, group)}")
        if group.id in refused
        else group
        for group in groups
    ]


def _single(group: ChannelGroup) -> str:
    """Return why nothing can go of a group of width 1."""
    bound = max(slot.entries for slot in group.slots_of("producer", "depthwise"))
    return "has a single channel" if bound == 1 else f"its {bound} channels can only go together"


def _suspicion(channel_ids: ChannelUnionFind, group: ChannelGroup) -> str:
    """Return in brackets what was noted about a group while its channels were followed."""
    found = (channel_ids.suspicion(slot.name, slot.dim, int(slot.index[0, 0])) for slot in group.slots)
    noted = next((reason for reason in found if reason), None)
    return f" ({noted})" if noted else ""


def _check_forward(model: nn.Module, example: Example) -> None:
    inputs = inputs_of(example)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            copy.deepcopy(model).eval()(*inputs)
    except Exception as error:
        raise UnsupportedModelError(
            f"{type(model).__name__} fails on an input of shape {shapes_of(example)}: {first_line(error)}"
        ) from error


def _protect_named(groups: Iterable[ChannelGroup], patterns: Sequence[str]) -> list[ChannelGroup]:
    groups = list(groups)
    for pattern in patterns:
        named = [group for group in groups if any(fnmatchcase(layer, pattern) for layer in group.layers)]
        if not named:
            known = ", ".join(layer for group in groups[:4] for layer in group.layers[:1])
            raise UsageError(f"--protect expects the name or pattern of a layer ({known}, ...), got {pattern!r}")
        groups = [
            group.protect(f"asked for by --protect {pattern}")
            if group in named and not group.protected_reason
            else group
            for group in groups
        ]
    return groups


def _refused(
    prove: Prove, groups: Sequence[ChannelGroup], meanwhile: Sequence[Kept], progress: Listener
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return, by group id, why a part of the channels of a free group cannot be removed, and what the others kept.

    What `meanwhile` says is removed too, in either turn.

    Random channels are removed first, then the last ones: code that slices channels at a fixed position may happen to
    work with one of the two. Each group loses another share, because code may take the widths of two to be equal.
    """
    refused: dict[str, str] = {}
    proven: dict[str, Tensor] = {}
    total = len(groups)
    for turn, removed in enumerate(meanwhile):
        free = [group for group in free_groups(groups) if group.id not in refused]
        waiting = partial(_tell, progress, total * (turn + 1), 2 * total)
        newly, proven = _refused_parts(prove, _parts(free, turn), removed, waiting)
        refused |= newly
    return refused, proven


def _tell(progress: Listener, upto: int, total: int, waiting: int) -> None:
    progress("prove", upto - waiting, total, "")


def _refused_parts(
    prove: Prove, parts: Kept, meanwhile: Kept, still_waiting: Callable[[int], None]
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return, with a reason each, the groups that cannot be reduced to the channels in `parts`, and those of the rest.

    All groups are reduced at once. If that cannot be proven, the two halves of the list are tried one after the other,
    and so on: k bad groups among n take about 2 k log n proofs. Each part is proven together with all that was proven
    before, so that the groups that pass can be slimmed together. If so little is left by then that nothing affects the
    output, a group is proven alone.
    """
    refused: dict[str, str] = {}
    proven = dict(meanwhile)
    waiting = [list(parts)]
    while waiting:
        part = waiting.pop()
        tried = proven | {name: parts[name] for name in part}
        proof = prove(tried) if part else None
        if proof is None or proof.passed:
            proven = tried
        elif len(part) == 1:
            alone = prove({part[0]: parts[part[0]]}) if proof.inconclusive else proof
            if not alone.passed:
                refused[part[0]] = alone.reason
        else:
            waiting += [part[len(part) // 2 :], part[: len(part) // 2]]
        still_waiting(sum(map(len, waiting)))
    return refused, proven


def _parts(groups: Sequence[ChannelGroup], turn: int) -> dict[str, Tensor]:
    """Return what each of the groups keeps in a turn, by id."""
    return {group.id: _part(group, number, turn) for number, group in enumerate(groups)}


def _part(group: ChannelGroup, number: int, turn: int) -> Tensor:
    """Return between a half and three quarters of the channels; two groups rarely keep equally many in both turns."""
    least, most = max(group.width // 2, 1), min(max(3 * group.width // 4, 1), group.width - 1)
    span = most - least + 1
    return _kept(group, least + (number, number // span)[turn] % span, shuffled=turn == 0)


def _random_half(group: ChannelGroup) -> Tensor:
    return _kept(group, group.width // 2, shuffled=True)


def _first_half(group: ChannelGroup) -> Tensor:
    return _kept(group, group.width // 2, shuffled=False)


def _kept(group: ChannelGroup, count: int, *, shuffled: bool) -> Tensor:
    generator = torch.Generator().manual_seed(group.width)
    order = torch.randperm(group.width, generator=generator) if shuffled else torch.arange(group.width)
    return order[:count].sort().values
