"""The flow of channels through one forward: which identity each tensor carries, and which tensor of the model it is."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from slimprune.graph.channel_ids import ChannelUnionFind, compressed, core, varying
from slimprune.graph.groups import Role

_CARRIED = "_slimprune_carried"


@dataclass(frozen=True)
class TensorSource:
    """A tensor that is (a view or rearrangement of) one parameter or buffer.

    Attributes:
        name: of the parameter or buffer.
        shape: its shape.
        coordinates: for each of its dimensions the position there of every element, in the tensor's own shape.
    """

    name: str
    shape: torch.Size
    coordinates: tuple[Tensor, ...]

    @classmethod
    def of(cls, name: str, tensor: Tensor) -> "TensorSource":
        """The source that a parameter or buffer is itself."""
        steps = (
            torch.arange(size).view(-1, *[1] * (tensor.ndim - dim - 1)).expand(tensor.shape)
            for dim, size in enumerate(tensor.shape)
        )
        return cls(name, tensor.shape, tuple(compressed(step) for step in steps))

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "TensorSource":
        """The source after a movement of data."""
        return TensorSource(self.name, self.shape, tuple(compressed(change(steps)) for steps in self.coordinates))

    def dim_along(self, axis: int) -> int | None:
        """The dimension of the parameter that `axis` of the tensor follows, and it alone."""
        for dim, steps in enumerate(self.coordinates):
            if varying(steps) == {axis}:
                return dim
        still = [dim for dim, steps in enumerate(self.coordinates) if not varying(steps)]
        if not still or any(axis in varying(steps) for steps in self.coordinates):
            return None
        return axis if axis in still else still[0]


@dataclass(frozen=True)
class OperatorCall:
    """One call of an operator.

    Attributes:
        name: of the operator without its overload and in-place mark, such as `add`; of operators that are not
            torch's own with the namespace, such as `torchvision::roi_align`.
        layer: of the innermost module that made the call.
        values: arguments by the names of the operator's schema.
        out: what it returned.
        run: calls the same operator again, with the tensors among its arguments replaced.
    """

    name: str
    layer: str
    values: dict[str, Any]
    out: Any
    run: Callable[[Callable[[Tensor], Tensor]], Any]

    def __getitem__(self, argument: str) -> Any:
        return self.values.get(argument)

    @property
    def where(self) -> str:
        """The operator and its module, for a reason."""
        return f"{self.name} in {self.layer}" if self.layer else self.name

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments."""
        return [leaf for leaf in tree_leaves(self.values) if isinstance(leaf, Tensor)]

    @property
    def outputs(self) -> list[Tensor]:
        """All tensors that were returned."""
        return [leaf for leaf in tree_leaves(self.out) if isinstance(leaf, Tensor)]


@dataclass(frozen=True)
class Flow:
    """Reads and writes what tensors carry.

    Attributes:
        channel_ids: the numbers that are carried.
        computed: layers whose weights are no plain tensors of the model, with the reason.
    """

    channel_ids: ChannelUnionFind
    computed: dict[str, str] = field(default_factory=dict)

    def carries(self, tensor: Tensor) -> bool:
        """Whether the tensor carries an identity or is a tensor of the model."""
        return hasattr(tensor, _CARRIED)

    def source(self, tensor: Tensor | None) -> TensorSource | None:
        """The tensor of the model that this one is, if any."""
        carried = getattr(tensor, _CARRIED, None)
        return carried if isinstance(carried, TensorSource) else None

    def ids(self, tensor: Tensor, role: Role = "scale") -> Tensor:
        """The identity tensor, each number replaced by the one that stands for it; zeros where none is carried."""
        carried = getattr(tensor, _CARRIED, None)
        if carried is None:
            return torch.zeros((), dtype=torch.int64).expand(tensor.shape)
        if isinstance(carried, TensorSource):
            numbers = self.channel_ids.element(carried.name, carried.shape, role)
            if not carried.coordinates:
                return self.channel_ids.find(numbers).expand(tensor.shape)
            steps = torch.broadcast_tensors(*(core(steps) for steps in carried.coordinates))
            return compressed(self.channel_ids.find(numbers[steps]).expand(tensor.shape))
        return compressed(self.channel_ids.find(core(carried)).expand(carried.shape))

    def set_ids(self, tensor: Tensor, ids: Tensor) -> None:
        """Lets the tensor carry `ids`, expanded to its shape; tensors of the model stay what they are."""
        if self.source(tensor) is None:
            setattr(tensor, _CARRIED, compressed(ids.expand(tensor.shape)))

    def set_source(self, tensor: Tensor, source: TensorSource) -> None:
        """Declares the tensor to be (a rearrangement of) a tensor of the model."""
        setattr(tensor, _CARRIED, source)

    def places(self, tensor: Tensor, axis: int, role: Role) -> Tensor | None:
        """Numbers, [size], of the places along `axis` of a tensor of the model; None where it is not a plain one."""
        source = self.source(tensor)
        dim = source.dim_along(axis % tensor.ndim) if source is not None else None
        if source is None or dim is None:
            return None
        numbers = self.channel_ids.place(source.name, dim, source.shape[dim], role)
        steps = source.coordinates[dim].movedim(axis, 0).reshape(tensor.shape[axis], -1)[:, 0]
        return self.channel_ids.find(numbers[steps])

    def block(self, call: OperatorCall, tensors: list[Tensor], reason: str) -> None:
        """Protects all that the tensors carry, and lets the outputs carry the barrier."""
        for tensor in tensors:
            self._protect(tensor, reason)
        barrier = torch.tensor(self.channel_ids.barrier(reason))
        for out in call.outputs:
            if not any(out is argument for argument in call.tensors):
                self.set_ids(out, barrier)

    def _protect(self, tensor: Tensor, reason: str) -> None:
        """The rows of a tensor of the model, and the channels of any other."""
        if self.source(tensor) is not None:
            rows = self.places(tensor, 0, "producer") if tensor.ndim > 1 else None
            self.channel_ids.protect(self.ids(tensor) if rows is None else rows, reason)
        elif self.carries(tensor):
            self.channel_ids.protect(self.ids(tensor), reason)


def replaced(values: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Nested arguments with every tensor changed."""
    return tree_map_only(Tensor, change, values)
