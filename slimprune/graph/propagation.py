"""Propagation of channels through one forward pass: the identity of each tensor, or the model's tensor that it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from slimprune.graph.channel_ids import ChannelUnionFind, compressed, core, varying
from slimprune.graph.groups import Role

_CARRIED = "_slimprune_carried"


@dataclass(frozen=True)
class TensorSource:
    """The parameter or buffer of which a tensor is a view or rearrangement.

    Attributes:
        name: Name of the parameter or buffer.
        shape: Shape of the parameter or buffer.
        coordinates: For each dimension of the parameter or buffer, the position of every element along it, in the shape
            of the tensor.
    """

    name: str
    shape: torch.Size
    coordinates: tuple[Tensor, ...]

    @classmethod
    def of(cls, name: str, tensor: Tensor) -> "TensorSource":
        """Return the source of a parameter or buffer itself."""
        steps = (
            torch.arange(size).view(-1, *[1] * (tensor.ndim - dim - 1)).expand(tensor.shape)
            for dim, size in enumerate(tensor.shape)
        )
        return cls(name, tensor.shape, tuple(compressed(step) for step in steps))

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "TensorSource":
        """Return the source after an operator that moves data."""
        return TensorSource(self.name, self.shape, tuple(compressed(change(steps)) for steps in self.coordinates))

    def dim_along(self, axis: int) -> int | None:
        """Return the dimension of the parameter that follows `axis` of the tensor and no other axis, or None."""
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
        name: Name of the operator without overload and in-place mark, such as `add`; operators that are not torch's own
            keep their namespace, such as `torchvision::roi_align`.
        layer: Name of the innermost module that made the call.
        values: Arguments by their names in the operator's schema.
        out: Return value.
        run: Calls the same operator again with the tensors among its arguments replaced.
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
    """Access to what tensors carry.

    Attributes:
        channel_ids: The ids that are carried.
        computed: Layers whose weights are not plain tensors of the model, with the reason.
        layers: Modules by name.
    """

    channel_ids: ChannelUnionFind
    computed: dict[str, str] = field(default_factory=dict)
    layers: Mapping[str, nn.Module] = field(default_factory=dict)

    def carries(self, tensor: Tensor) -> bool:
        """Return whether the tensor carries an identity or is a tensor of the model."""
        return hasattr(tensor, _CARRIED)

    def source(self, tensor: Tensor | None) -> TensorSource | None:
        """Return the tensor of the model that this one is, if any."""
        carried = getattr(tensor, _CARRIED, None)
        return carried if isinstance(carried, TensorSource) else None

    def ids(self, tensor: Tensor, role: Role = "scale") -> Tensor:
        """Return the identity tensor with each id replaced by its representative; zeros if none is carried."""
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
        """Attach `ids`, expanded to the tensor's shape; tensors of the model are left unchanged."""
        if self.source(tensor) is None:
            setattr(tensor, _CARRIED, compressed(ids.expand(tensor.shape)))

    def set_source(self, tensor: Tensor, source: TensorSource) -> None:
        """Mark the tensor as a tensor of the model or a rearrangement of one."""
        setattr(tensor, _CARRIED, source)

    def places(self, tensor: Tensor, axis: int, role: Role) -> Tensor | None:
        """Return the ids [size] of the places along `axis`; None unless it is a dimension of a model tensor."""
        source = self.source(tensor)
        dim = source.dim_along(axis % tensor.ndim) if source is not None else None
        if source is None or dim is None:
            return None
        numbers = self.channel_ids.place(source.name, dim, source.shape[dim], role)
        steps = source.coordinates[dim].movedim(axis, 0).reshape(tensor.shape[axis], -1)[:, 0]
        return self.channel_ids.find(numbers[steps])

    def block(self, call: OperatorCall, tensors: list[Tensor], reason: str) -> None:
        """Protect everything that the tensors carry, and attach a barrier to the outputs."""
        for tensor in tensors:
            self._protect(tensor, reason)
        barrier = torch.tensor(self.channel_ids.barrier(reason))
        for out in call.outputs:
            if not any(out is argument for argument in call.tensors):
                self.set_ids(out, barrier)

    def _protect(self, tensor: Tensor, reason: str) -> None:
        """Protect the rows of a tensor of the model, or the channels of any other tensor."""
        if self.source(tensor) is not None:
            rows = self.places(tensor, 0, "producer") if tensor.ndim > 1 else None
            self.channel_ids.protect(self.ids(tensor) if rows is None else rows, reason)
        elif self.carries(tensor):
            self.channel_ids.protect(self.ids(tensor), reason)


def replaced(values: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return nested arguments with every tensor changed."""
    return tree_map_only(Tensor, change, values)
