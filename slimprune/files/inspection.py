"""The document of `inspect`: the channel groups of a model, the cost of each, and the flow of data."""

from typing import Literal

from typing_extensions import TypedDict


class ParamsAndMacs(TypedDict):
    """Parameters and MACs that would be removed."""

    params: int
    macs: int


class InspectedModel(TypedDict):
    """The model as a whole; `inputs` are the shapes of one sample.

    `removable` is what is gone where every group that may be narrowed has a single channel left.
    """

    name: str
    inputs: list[list[int]]
    params: int
    macs: int
    channels: int
    groups: int
    removable_groups: int
    removable: ParamsAndMacs


class AtStake(TypedDict):
    """What removing one channel of a group saves, and what removing all but one saves."""

    one_channel: ParamsAndMacs
    all_but_one: ParamsAndMacs


class InspectedSlot(TypedDict):
    """One place where a group affects a tensor; see `graph.Slot`."""

    tensor: str
    layer: str
    type: str
    role: str
    dim: int
    entries: int
    shape: list[int]


class InspectedGroup(TypedDict):
    """A channel group; see `graph.ChannelGroup`."""

    id: str
    width: int
    protected_reason: str | None
    exact: bool
    layers: list[str]
    at_stake: AtStake
    slots: list[InspectedSlot]


class HeldBack(TypedDict):
    """A group that stays whole: what all but one of its channels cost, and what to change in the model to free it."""

    group: str
    params: int
    macs: int
    reason: str
    change: str


class UntouchedParameter(TypedDict):
    """A parameter that no group affects."""

    parameter: str
    shape: list[int]


class FlowNode(TypedDict):
    """A layer or an operator."""

    kind: str
    name: str
    type: str
    tensors: list[str]


class Flow(TypedDict):
    """Layers and operators, and edges between them as pairs of node numbers."""

    nodes: list[FlowNode]
    edges: list[list[int]]


class InspectionDocument(TypedDict):
    """The document that `Inspection.to_json` returns; `held_back` has the three costliest groups to free."""

    schema_version: Literal[1]
    model: InspectedModel
    groups: list[InspectedGroup]
    held_back: list[HeldBack]
    untouched: list[UntouchedParameter]
    flow: Flow
