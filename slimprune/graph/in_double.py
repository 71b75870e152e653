"""Running a model in float64 although its code asks for other floating-point numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class InDouble(TorchDispatchMode):
    """Mode in which what is float64 stays so: `x.float()` and `x.to(torch.bfloat16)` change nothing.

    Code that trains in mixed precision converts its activations, which then do not fit the float64 weights of a proof.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        wanted = kwargs.get("dtype")
        is_cast = func._schema.name == "aten::_to_copy" and wanted is not None and wanted.is_floating_point
        if is_cast and args[0].dtype == torch.float64:
            kwargs = {**kwargs, "dtype": torch.float64}
        return func(*args, **kwargs)


@contextmanager
def double_by_default() -> Iterator[None]:
    """Let code that does not say otherwise compute in float64, such as the quotient of integers."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
