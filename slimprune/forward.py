"""How a model of the user's is called, and the wrappers that it may come in."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from slimprune.errors import DataError, UnsupportedModelError, first_line

ForwardFn = Callable[[nn.Module, Any], Any]
"""(model, batch) -> what the model makes of the batch, for models that do not simply take the inputs."""

Loss = Callable[[Any, Any], Tensor]
"""(output, target) of a batch -> mean loss, a scalar; (output, batch) where there is a `ForwardFn`."""


class ForwardAdapter(nn.Module):
    """A model as a module whose only argument is a batch: its forward is `forward_fn(model, batch)`.

    Parameters, buffers and submodules are the model's own, under the model's own names; so they are in a deep copy.

    Args:
        model: the model, not copied.
        forward_fn: how it is called.
    """

    _model: nn.Module
    _forward_fn: ForwardFn

    def __init__(self, model: nn.Module, forward_fn: ForwardFn) -> None:
        super().__init__()
        shared = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "training")
        self.__dict__.update({name: getattr(model, name) for name in shared})
        # Past nn.Module's own __setattr__, which would list the model's tensors a second time under other names.
        self.__dict__.update(_model=model, _forward_fn=forward_fn)

    def forward(self, batch: Any) -> Any:
        """What `forward_fn` returns."""
        return self._forward_fn(self._model, batch)

    def train(self, mode: bool = True) -> "ForwardAdapter":
        """Sets the mode of the model as well."""
        self._model.train(mode)
        self.training = mode
        return self


def bind_forward(model: nn.Module, example: Any, forward_fn: ForwardFn | None) -> tuple[nn.Module, Any]:
    """The plain model and its example; with a `forward_fn` the module that takes the example as its only argument.

    Raises:
        UnsupportedModelError: as `unwrapped`.
    """
    model = unwrap(model)
    return (model, example) if forward_fn is None else (ForwardAdapter(model, forward_fn), (example,))


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside `torch.compile`, `DataParallel` or `DistributedDataParallel`, however they are nested.

    Raises:
        UnsupportedModelError: it is no module or a scripted one, or has a submodule that is scripted with weights or
            compiled, or a tensor that is computed from others and kept.
    """
    if not isinstance(model, nn.Module):
        raise UnsupportedModelError(f"expected a torch.nn.Module, got {type(model).__name__}")
    while (inner := _inside(model)) is not None:
        model = inner
    for name, module in model.named_modules():
        _check_plain(name or getattr(model, "original_name", type(model).__name__), module)
    return model


def split_batch(batch: Any, forward_fn: ForwardFn | None) -> tuple[tuple[Any, ...], Any]:
    """The arguments of a forward, and what the loss gets beside its output.

    Args:
        batch: (inputs, targets), several inputs in a tuple or list; with a `forward_fn` anything, which it and the
            loss both get as it is.
        forward_fn: how the model is called, if not with the inputs.

    Raises:
        DataError: no pair, and no `forward_fn` to make something of it.
    """
    if forward_fn is not None:
        return (batch,), batch
    if not (isinstance(batch, tuple | list) and len(batch) == 2):
        found = f"{len(batch)} parts" if isinstance(batch, tuple | list) else f"a {type(batch).__name__}"
        raise DataError(f"expected batches (inputs, targets), or others beside a forward_fn, got {found}")
    inputs, targets = batch
    return tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,), targets


def loss_of(loss: Callable[[Any, Any], Any], output: Any, target: Any) -> Tensor:
    """The loss of an output, a scalar tensor.

    Raises:
        UnsupportedModelError: it is no scalar, or the loss cannot take an output of this kind.
    """
    try:
        value = loss(output, target)
    except (TypeError, AttributeError, LookupError) as error:
        kinds = f"an output and a target of kind {type(output).__name__} and {type(target).__name__}"
        raise UnsupportedModelError(f"the loss fails on {kinds}: {first_line(error)}") from error
    if not isinstance(value, Tensor):
        raise UnsupportedModelError(f"expected the loss to be a scalar tensor, got a {type(value).__name__}")
    if value.numel() != 1:
        raise UnsupportedModelError(f"expected the loss to be a scalar tensor, got one of shape {list(value.shape)}")
    return value.reshape(())


def _inside(model: nn.Module) -> nn.Module | None:
    parallel = isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel)
    # torch.compile's wrapper is not looked for by its class, whose import takes seconds.
    return dict(model.named_children()).get("module" if parallel else "_orig_mod")


def _check_plain(name: str, module: nn.Module) -> None:
    if isinstance(module, torch.jit.ScriptModule) and any(True for _ in module.parameters()):
        raise UnsupportedModelError(
            f"expected modules of Python code, got {name}, which torch.jit scripted or traced: hand over its source"
        )
    if _inside(module) is not None:
        raise UnsupportedModelError(
            f"expected plain modules, got {name}, a {type(module).__name__}: wrap the slim model instead"
        )
    for attribute, value in vars(module).items():
        if isinstance(value, Tensor) and not value.is_leaf:
            raise UnsupportedModelError(
                f"expected tensors that can be copied, got {attribute} of {name}, which is computed from others: take "
                "off weight_norm, spectral_norm or prune (torch.nn.utils), or do not keep it"
            )
