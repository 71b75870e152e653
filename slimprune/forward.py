"""How a user's model is called, and the wrappers that may surround it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from slimprune.errors import DataError, UnsupportedModelError, first_line

ForwardFn = Callable[[nn.Module, Any], Any]
"""(model, batch) -> output of the model for the batch, for models that are not simply called with the inputs."""

Loss = Callable[[Any, Any], Tensor]
"""(output, target) of a batch -> mean loss, a scalar; (output, batch) with a `ForwardFn`."""


class ForwardAdapter(nn.Module):
    """A model as a module whose only argument is a batch: its forward is `forward_fn(model, batch)`.

    Parameters, buffers and submodules are the model's own and keep their names, also in a deep copy.

    Args:
        model: The model, which is not copied.
        forward_fn: Function that calls the model.
    """

    _model: nn.Module
    _forward_fn: ForwardFn

    def __init__(self, model: nn.Module, forward_fn: ForwardFn) -> None:
        super().__init__()
        shared = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
        self.__dict__.update({name: getattr(model, name) for name in shared})
        # Bypass nn.Module.__setattr__, which would register the model's tensors a second time under other names.
        self.__dict__.update(_model=model, _forward_fn=forward_fn)

    def forward(self, batch: Any) -> Any:
        """Return the result of `forward_fn`."""
        return self._forward_fn(self._model, batch)

    def train(self, mode: bool = True) -> "ForwardAdapter":
        """Set the mode, also that of the model."""
        self._model.train(mode)
        return self

    @property
    def training(self) -> bool:
        """Mode of the model itself, which is no submodule."""
        return self._model.training

    @training.setter
    def training(self, mode: bool) -> None:
        if "_model" in self.__dict__:  # not yet while nn.Module sets up its attributes
            self._model.training = mode


def with_batch(model: nn.Module, batch: Any) -> Any:
    """Call a model whose only argument is a whole batch; a `ForwardFn`."""
    return model(batch)


def bind_forward(model: nn.Module, example: Any, forward_fn: ForwardFn | None) -> tuple[nn.Module, Any]:
    """Return the unwrapped model and the example as its input.

    With a `forward_fn` the model becomes a module that takes the example as its only argument.

    Raises:
        UnsupportedModelError: If the model cannot be used; see `unwrap`.
    """
    model = unwrap(model)
    return (model, example) if forward_fn is None else (ForwardAdapter(model, forward_fn), (example,))


def without_adapter(model: nn.Module) -> nn.Module:
    """Return the model itself, which a `ForwardAdapter` may call."""
    return model._model if isinstance(model, ForwardAdapter) else model


def name_of(model: nn.Module) -> str:
    """Return the name of a model's class, also of one that a `ForwardAdapter` calls."""
    return type(without_adapter(model)).__name__


def unwrap(model: nn.Module) -> nn.Module:
    """Return the module inside `torch.compile`, `DataParallel` or `DistributedDataParallel`, however they are nested.

    Raises:
        UnsupportedModelError: If the model is not a module or is scripted, has a submodule that is compiled or scripted
            with weights, or stores a tensor that is computed from others.
    """
    if not isinstance(model, nn.Module):
        raise UnsupportedModelError(f"expected a torch.nn.Module, got {type(model).__name__}")
    while (inner := _inside(model)) is not None:
        model = inner
    for name, module in model.named_modules():
        _check_plain(name or getattr(model, "original_name", type(model).__name__), module)
    return model


def split_batch(batch: Any, forward_fn: ForwardFn | None) -> tuple[tuple[Any, ...], Any]:
    """Return the arguments of a forward call, and the second argument of the loss.

    Args:
        batch: (inputs, targets), several inputs in a tuple or list; with a `forward_fn` any object, which is passed
            unchanged to both the function and the loss.
        forward_fn: Function that calls the model, if the model is not called with the inputs.

    Raises:
        DataError: If the batch is not a pair and there is no `forward_fn`.
    """
    if forward_fn is not None:
        return (batch,), batch
    if not (isinstance(batch, tuple | list) and len(batch) == 2):
        found = f"{len(batch)} parts" if isinstance(batch, tuple | list) else f"a {type(batch).__name__}"
        raise DataError(f"expected batches (inputs, targets), or others beside a forward_fn, got {found}")
    inputs, targets = batch
    return tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,), targets


def loss_of(loss: Callable[[Any, Any], Any], output: Any, target: Any) -> Tensor:
    """Return the loss of an output, a scalar tensor.

    Raises:
        UnsupportedModelError: If the loss is not a scalar, or cannot take an output of this kind.
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
    # The wrapper of torch.compile is not identified by its class, because importing that takes seconds.
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
