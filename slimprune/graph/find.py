"""Channel groups of a model, each one proven or protected."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import torch
from torch import nn

from slimprune.errors import UnsupportedModelError, UsageError, first_line
from slimprune.graph.assembly import assemble
from slimprune.graph.groups import ChannelGroup, named_tensors
from slimprune.graph.proof import Trial
from slimprune.graph.removal import select, with_tensors
from slimprune.graph.tracing import FORWARD_ERRORS, Example, inputs_of, trace


def find_groups(
    model: nn.Module,
    example: Example,
    *,
    protect: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[ChannelGroup]:
    """Channel groups of `model`; a group whose removal cannot be proven is protected, with the reason.

    Args:
        model: any module; left untouched.
        example: one input batch, a tensor [N, ...] or a tuple of such.
        protect: names or patterns (`layer1.*`) of layers whose channels all stay.
        progress: called with (groups done, groups in all) while they are proven.

    Returns:
        Groups in the order of their first producing layers. Output layers are protected.

    Raises:
        UnsupportedModelError: the model fails on the example, or it cannot be traced.
        UsageError: a pattern matches no layer.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> [(g.id, g.width, g.protected_reason) for g in find_groups(net, torch.zeros(1, 3, 8, 8))]
        [('0', 8, None), ('2', 4, 'model output')]
    """
    _check_forward(model, example)
    groups = [_in_model_order(group, model) for group in assemble(trace(model, example))]
    groups = _protect_named(groups, protect)
    trial = Trial.prepare(model, example)
    proven = []
    for done, group in enumerate(groups):
        if progress is not None:
            progress(done, len(groups))
        proven.append(_prove_or_protect(trial, group))
    if progress is not None:
        progress(len(groups), len(groups))
    return proven


def _check_forward(model: nn.Module, example: Example) -> None:
    inputs = inputs_of(example)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            copy.deepcopy(model).eval()(*inputs)
    except FORWARD_ERRORS as error:
        shapes = [tuple(tensor.shape) for tensor in inputs]
        raise UnsupportedModelError(
            f"{type(model).__name__} fails on an input of shape {shapes}: {first_line(error)}"
        ) from error


def _in_model_order(group: ChannelGroup, model: nn.Module) -> ChannelGroup:
    order = {name: position for position, name in enumerate(named_tensors(model))}
    return replace(group, slots=tuple(sorted(group.slots, key=lambda slot: (order[slot.name], slot.dim))))


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


def _prove_or_protect(trial: Trial, group: ChannelGroup) -> ChannelGroup:
    if group.protected_reason is not None:
        return group
    if group.width == 1:
        return group.protect("has a single channel")
    generator = torch.Generator().manual_seed(group.width)
    half = torch.randperm(group.width, generator=generator)[: group.width // 2].sort().values
    kept = {group.id: half}
    slim = with_tensors(trial.dense, {**trial.state, **select(trial.state, [group], kept)})
    proof = trial.prove(slim, [group], kept)
    return group if proof.passed else group.protect(f"not proven: {proof.reason}")
