"""Models with several inputs or outputs, as modules from tensors to tensors with a name for each."""

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_flatten_with_path, tree_leaves, tree_unflatten

from slimprune.errors import DataError, UnsupportedModelError, kind_and_line
from slimprune.forward import ForwardAdapter

OUTPUT = "output"


class Flattened(nn.Module):
    """A model that takes the tensors of nested arguments one by one and gives those of its output in a tuple.

    Args:
        model: The model, which is not copied.
        arguments: Positional arguments of a call; what is no tensor becomes a constant.
    """

    def __init__(self, model: nn.Module, arguments: tuple[Any, ...]) -> None:
        super().__init__()
        self.model = model
        self._leaves, self._spec = tree_flatten(arguments)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors of the output."""
        output = self.model(*_filled(self._leaves, self._spec, tensors))
        return tuple(leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))


@dataclass(frozen=True, eq=False)
class Signature:
    """The tensors of a call: inputs and outputs with their names.

    Attributes:
        module: Model from the tensors of the inputs to those of the outputs.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        samples: The inputs, floating-point ones in float32 on the CPU.
    """

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    samples: tuple[Tensor, ...]

    @classmethod
    def of(cls, model: nn.Module, arguments: tuple[Any, ...]) -> "Signature":
        """Return the signature of a model for positional arguments.

        Names of inputs are those of the arguments of `forward`, with the keys or numbers inside them; names of outputs
        are keys, or `output` with a number.

        Args:
            model: Model on the CPU, in eval mode and float32.
            arguments: Positional arguments, which pass `check_equally_many`.

        Raises:
            UnsupportedModelError: If the model fails, or an output has not a row per sample.
        """
        pairs, _ = tree_flatten_with_path(arguments)
        tensors = [(path, leaf) for path, leaf in pairs if isinstance(leaf, Tensor)]
        samples = tuple(_plain(leaf) for _, leaf in tensors)
        module = Flattened(model, arguments).eval()
        names = _unique([_input_name(path, _arguments_of(model)) for path, _ in tensors])
        pairs = [(path, leaf) for path, leaf in _outputs(model, arguments, samples) if isinstance(leaf, Tensor)]
        outputs = [_output_name(path) for path, _ in pairs]
        _check_rows([leaf for _, leaf in pairs], outputs, len(samples[0]))
        # ONNX has one name space for all tensors of a graph.
        unlike = [f"{name}_{OUTPUT}" if name in names else name for name in outputs]
        return cls(module, names, _unique(unlike), samples)


def check_equally_many(arguments: tuple[Any, ...]) -> None:
    """Check that all tensors of a call hold equally many samples, at least one.

    Raises:
        DataError: If they do not, or there is none.
    """
    shapes = [list(leaf.shape) for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]
    rows = {shape[0] if shape else 0 for shape in shapes}
    if len(rows) != 1 or rows == {0}:
        raise DataError(f"expected input tensors with equally many samples each, got {shapes or 'none'}")


def _outputs(model: nn.Module, arguments: tuple[Any, ...], samples: Sequence[Tensor]) -> list[Any]:
    leaves, spec = tree_flatten(arguments)
    try:
        with torch.no_grad():
            output = model(*_filled(leaves, spec, samples))
    except (RuntimeError, TypeError, AttributeError, LookupError) as error:
        shapes = [list(sample.shape) for sample in samples]
        raise UnsupportedModelError(
            f"expected a model that takes inputs {shapes}, got {kind_and_line(error)}"
        ) from error
    return tree_flatten_with_path(output)[0]


def _check_rows(outputs: Sequence[Tensor], names: Sequence[str], rows: int) -> None:
    if not outputs:
        raise UnsupportedModelError("expected a model that returns tensors, got none")
    for name, output in zip(names, outputs, strict=True):
        if output.shape[:1] != (rows,):
            rule = f"expected {rows} rows of {name} for {rows} samples"
            raise UnsupportedModelError(f"{rule}, got {list(output.shape)}")


def _filled(leaves: Sequence[Any], spec: TreeSpec, tensors: Sequence[Tensor]) -> tuple[Any, ...]:
    given = iter(tensors)
    found: tuple[Any, ...] = tree_unflatten([next(given) if isinstance(one, Tensor) else one for one in leaves], spec)
    return found


def _plain(tensor: Tensor) -> Tensor:
    plain = tensor.detach().cpu()
    return (plain.float() if plain.is_floating_point() else plain).contiguous()


def _arguments_of(model: nn.Module) -> Sequence[str]:
    """Return the names of the arguments of `forward`; empty for a model that is called by a `forward_fn`."""
    return () if isinstance(model, ForwardAdapter) else tuple(inspect.signature(model.forward).parameters)


def _keys(path: Sequence[Any]) -> list[str]:
    """Return keys, numbers and attributes on the way to a tensor."""
    return [str(getattr(part, "key", getattr(part, "idx", getattr(part, "name", part)))) for part in path]


def _input_name(path: Sequence[Any], arguments: Sequence[str]) -> str:
    """Return the name of the argument with the keys inside it; without names of arguments the keys alone."""
    first, *keys = _keys(path)
    if arguments:
        return _joined([arguments[min(int(first), len(arguments) - 1)], *keys])
    return _joined(keys if keys and not keys[0].isdigit() else ["input", *keys])


def _output_name(path: Sequence[Any]) -> str:
    """Return the keys, behind `output` if the first one is a number or there is none."""
    keys = _keys(path)
    return _joined(keys if keys and not keys[0].isdigit() else [OUTPUT, *keys])


def _joined(keys: Sequence[str]) -> str:
    return re.sub(r"\W", "_", "_".join(keys))


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names with numbers behind those that occur twice."""
    return tuple(
        f"{name}_{names[:number].count(name)}" if names.count(name) > 1 else name for number, name in enumerate(names)
    )
