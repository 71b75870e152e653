"""Proof of a network that was pruned by another tool, such as torch-pruning."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.forward import ForwardFn, bind_forward, unwrap
from slimprune.graph import ChannelGroup, Example, Proof, find_groups, keep_channels, prove_removal
from slimprune.graph.groups import loses_whole_groups
from slimprune.surgery.matching import find_kept, remaining_widths
from slimprune.types import Listener, ignore


@dataclass(frozen=True, eq=False)
class PrunedProof:
    """What was found out about a pruned network.

    Attributes:
        groups: All channel groups of the dense network.
        kept: Group id -> channels of the dense network that the pruned one has, int64, ascending; a guess if the proof
            did not pass.
        proof: Whether the pruned network equals the dense one with the other channels silenced.
    """

    groups: tuple[ChannelGroup, ...]
    kept: Mapping[str, Tensor]
    proof: Proof

    @property
    def passed(self) -> bool:
        """Whether the pruned network is proven."""
        return self.proof.passed

    @property
    def reason(self) -> str | None:
        """One clause that says why it is not proven, or None."""
        return None if self.passed else self.proof.reason

    @property
    def widths(self) -> dict[str, int]:
        """Number of channels that each group has left."""
        return {group: len(channels) for group, channels in self.kept.items()}


def prove_pruned(
    dense: nn.Module,
    pruned: nn.Module,
    example: Example,
    *,
    forward_fn: ForwardFn | None = None,
    progress: Listener = ignore,
) -> PrunedProof:
    """Find the channels that were removed from `dense` to make `pruned`, and prove or refute the removal.

    The channels are found from the weights. A network is proven if each of its tensors is the dense one's at those
    channels, and if it equals the dense network with the others silenced, under random weights (`graph.prove_removal`).

    Args:
        dense: The network before the removal, with its weights; it is not modified.
        pruned: The network after it: the same modules with smaller tensors of the same names; it is not modified.
        example: One input batch; see `find_groups`.
        forward_fn: (model, batch) -> outputs; see `find_groups`.
        progress: See `find_groups`, which takes most of the time.

    Returns:
        The channels that are left, and the proof. A refuted network is a result too; its `reason` names the tensor.

    Raises:
        UsageError: If `pruned` has another structure, or no weights of the dense network, for example after training.
        UnsupportedModelError: If the dense network fails on the example or cannot be traced. Also if a grouped layer
            lost channels of each group where `find_groups` removes whole groups, or vice versa: it can then be neither
            proven nor refuted.

    Examples:
        >>> import copy, torch_pruning
        >>> dense = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> pruned, example = copy.deepcopy(dense), torch.zeros(1, 3, 8, 8)
        >>> graph = torch_pruning.DependencyGraph().build_dependency(pruned, example)
        >>> graph.get_pruning_group(pruned[0], torch_pruning.prune_conv_out_channels, idxs=[1, 2, 6]).prune()
        >>> result = prove_pruned(dense, pruned, example)
        >>> result.passed, result.kept["0"].tolist()
        (True, [0, 3, 4, 5, 7])
    """
    dense, pruned = unwrap(dense), unwrap(pruned)
    whole, left = _tensors(dense), _tensors(pruned)
    _check_structure(dense, pruned)
    _check_division(dense, pruned)
    groups = tuple(find_groups(dense, example, forward_fn=forward_fn, progress=progress))
    kept = find_kept(whole, left, groups, remaining_widths(whole, left, groups))
    problem = _disorder(kept) or _untied(dense, pruned) or _foreign(dense, left, groups, kept)
    if problem is not None:
        return PrunedProof(groups, kept, Proof(float("inf"), problem=problem))
    shrunk = {group.id: kept[group.id] for group in groups if len(kept[group.id]) < group.width}
    module, _ = bind_forward(pruned, example, forward_fn)
    dense, example = bind_forward(dense, example, forward_fn)
    return PrunedProof(groups, kept, prove_removal(dense, module, groups, shrunk, example))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers on the CPU, tied ones under each of their names."""
    named = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    return {name: tensor.detach().cpu() for name, tensor in named}


def _check_structure(dense: nn.Module, pruned: nn.Module) -> None:
    kinds = [{name: type(module).__qualname__ for name, module in model.named_modules()} for model in (dense, pruned)]
    tensors = [{name: _kind(t) for name, t in _tensors(model).items()} for model in (dense, pruned)]
    for expected, found in (kinds, tensors):
        for name in {**expected, **found}:
            if expected.get(name) != found.get(name):
                raise UsageError(
                    f"expected a pruned network of the dense one's structure, got {found.get(name, 'nothing')} at "
                    f"{name or 'the top'} in place of {expected.get(name, 'nothing')}"
                )
    whole, left = _tensors(dense), _tensors(pruned)
    for name, tensor in left.items():
        if any(size > most or size == 0 for size, most in zip(tensor.shape, whole[name].shape, strict=True)):
            raise UsageError(
                f"expected a pruned network with at most the dense one's channels and at least one, got {name} of "
                f"shape {tuple(tensor.shape)} in place of {tuple(whole[name].shape)}"
            )


def _check_division(dense: nn.Module, pruned: nn.Module) -> None:
    """Raise an error if a grouped layer lost channels in a different pattern than our groups would."""
    for (name, layer), other in zip(dense.named_modules(), pruned.modules(), strict=True):
        before, after = _division(layer), _division(other)
        if before is None or after is None or before.parts == 1:
            continue
        whole = loses_whole_groups(before.parts, before.width)
        if after.sizes != before.sizes if whole else after.parts != before.parts:
            ours, theirs = ("whole groups", "channels of each group")[:: 1 if whole else -1]
            raise UnsupportedModelError(
                f"expected {name} to lose {ours}, as slimprune divides its {before.parts} groups, got a network that "
                f"lost {theirs}: neither proven nor refuted"
            )


@dataclass(frozen=True)
class _Division:
    """How a layer is divided: number of groups, channels of the larger side of a group, and sizes of a group."""

    parts: int
    width: int
    sizes: tuple[int, ...]


def _division(layer: nn.Module) -> _Division | None:
    """Return the division of a convolution or group norm; None if its tensors do not match its attributes."""
    if isinstance(layer, nn.GroupNorm) and layer.affine and len(layer.weight) % layer.num_groups == 0:
        width = len(layer.weight) // layer.num_groups
        return _Division(layer.num_groups, width, (width,))
    if isinstance(layer, _ConvNd) and len(layer.weight) % layer.groups == 0:
        sizes = (len(layer.weight) // layer.groups, layer.weight.shape[1])
        return _Division(layer.groups, max(sizes), sizes)
    return None


def _kind(tensor: Tensor) -> str:
    return f"a {str(tensor.dtype).removeprefix('torch.')} tensor with {tensor.ndim} dimensions"


def _disorder(kept: Mapping[str, Tensor]) -> str | None:
    """Describe the first group whose channels cannot be the rest after a removal."""
    wrong = next((name for name, channels in kept.items() if bool((channels.diff() <= 0).any())), None)
    return wrong and f"the channels of {wrong} are not those of the dense network in its order"


def _untied(dense: nn.Module, pruned: nn.Module) -> str | None:
    """Describe the first two names of one dense tensor that refer to two tensors of the pruned network."""
    found = dict(pruned.named_parameters(remove_duplicate=False))
    first: dict[int, str] = {}
    for name, parameter in dense.named_parameters(remove_duplicate=False):
        other = first.setdefault(id(parameter), name)
        if found[name] is not found[other]:
            return f"{name} is tied to {other} in the dense network, but not in the pruned one"
    return None


def _foreign(
    dense: nn.Module, left: Mapping[str, Tensor], groups: tuple[ChannelGroup, ...], kept: Mapping[str, Tensor]
) -> str | None:
    """Describe, in a clause, the first tensor that differs from the dense one at the kept channels.

    Raises:
        UsageError: If no matrix of the pruned network matches.
    """
    expected = _tensors(keep_channels(dense, groups, kept))
    wrong = {name for name, tensor in expected.items() if not torch.equal(tensor, left[name])}
    matrices = {name for name, tensor in expected.items() if tensor.ndim > 1}
    if matrices and matrices <= wrong:
        raise UsageError(
            f"expected a pruned network with weights of the dense one, got others in every layer ({min(matrices)}, "
            "...): it was trained after it was pruned, or it was cut from another network"
        )
    return next((_difference(name, expected[name], left[name], groups) for name in expected if name in wrong), None)


def _difference(name: str, expected: Tensor, found: Tensor, groups: tuple[ChannelGroup, ...]) -> str:
    if expected.shape == found.shape:
        return f"{name} does not hold the weights of the kept channels"
    said = f"{name} has shape {tuple(found.shape)}, the other layers say {tuple(expected.shape)}"
    return "; ".join([said, *_protected(name, expected, found, groups)])


def _protected(name: str, expected: Tensor, found: Tensor, groups: tuple[ChannelGroup, ...]) -> Iterator[str]:
    for group in groups:
        dims = [slot.dim for slot in group.slots if slot.name == name]
        if group.protected_reason is not None and any(expected.shape[dim] != found.shape[dim] for dim in dims):
            yield f"the channels of {group.id} have to stay: {group.protected_reason}"
