"""Normalisation layers: gains, offsets and statistics follow the channels of the input."""

from torch import Tensor, nn

from slimprune.graph.channel_ids import tied
from slimprune.graph.groups import Role, loses_whole_groups
from slimprune.graph.propagation import Flow, OperatorCall
from slimprune.graph.rules.elementwise import combine


def batch_norm(flow: Flow, call: OperatorCall) -> None:
    """Follow a batch norm: each channel is normalised independently, and a silenced one stays silent in either mode."""
    ids = flow.ids(call["input"])
    channels = tied(flow.channel_ids, ids, 1)
    for name in ("weight", "bias", "running_mean", "running_var"):
        _follow(flow, call, call[name], channels, "norm")
    flow.set_ids(call.out[0], ids)


def layer_norm(flow: Flow, call: OperatorCall) -> None:
    """Follow a layer norm, whose statistics depend on all channels: gain and offset become `cross-channel-norm`."""
    values = call["input"]
    ids = flow.ids(values)
    for name in ("weight", "bias"):
        if call[name] is not None:
            ids = combine(flow, values, ids, call[name], call.where, annihilates=True, role="cross-channel-norm")
    flow.set_ids(call.out[0], ids)


def group_norm(flow: Flow, call: OperatorCall) -> None:
    """Follow a group norm, which loses whole groups or one channel of each, whichever is finer.

    A group norm without a gain that would lose whole groups blocks its channels if it is no layer of torch, because no
    tensor tells how many are left.
    """
    values, groups = call["input"], call["group"]
    whole = loses_whole_groups(groups, values.shape[1] // groups)
    if whole and call["weight"] is None and type(flow.layers.get(call.layer)) is not nn.GroupNorm:
        flow.block(call, [values], f"{call.where} has no gain and offset")
        return
    ids = flow.ids(values)
    channels = tied(flow.channel_ids, ids, 1)
    units = channels.view(groups, -1)
    flow.channel_ids.unite(units, units[:, :1] if whole else units[:1])
    for name in ("weight", "bias"):
        _follow(flow, call, call[name], channels, "norm" if whole else "cross-channel-norm")
    flow.set_ids(call.out[0], ids)


def _follow(flow: Flow, call: OperatorCall, tensor: Tensor | None, channels: Tensor, role: Role) -> None:
    """Unite position i of a vector with channel i."""
    if tensor is None or not flow.carries(tensor):
        return
    places = flow.places(tensor, 0, role)
    if places is None:
        flow.channel_ids.protect(channels, f"a tensor of {call.layer} is computed from others")
    else:
        flow.channel_ids.unite(places, channels)
