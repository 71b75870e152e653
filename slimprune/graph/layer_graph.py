"""The data flow of one forward pass, as a graph of layers for display."""

import copy
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from slimprune.errors import FORWARD_ERRORS, UnsupportedModelError, first_line
from slimprune.graph.example import Example, random_inputs
from slimprune.graph.groups import named_tensors
from slimprune.graph.propagation import OperatorCall, replaced
from slimprune.graph.tracing import Following
from slimprune.measure import unfused_attention

_ORIGIN = "_slimprune_origin"


@dataclass(frozen=True)
class Node:
    """A layer, a point where several flows meet, or an end of the model.

    Attributes:
        kind: `layer` uses parameters or buffers, `join` merges several flows, `input` and `output` are the ends.
        name: Name of the module that owns the parameters or of the operator that joins, or `input` or `output`.
        tensors: Names of the parameters and buffers that are used.
    """

    kind: Literal["input", "layer", "join", "output"]
    name: str
    tensors: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataFlow:
    """Nodes in execution order, and the data flow between them.

    Attributes:
        nodes: Nodes of the graph. An operator without parameters that reads only one flow (an activation, a pooling) is
            not a node.
        edges: (from, to) as positions in `nodes`; the first is always the smaller.
    """

    nodes: tuple[Node, ...]
    edges: tuple[tuple[int, int], ...]

    @property
    def tensors(self) -> set[str]:
        """Names of all parameters and buffers that take part."""
        return {name for node in self.nodes for name in node.tensors}


def trace_flow(model: nn.Module, example: Example) -> DataFlow:
    """Return the data flow of one forward pass on random inputs.

    The model runs in training mode if that reaches more of its tensors, otherwise in eval mode.

    Args:
        model: Any module; it is not modified.
        example: Gives shapes and dtypes.

    Raises:
        UnsupportedModelError: If the forward pass in eval mode fails.

    Examples:
        >>> flow = trace_flow(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten()), torch.zeros(1, 3, 8, 8))
        >>> [node.name for node in flow.nodes], flow.edges
        (['input', '0', 'output'], ((0, 1), (1, 2)))
    """
    try:
        found = _record(copy.deepcopy(model).eval(), example)
    except FORWARD_ERRORS as error:
        raise UnsupportedModelError(f"{type(model).__name__} cannot be traced: {first_line(error)}") from error
    with suppress(*FORWARD_ERRORS):
        training = _record(copy.deepcopy(model).train(), example)
        return max(found, training, key=lambda flow: len(flow.tensors))
    return found


def _record(model: nn.Module, example: Example) -> DataFlow:
    record = _Record()
    for name, tensor in named_tensors(model).items():
        record.own(tensor, name)
    inputs = replaced(random_inputs(example, seed=0, double=False), torch.clone)
    for leaf in _tensors(inputs):
        record.mark(leaf, _Origin((record.add(Node("input", "input"), ()),)))
    with torch.no_grad(), torch.random.fork_rng(devices=[]), unfused_attention(), Following(model, record.follow):
        outputs = model(*inputs)
    ends = {number for leaf in _tensors(outputs) for number in record.origin(leaf).nodes}
    record.add(Node("output", "output"), sorted(ends))
    return DataFlow(tuple(record.nodes), tuple(sorted(record.edges)))


@dataclass(frozen=True)
class _Origin:
    """Where a tensor comes from: nodes, or tensors of the model."""

    nodes: tuple[int, ...] = ()
    tensors: tuple[str, ...] = ()


@dataclass(eq=False)
class _Record:
    """The graph of the part of the forward pass that has run so far.

    Attributes:
        nodes: See `DataFlow`.
        edges: See `DataFlow`.
    """

    nodes: list[Node] = field(default_factory=list)
    edges: set[tuple[int, int]] = field(default_factory=set)
    _layers: dict[tuple[str, str], int] = field(default_factory=dict)
    # By address: the origin of what was written into part of a storage, and the storage itself.
    # The reference to the storage prevents another one from getting its address.
    _written: dict[int, tuple[_Origin, Any]] = field(default_factory=dict)

    def own(self, tensor: Tensor, name: str) -> None:
        """Record that a tensor belongs to the model."""
        setattr(tensor, _ORIGIN, _Origin(tensors=(name,)))

    def origin(self, tensor: Tensor) -> _Origin:
        """Return where the tensor comes from."""
        own: _Origin = getattr(tensor, _ORIGIN, _Origin())
        written = self._written.get(tensor.untyped_storage().data_ptr())
        return own if written is None else _merged([own, written[0]])

    def mark(self, tensor: Tensor, origin: _Origin) -> None:
        """Record where a tensor comes from; a tensor of the model keeps its origin unless data flow into it."""
        if not getattr(tensor, _ORIGIN, _Origin()).tensors or origin.nodes:
            setattr(tensor, _ORIGIN, origin)

    def add(self, node: Node, sources: Sequence[int]) -> int:
        """Add a node that reads the sources, and return its number."""
        self.nodes.append(node)
        number = len(self.nodes) - 1
        self.edges |= {(source, number) for source in sources}
        return number

    def follow(self, operator: Any, call: OperatorCall) -> None:
        """Set the origin of an operator's outputs: the operator's node, or the only source that it reads."""
        origin = _merged([self.origin(tensor) for tensor in call.tensors])
        if origin.nodes and origin.tensors:
            origin = _Origin((self._layer(call, origin),))
        elif len(origin.nodes) > 1:
            origin = _Origin((self.add(Node("join", call.name), origin.nodes),))
        for out in call.outputs:
            self.mark(out, origin)
            storage = out.untyped_storage()
            if any(out is argument for argument in call.tensors) and out.nbytes < storage.nbytes():
                self._written[storage.data_ptr()] = origin, storage

    def _layer(self, call: OperatorCall, origin: _Origin) -> int:
        """Return the node of a module's parameters; a new one only if data flows back from a later node."""
        first = origin.tensors[0]
        owner = first.rpartition(".")[0] or first
        number = self._layers.get((owner, call.layer))
        if number is None or max(origin.nodes) > number:
            number = self._layers[owner, call.layer] = self.add(Node("layer", owner), ())
        known = self.nodes[number]
        tensors = tuple(dict.fromkeys([*known.tensors, *origin.tensors]))
        self.nodes[number] = Node("layer", owner, tensors)
        self.edges |= {(source, number) for source in origin.nodes if source != number}
        return number


def _merged(origins: Sequence[_Origin]) -> _Origin:
    nodes = sorted({number for origin in origins for number in origin.nodes})
    return _Origin(tuple(nodes), tuple(dict.fromkeys(name for origin in origins for name in origin.tensors)))


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
