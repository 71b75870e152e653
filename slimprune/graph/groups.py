"""Channel groups: which entries of which parameters and buffers are removed together."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator
from torch import Tensor, nn
from typing_extensions import TypedDict

from slimprune.files import as_json

Integers = NDArray[np.int64]
"""Widths, sizes or positions."""

Role = Literal["producer", "norm", "cross-channel-norm", "depthwise", "scale", "consumer"]


MOST_POSITIONS = 2**22
"""Most positions of a group's channels along a dimension of a tensor that are read from a file."""


class EvenIndex(TypedDict):
    """Short form of an evenly spaced index: offset + step * channel + stride * entry."""

    offset: int
    width: int
    step: int
    entries: int
    stride: int


def _pack(index: Tensor) -> EvenIndex | list[list[int]]:
    width, entries = index.shape
    offset = int(index[0, 0])
    step = int(index[1, 0]) - offset if width > 1 else 1
    stride = int(index[0, 1]) - offset if entries > 1 else 1
    grid: EvenIndex = {"offset": offset, "width": width, "step": step, "entries": entries, "stride": stride}
    if torch.equal(index, _unpack(grid)):
        return grid
    rows: list[list[int]] = index.tolist()
    return rows


def _unpack(packed: EvenIndex | list[list[int]]) -> Tensor:
    if isinstance(packed, list):
        return torch.tensor(packed, dtype=torch.int64)
    if not 0 < packed["width"] * packed["entries"] <= MOST_POSITIONS or packed["width"] < 1:
        raise ValueError(f"Input should be at most {MOST_POSITIONS:,} positions")
    channels, entries = torch.arange(packed["width"])[:, None], torch.arange(packed["entries"])[None, :]
    return packed["offset"] + packed["step"] * channels + packed["stride"] * entries


def _former_role(role: object) -> object:
    """Return the current name of a role from a plan of an earlier version."""
    return "cross-channel-norm" if role == "mixing" else role


@dataclass(frozen=True, eq=False)
class Slot:
    """One place where a group touches one parameter or buffer.

    Attributes:
        name: Qualified name of the tensor in the model.
        dim: Dimension of the tensor that holds the channels.
        index: Int64 [width, entries]; row j lists the positions along `dim` that belong to channel j.
            A convolution has one entry per channel, a linear layer after a flatten has height * width.
        role: `producer` (rows and bias of the layer that produces the channels), `norm` (affine pair and running
            statistics), `cross-channel-norm` (affine pair of a norm over several channels), `depthwise` (filters of a
            convolution that loses whole groups), `scale` (other per-channel parameters) or `consumer` (columns of a
            layer that reads the channels).
    """

    name: str
    dim: int
    index: Annotated[Tensor, as_json(EvenIndex | list[list[int]], _unpack, _pack)]
    role: Annotated[Role, BeforeValidator(_former_role)]

    @property
    def entries(self) -> int:
        """Number of positions along `dim` per channel."""
        return self.index.shape[1]

    @property
    def layer(self) -> str:
        """Name of the module that owns the tensor."""
        return self.name.rpartition(".")[0]

    def positions(self, channels: Tensor) -> Tensor:
        """Return the positions along `dim` of the given channels, int64 [len(channels) * entries]."""
        return self.index[channels].flatten()


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels that can only be removed together, with every place they touch.

    Attributes:
        id: Unique name, taken from the first layer that produces the channels.
        width: Number of channels.
        slots: All places of these channels; they contain no other channel of the model.
        protected_reason: Why no channel of the group may be removed, or None.
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
        """False if a norm mixes channels: the slim output then has to differ, and the proof is structural only."""
        return not self.slots_of("cross-channel-norm")

    def slots_of(self, *roles: Role) -> tuple[Slot, ...]:
        """Return the slots with one of the given roles."""
        return tuple(slot for slot in self.slots if slot.role in roles)

    def without(self, kept: Tensor) -> Tensor:
        """Return the channels that are not in `kept`, int64, ascending."""
        gone = torch.ones(self.width, dtype=torch.bool)
        gone[kept] = False
        return gone.nonzero().flatten()

    def protect(self, reason: str) -> "ChannelGroup":
        """Return the same group, protected for `reason`."""
        return replace(self, protected_reason=reason)


def free_groups(groups: Iterable[ChannelGroup]) -> tuple[ChannelGroup, ...]:
    """Return the groups from which channels may be removed."""
    return tuple(group for group in groups if group.protected_reason is None)


def loses_whole_groups(groups: int, width: int) -> bool:
    """Return whether a grouped layer with `width` channels per group loses whole groups, not channels of each group.

    The finer option is chosen: a depthwise convolution loses groups; a convolution with two groups loses channels of
    both.
    """
    return groups >= width


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers by name; a tied tensor appears once, under its first name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
