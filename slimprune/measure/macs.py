"""Multiply-accumulates (MACs) of one forward pass, counted operator by operator while the network runs.

Operators that sum products over an index are counted: convolution, linear, the matrix products, attention and
distances. Norms, activations, pooling, resampling, Fourier transforms, sums of branches and biases count as zero. An
operator that sums products by an unknown formula raises an error.
"""

import copy
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from slimprune.errors import FORWARD_ERRORS, UnsupportedModelError, first_line
from slimprune.measure.products import formula_of, may_sum_products
from slimprune.measure.recurrent import computes_in_steps, in_steps

_COMPUTED = "_slimprune_computed"

_ONE_AT_A_TIME = threading.RLock()
"""How torch computes attention is a setting of the whole process: two threads would restore each other's settings."""


@dataclass(frozen=True)
class MacCount:
    """The MACs of a forward pass, by the factors of the products.

    Attributes:
        by_parameter: MACs of products in which a parameter is a factor, by its name.
        others: MACs of products of activations with each other, as in attention.
    """

    by_parameter: Mapping[str, int]
    others: int

    @property
    def total(self) -> int:
        """All MACs."""
        return sum(self.by_parameter.values()) + self.others


def count_macs(model: nn.Module, example: Tensor) -> int:
    """Return the MACs of one sample in eval mode.

    Args:
        model: Any module; a copy runs, so that mode, state and hooks do not change.
        example: Input [N, ...] on the model's device; the first sample is used.

    Raises:
        UnsupportedModelError: If the MACs cannot be counted; see `macs_by_parameter`.
    """
    return macs_by_parameter(model, example[:1]).total


def macs_by_parameter(model: nn.Module, *inputs: Any) -> MacCount:
    """Return the MACs of a forward pass on the inputs in eval mode; a copy of the model runs.

    Raises:
        UnsupportedModelError: If the model does multiply-accumulates in an operator that is not counted, such as a
            custom operator or a recurrent layer of a class of its own, or if it cannot be copied or run.
    """
    try:
        twin = in_steps(copy.deepcopy(model).eval())
        counter = _Counter(twin)
        with torch.no_grad(), torch.random.fork_rng(devices=[]), unfused_attention(), _attention_in_steps(), counter:
            twin(*inputs)
    except FORWARD_ERRORS as error:
        shapes = ", ".join(str(list(part.shape)) for part in inputs if isinstance(part, Tensor))
        rule = f"expected a model that can be copied and run on an input {shapes}".rstrip()
        raise UnsupportedModelError(f"{rule}, got {first_line(error)}") from error
    if counter.uncounted:
        found = counter.uncounted[0]
        hint = ": torch.utils.flop_counter.register_flop_formula takes its formula" if "::" in found else ""
        raise UnsupportedModelError(f"expected operators whose MACs can be counted, got {found}{hint}")
    return MacCount(counter.by_parameter, counter.others)


@contextmanager
def unfused_attention() -> Iterator[None]:
    """Run transformer layers in eval mode as the operators that they consist of, not as one fused operator."""
    with _ONE_AT_A_TIME:
        fast_path = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast_path)


@contextmanager
def _attention_in_steps() -> Iterator[None]:
    """Compute attention as matrix products and a softmax: fused operators pad the head width on some devices."""
    with _ONE_AT_A_TIME, sdpa_kernel(SDPBackend.MATH):
        yield


class _Counter(TorchDispatchMode):
    """Mode that counts the MACs of every operator by the parameter that takes part in it.

    Args:
        model: The copy that will run. Recurrent layers that do not compute in steps get hooks, because torch computes
            them by one operator or by many, depending on device and version.
    """

    supports_higher_order_operators = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._names = {p.untyped_storage().data_ptr(): name for name, p in model.named_parameters()}
        self._buffers = {buffer.untyped_storage().data_ptr() for buffer in model.buffers()}
        self.by_parameter: dict[str, int] = {}
        self.others = 0
        self.uncounted: list[str] = []
        for module in model.modules():
            if isinstance(module, nn.RNNBase | nn.RNNCellBase) and not computes_in_steps(module):
                module.register_forward_pre_hook(lambda layer, _: self.uncounted.append(type(layer).__name__))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = formula_of(func)
        if formula is None:
            # In torch.inference_mode some operators arrive that torch otherwise decomposes.
            with self:
                out = func.decompose(*args, **kwargs) if isinstance(func, OpOverload) else NotImplemented
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        self._follow_computed([leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)], out)
        if formula is not None:
            self._add(formula(args, kwargs, out), args)
        elif may_sum_products(func):
            # Not raised here: code between this operator and the caller may change the error.
            self.uncounted.append(str(func.name()))
        return out

    def _add(self, macs: int, args: Sequence[Any]) -> None:
        weights = [tensor for tensor in args if isinstance(tensor, Tensor) and self._name(tensor)]
        if weights:
            name = self._name(max(weights, key=_extent)) or ""
            self.by_parameter[name] = self.by_parameter.get(name, 0) + macs
        else:
            self.others += macs

    def _name(self, tensor: Tensor) -> str | None:
        return getattr(tensor, _COMPUTED, None) or self._names.get(tensor.untyped_storage().data_ptr())

    def _follow_computed(self, read: list[Tensor], out: Any) -> None:
        """Let what is computed from parameters alone, such as a standardised weight, count as the largest of them."""
        named = [tensor for tensor in read if self._name(tensor) is not None]
        others = (
            tensor.untyped_storage().data_ptr() for tensor in read if tensor.numel() > 1 and not self._name(tensor)
        )
        if named and self._buffers.issuperset(others):
            name = self._name(max(named, key=Tensor.numel))
            for leaf in tree_leaves(out):
                if isinstance(leaf, Tensor) and self._name(leaf) is None:
                    setattr(leaf, _COMPUTED, name)


def _extent(tensor: Tensor) -> tuple[int, int]:
    return tensor.numel(), tensor.ndim
