"""Channel groups: which entries of which parameters and buffers live and die together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

Role = Literal["producer", "norm", "cross-channel-norm", "depthwise", "scale", "consumer"]
_FORMER_ROLES: Mapping[str, Role] = {"mixing": "cross-channel-norm"}
"""Names in plans of earlier versions -> names of today."""


@dataclass(frozen=True, eq=False)
class Slot:
    """One place where a group touches one parameter or buffer.

    Attributes:
        name: qualified name of the tensor in the model.
        dim: the dimension of the tensor along which the channels lie.
        index: int64 [width, entries]; row j lists the positions along `dim` that belong to channel j.
            A convolution has one entry per channel, a linear layer after a flatten has height * width.
        role: `producer` (rows and bias of the layer that makes the channels), `norm` (affine pair and running
            statistics), `cross-channel-norm` (affine pair of a norm over several channels), `depthwise` (filters of a
            convolution that loses whole groups), `scale` (other per-channel parameters) or `consumer` (columns of a
            layer that reads the channels).
    """

    name: str
    dim: int
    index: Tensor
    role: Role

    @property
    def entries(self) -> int:
        """Positions along `dim` per channel."""
        return self.index.shape[1]

    @property
    def layer(self) -> str:
        """Name of the module that owns the tensor."""
        return self.name.rpartition(".")[0]

    def positions(self, channels: Tensor) -> Tensor:
        """Positions along `dim` of the given channels, int64 [len(channels) * entries]."""
        return self.index[channels].flatten()

    def to_json(self) -> dict[str, Any]:
        """Plain form; an evenly spaced index is written as its offset and steps."""
        return {"name": self.name, "dim": self.dim, "role": self.role, "index": _pack(self.index)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Slot":
        """Inverse of `to_json`."""
        role = _FORMER_ROLES.get(data["role"], data["role"])
        return cls(name=data["name"], dim=data["dim"], role=role, index=_unpack(data["index"]))


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels that can only be removed together, with every place they touch.

    Attributes:
        id: unique name, that of the first layer that produces the channels.
        width: number of channels.
        slots: all places, none touching another channel of the model.
        protected_reason: why no channel of the group may be removed, or None.
    """

    id: str
    width: int
    slots: tuple[Slot, ...]
    protected_reason: str | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that produce the channels (depthwise ones included), in the model's order."""
        return tuple(dict.fromkeys(slot.layer for slot in self.slots if slot.role in ("producer", "depthwise")))

    @property
    def exact(self) -> bool:
        """False where a norm mixes channels: the slim output differs by nature, so the proof is structural only."""
        return not self.slots_of("cross-channel-norm")

    def slots_of(self, *roles: Role) -> tuple[Slot, ...]:
        """The slots with one of the given roles."""
        return tuple(slot for slot in self.slots if slot.role in roles)

    def without(self, kept: Tensor) -> Tensor:
        """The channels that are not in `kept`, int64, ascending."""
        gone = torch.ones(self.width, dtype=torch.bool)
        gone[kept] = False
        return gone.nonzero().flatten()

    def protect(self, reason: str) -> "ChannelGroup":
        """The same group, protected for `reason`."""
        return replace(self, protected_reason=reason)

    def to_json(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return {
            "id": self.id,
            "width": self.width,
            "protected_reason": self.protected_reason,
            "slots": [slot.to_json() for slot in self.slots],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ChannelGroup":
        """Inverse of `to_json`."""
        return cls(
            id=data["id"],
            width=data["width"],
            slots=tuple(Slot.from_json(slot) for slot in data["slots"]),
            protected_reason=data["protected_reason"],
        )


def free_groups(groups: Iterable[ChannelGroup]) -> tuple[ChannelGroup, ...]:
    """The groups from which channels may be removed."""
    return tuple(group for group in groups if group.protected_reason is None)


def loses_whole_groups(groups: int, width: int) -> bool:
    """Whether a grouped layer with `width` channels a group loses whole groups, or else one channel of each group.

    The finer of the two is taken: a depthwise convolution loses groups, one of two groups loses channels of both.
    """
    return groups >= width


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by name, a tied tensor once under its first name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _pack(index: Tensor) -> dict[str, int] | list[list[int]]:
    width, entries = index.shape
    offset = int(index[0, 0])
    step = int(index[1, 0]) - offset if width > 1 else 1
    stride = int(index[0, 1]) - offset if entries > 1 else 1
    if torch.equal(index, _grid(offset, width, step, entries, stride)):
        return {"offset": offset, "width": width, "step": step, "entries": entries, "stride": stride}
    rows: list[list[int]] = index.tolist()
    return rows


def _unpack(packed: Mapping[str, int] | Sequence[Sequence[int]]) -> Tensor:
    if isinstance(packed, Mapping):
        return _grid(packed["offset"], packed["width"], packed["step"], packed["entries"], packed["stride"])
    return torch.tensor(packed, dtype=torch.int64)


def _grid(offset: int, width: int, step: int, entries: int, stride: int) -> Tensor:
    return offset + step * torch.arange(width)[:, None] + stride * torch.arange(entries)[None, :]
