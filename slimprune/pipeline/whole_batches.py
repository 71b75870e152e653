"""The workload of a model that is called with whole batches or with several inputs."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

from slimprune.errors import UnsupportedModelError, UsageError, first_line
from slimprune.forward import ForwardAdapter, ForwardFn, Loss, name_of, with_batch
from slimprune.graph import first_rows
from slimprune.measure.devices import device_of
from slimprune.training import AnyMetric
from slimprune.training.batches import first_of, first_tensor
from slimprune.training.metrics import Tally


@dataclass(frozen=True, eq=False)
class WholeBatches:
    """How a model is called, where that is more than a call with one tensor.

    Attributes:
        model: Model whose arguments are `samples`.
        forward_fn: Function (model, batch) -> output.
        samples: Positional arguments of the model on the CPU, in a tuple.
        loss: Function (output, batch) -> scalar.
        metric: Metric of (output, batch).
    """

    model: nn.Module
    forward_fn: ForwardFn
    samples: tuple[Any, ...]
    loss: Loss
    metric: AnyMetric


def by_forward_fn(
    model: nn.Module, forward_fn: ForwardFn, batches: Iterable[Any], loss: Loss, metric: AnyMetric, count: int
) -> WholeBatches:
    """Return a model that is called by a function of the user.

    What the function does not read of a batch, such as targets, is None in the samples.

    Args:
        model: The model on its device.
        forward_fn: Function (model, batch) -> output.
        batches: Batches, from the first of which the samples are taken.
        loss: Function (output, batch) -> scalar.
        metric: Metric of (output, batch).
        count: Number of samples at most.

    Raises:
        DataError: If there are no batches, or none with tensors.
        UnsupportedModelError: If the function fails.
    """
    called = ForwardAdapter(model, forward_fn)
    batch = _first(batches)
    read = _read_tensors(called, batch)
    seen = tree_map(lambda leaf: leaf if not isinstance(leaf, Tensor) or id(leaf) in read else None, batch)
    return WholeBatches(called, with_batch, (_rows(seen, count),), loss, metric)


def by_several_inputs(
    model: nn.Module, batches: Iterable[Any], loss: Loss, metric: AnyMetric, count: int
) -> WholeBatches:
    """Return a model that is called with several inputs, or with a mapping of them.

    Args:
        model: The model on its device.
        batches: Pairs (inputs, targets), with inputs in a tuple or list, or a mapping that is the only argument.
        loss: Function (output, targets) -> scalar.
        metric: Metric of (output, targets).
        count: Number of samples at most.
    """
    inputs, _ = _first(batches)
    samples = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    return WholeBatches(model, call_with_inputs, _rows(samples, count), _OfTargets(loss), _MetricOfTargets(metric))


def call_with_inputs(model: nn.Module, batch: Any) -> Any:
    """Call a model with the inputs of a batch (inputs, targets), several of them in a tuple or list."""
    inputs = batch[0]
    return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


def has_several_inputs(batches: Iterable[Any]) -> bool:
    """Return whether the first batch is a pair whose inputs are no tensor."""
    batch: Any = next(iter(batches), None)
    pair = isinstance(batch, tuple | list) and len(batch) == 2
    return pair and not isinstance(batch[0], Tensor) and any(isinstance(leaf, Tensor) for leaf in tree_leaves(batch[0]))


def inputs_alone(batches: Iterable[Any], most: int) -> Iterator[tuple[Any]]:
    """Yield each batch as the only element of a tuple, until they hold `most` samples or one of them a single one."""
    seen = 0
    for batch in batches:
        size = len(first_tensor(batch))
        if seen >= most or size < 2:
            return
        seen += size
        yield (batch,)


@dataclass(frozen=True, eq=False)
class _OfTargets:
    """A loss of (output, targets) as one of (output, batch)."""

    loss: Loss

    def __call__(self, output: Any, batch: Any) -> Tensor:
        return self.loss(output, batch[1])


@dataclass(frozen=True, eq=False)
class _MetricOfTargets:
    """A metric of (output, targets) as one of (output, batch)."""

    metric: AnyMetric

    @property
    def name(self) -> str:
        """Name in reports."""
        return self.metric.name

    @property
    def scale(self) -> Any:
        """How its values are read."""
        return self.metric.scale

    def start(self) -> Tally:
        """Return an empty tally."""
        return _TallyOfTargets(self.metric.start())


@dataclass(frozen=True, eq=False)
class _TallyOfTargets:
    tally: Tally

    def add(self, output: Any, batch: Any) -> None:
        self.tally.add(output, batch[1])

    def value(self, *, together: bool) -> float:
        return self.tally.value(together=together)


class _Reading(TorchDispatchMode):
    """Mode that finds out which of some tensors an operator takes."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tensors = {id(tensor) for tensor in tensors}
        self.read: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.read |= self._tensors & {id(leaf) for leaf in tree_leaves((args, kwargs))}
        return func(*args, **(kwargs or {}))


def _read_tensors(called: nn.Module, batch: Any) -> set[int]:
    """Return the ids of the tensors of a batch that a forward pass reads; those of the batch itself, not of copies."""
    device = device_of(called)
    leaves = [leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)]
    placed = {id(leaf): leaf.to(device).clone() for leaf in leaves}
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), _Reading(placed.values()) as reading:
            copy.deepcopy(called).eval()(tree_map_only(Tensor, lambda leaf: placed[id(leaf)], batch))
    except Exception as error:
        raise UnsupportedModelError(f"the forward_fn fails with {name_of(called)}: {first_line(error)}") from error
    return {number for number, tensor in placed.items() if id(tensor) in reading.read}


def _first(batches: Iterable[Any]) -> Any:
    batch = first_of(batches)
    first_tensor(batch)
    return batch


def _rows(samples: Any, count: int) -> Any:
    return tree_map_only(Tensor, Tensor.cpu, first_rows(samples, count))


def check_own(loss: object, metric: object) -> None:
    """Check that loss and metric are the user's, as a `forward_fn` requires.

    Raises:
        UsageError: If one of them is a name.
    """
    for what, given in (("loss", loss), ("metric", metric)):
        if isinstance(given, str):
            raise UsageError(f"expected a {what} of (output, batch) beside a forward_fn, got {given!r}")
