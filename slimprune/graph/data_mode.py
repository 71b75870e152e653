"""Running a model with operators replaced where they act on data, that is, on what depends on the model's input."""

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_DATA = "_slimprune_data"


class DataMode(TorchDispatchMode):
    """Mode that tells data from weights and records which operators it replaced.

    Args:
        inputs: What the model reads, the first data.

    Attributes:
        changed: Names of the operators that were replaced, in the order of their first calls.
    """

    def __init__(self, inputs: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.changed: dict[str, None] = {}
        mark_data(inputs)


def is_data(tensor: Tensor) -> bool:
    """Return whether the tensor depends on what the model reads."""
    return hasattr(tensor, _DATA)


def mark_data(values: Any) -> None:
    """Record that all tensors among the values depend on what the model reads."""
    for leaf in tree_leaves(values):
        if isinstance(leaf, Tensor):
            setattr(leaf, _DATA, True)
