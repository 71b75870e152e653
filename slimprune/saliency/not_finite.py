"""Why scores are not finite: the layer whose output or derivatives are not, or a training that diverges."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from slimprune.errors import FORWARD_ERRORS
from slimprune.saliency.problem import Problem

Call = tuple[nn.Module, tuple[Any, ...], dict[str, Any]]
"""A module with the arguments of its first call."""

_WHAT = ("outputs", "first derivatives", "second derivatives")


def cause(problem: Problem) -> str:
    """Return, in one clause, where values that are not finite come from, and what helps.

    Every module is run by itself on what it reads at the start. Of those that fail the innermost one is named.
    """
    calls = _calls(problem)
    failing = {name: order for name, call in calls.items() if (order := _first_failure(*call)) is not None}
    if not failing:
        return "the inner training diverged (lower --inner-lr) or the loss is not finite at the start"
    order = min(failing.values())
    name = next(name for name in failing if failing[name] == order and not _has_inner(name, failing, order))
    layer = f"{name} ({type(calls[name][0]).__name__})" if name else type(calls[name][0]).__name__
    found = f"the {_WHAT[order]} of {layer} are not, at the start and at any --inner-lr"
    if order < 2:
        return found
    return f"{found}; a criterion of first order, such as prospr-first-order or snip, takes none"


def _has_inner(name: str, failing: dict[str, int], order: int) -> bool:
    inside = f"{name}." if name else ""
    return any(other != name and other.startswith(inside) and failing[other] == order for other in failing)


def _calls(problem: Problem) -> dict[str, Call]:
    """Return the first call of every module in a forward pass, by name."""
    calls: dict[str, Call] = {}
    with _hooks(problem.network, calls), torch.no_grad():
        problem.loss_at(problem.initial, 0)
    return calls


@contextmanager
def _hooks(network: nn.Module, calls: dict[str, Call]) -> Iterator[None]:
    def note(name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.setdefault(name, (module, *tree_map_only(Tensor, torch.clone, (args, kwargs))))

    handles = [
        module.register_forward_pre_hook(
            lambda module, args, kwargs, name=name: note(name, module, args, kwargs), with_kwargs=True
        )
        for name, module in network.named_modules()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _first_failure(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """Return the first order of derivatives that are not finite, 0 for the outputs; None if all are or it fails."""
    read: list[Tensor] = [parameter for parameter in module.parameters() if parameter.requires_grad]

    def followed(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        read.append(tensor.detach().clone().requires_grad_())
        return read[-1].clone()  # a leaf cannot be changed in place

    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            inputs, options = tree_map_only(Tensor, followed, (args, kwargs))
            if not _finite(read):
                return None
            values = _floats(tree_leaves(module(*inputs, **options)))
            for order in range(3):
                if not _finite(values):
                    return order
                # Second derivatives reach the layers behind by what comes back from them.
                back = [torch.randn_like(value).requires_grad_() for value in values]
                total = torch.stack([(one * value).sum() for one, value in zip(back, values, strict=True)]).sum()
                if order == 2 or not total.requires_grad:
                    break
                values = _floats(torch.autograd.grad(total, read, create_graph=True, allow_unused=True))
                read += back
    except FORWARD_ERRORS:
        return None
    return None


def _floats(values: Iterable[Any]) -> list[Tensor]:
    return [value for value in values if isinstance(value, Tensor) and value.is_floating_point() and value.numel()]


def _finite(values: Iterable[Tensor]) -> bool:
    return all(bool(value.isfinite().all()) for value in values)
