"""Filling of a network with given weights, whatever prefixes their names have and whatever size their head has."""

from collections.abc import Iterator, Mapping
from itertools import chain, takewhile

import torch
from torch import Tensor, nn

from slimprune.errors import DataError

LEADING = ("module", "model", "_model", "net", "network", "backbone", "encoder", "student", "wrapped")
"""First parts of names under which a network may stand within a trainer's module."""

INSERTED = ("module", "_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
"""Parts that `DataParallel`, `torch.compile` and others insert into names, at any place."""

TRAINING_ONLY = ("AuxLogits.", "aux1.", "aux2.", "aux_classifier.", "n_averaged")
"""Beginnings of names that are used in training only and without which networks are built here."""

PROFILED = ("total_ops", "total_params")
"""Last parts of names that profilers leave in state dicts."""


def fill(
    model: nn.Module,
    given: Mapping[str, Tensor],
    what: str,
    *,
    outputs: int,
    reset_head: bool,
    branches: tuple[str, ...] = (),
) -> list[str]:
    """Copy given tensors into `model`, in place and converted to its precision; if one does not fit, copy none.

    Prefixes of the names (`LEADING`, `INSERTED`) are stripped if the names then match those of the network better.
    Auxiliary heads that the network does not have are left out.

    Args:
        model: The network.
        given: Tensors by name, as in a state dict; a tied tensor may appear under any of its names, and a backbone's
            tensors may lack the last layers.
        what: Description of the tensors in errors.
        outputs: Number of outputs (channels for segmentation) of the network.
        reset_head: Whether the tensors of a head with another number of outputs are left out.
        branches: Beginnings of the names of layers whose widths depend on the number of classes; they belong to the
            head.

    Returns:
        Names of the parameters that remain unchanged.

    Raises:
        DataError: If the tensors belong to another network, to another number of outputs without `reset_head`, or are
            not finite floating-point numbers.
    """
    own = _tensors(model)
    found = _without_extras(_renamed(given, own), own)
    head = _head(model, found, outputs, branches)
    if head and not reset_head:
        last = [name for name in head if len(own[name]) == outputs] or head
        layers = ", ".join(dict.fromkeys(name.rpartition(".")[0] or name for name in last))
        raise DataError(
            f"{what}: expected {outputs} outputs of the head {layers}, got {len(found[last[0]])}: --reset-head leaves "
            "the head out and keeps its fresh weights"
        )
    fitting = {name: tensor for name, tensor in found.items() if name not in head}
    filled = {id(own[name]) for name in fitting if name in own}
    missing = [name for name, parameter in model.named_parameters() if id(parameter) not in filled]
    _check_fit(own, fitting, [name for name in missing if name not in head], what)
    if len(missing) == sum(1 for _ in model.parameters()):
        raise DataError(f"{what}: expected parameters of the network, got none")
    converted = {name: _converted(tensor, own[name], name, what) for name, tensor in fitting.items()}
    with torch.no_grad():
        for name, tensor in converted.items():
            own[name].copy_(tensor)
    return missing


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers, tied ones under each of their names."""
    every = (model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False))
    return dict(chain(*every))


def _renamed(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the names that match most of the network's; of equals the least changed ones."""
    return max(_readings(given, own), key=lambda reading: len(reading.keys() & own.keys()))


def _readings(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield the tensors under their own names, then without inserted parts, then without each leading prefix.

    What stands beside a prefix is not part of the network, unless it has a name of the network. A network that itself
    is wrapped (`model.NAME`) may also be given without the wrapper.
    """
    short = {_without_inserted(name): tensor for name, tensor in given.items()}
    for names in [dict(given), short] if len(short) == len(given) else [dict(given)]:
        yield names
        for prefix in sorted(dict.fromkeys(prefix for name in names for prefix in _prefixes(name)), key=len):
            beside = {name: tensor for name, tensor in names.items() if name in own}
            inside = {name.removeprefix(prefix): names[name] for name in names if name.startswith(prefix)}
            yield {**beside, **inside}
        if all(name.startswith("model.") for name in own):
            yield {f"model.{name}": tensor for name, tensor in names.items()}


def _prefixes(name: str) -> Iterator[str]:
    """Yield the leading parts of a name that are words of `LEADING` or `INSERTED`: "model.", "model.net."."""
    prefix = ""
    for part in takewhile(lambda part: part in LEADING or part in INSERTED, name.split(".")[:-1]):
        prefix += f"{part}."
        yield prefix


def _without_inserted(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in INSERTED)


def _without_extras(found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors except those that the network lacks because it needs them not even in its training."""

    def extra(name: str) -> bool:
        return name.startswith(TRAINING_ONLY) or name.rpartition(".")[2] in (*PROFILED, "num_batches_tracked")

    return {name: tensor for name, tensor in found.items() if name in own or not extra(name)}


def _head(model: nn.Module, found: Mapping[str, Tensor], outputs: int, branches: tuple[str, ...]) -> list[str]:
    """Return the parameters of the head if only it differs in shape, and only in what the number of outputs decides.

    Outside of `branches` that is the number itself. A layer inside the network that happens to have as many channels
    does not qualify: what reads it differs as well.
    """
    own = dict(model.named_parameters(remove_duplicate=False))
    every = _tensors(model)
    different = [name for name, tensor in found.items() if name in every and tensor.shape != every[name].shape]
    if branches and all(name.startswith(branches) for name in different):
        return different
    sizes = {tuple(found[name].shape[:1]) for name in different}
    alike = all(
        name in own
        and tuple(own[name].shape[:1]) == (outputs,)
        and found[name].ndim == own[name].ndim
        and found[name].shape[1:] == own[name].shape[1:]
        for name in different
    )
    return different if alike and len(sizes) == 1 and found.keys() <= every.keys() else []


def _check_fit(own: Mapping[str, Tensor], found: Mapping[str, Tensor], missing: list[str], what: str) -> None:
    """Check that the network has all tensors in these shapes; the error names the first of each kind of mismatch."""
    unknown = [name for name in found if name not in own]
    shapes = [name for name, tensor in found.items() if name in own and tensor.shape != own[name].shape]
    if not unknown and not shapes:
        return
    clauses = []
    if missing:
        clauses.append(f"without {_first(missing)}")
    if unknown:
        clauses.append(f"with {_first(unknown)}, which the network lacks")
    if shapes:
        name = shapes[0]
        clauses.append(
            f"with {_first(shapes)} of shape {tuple(found[name].shape)} in place of {tuple(own[name].shape)}"
        )
    raise DataError(f"{what}: expected the tensors of this network, got those of another one: {', '.join(clauses)}")


def _first(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"


def _converted(tensor: Tensor, own: Tensor, name: str, what: str) -> Tensor:
    """Return a tensor in the precision of the network's own.

    Raises:
        DataError: If a floating-point tensor is given in integers, or is not finite where the network's own is.
    """
    if own.is_floating_point() and (tensor.is_quantized or not tensor.is_floating_point()):
        kind = str(tensor.dtype).removeprefix("torch.")
        raise DataError(f"{what}: expected {name} in floating point, got {kind}")
    converted = tensor.to(own.dtype)
    if own.is_floating_point() and not bool(converted.isfinite().all()) and bool(own.isfinite().all()):
        raise DataError(f"{what}: expected finite numbers in {name}, got nan or inf")
    return converted
