"""Removal of channels from a model: a new module with smaller tensors and matching attributes."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from slimprune.errors import UsageError
from slimprune.graph.copying import copied
from slimprune.graph.groups import ChannelGroup, Integers, loses_whole_groups, named_tensors
from slimprune.graph.narrow_attention import narrow_attention
from slimprune.graph.norms_of_input import norm_of_input
from slimprune.measure import in_steps

Kept = Mapping[str, Tensor]
"""Kept channel indices by group id, int64, ascending; a group that is not listed keeps all channels."""


def keep_channels(model: nn.Module, groups: Iterable[ChannelGroup], kept: Kept) -> nn.Module:
    """Return a new module that has only the kept channels, with the weights of `model` at those channels.

    Args:
        model: The dense model; it is not modified.
        groups: Channel groups of the dense model.
        kept: By group id, the channels to keep.

    Returns:
        A deep copy with smaller tensors; tied tensors stay tied, frozen ones stay frozen.
    """
    result = with_tensors(model, select(named_tensors(model), groups, kept))
    for module in result.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()
    return result


def first_channels(groups: Iterable[ChannelGroup], widths: Integers) -> dict[str, Tensor]:
    """Return the first channels of every group, as many as `widths` [G] says, by group id."""
    return {group.id: torch.arange(width) for group, width in zip(groups, widths.tolist(), strict=True)}


def select(tensors: Mapping[str, Tensor], groups: Iterable[ChannelGroup], kept: Kept) -> dict[str, Tensor]:
    """Return the tensors that the removal touches, each without the positions of removed channels."""
    removed: dict[tuple[str, int], list[Tensor]] = {}
    for group in groups:
        if group.id in kept and len(kept[group.id]) < group.width:
            _check_kept(group, kept[group.id], tensors)
            gone = group.without(kept[group.id])
            for slot in group.slots:
                removed.setdefault((slot.name, slot.dim), []).append(slot.positions(gone))
    selected: dict[str, Tensor] = {}
    for (name, dim), positions in removed.items():
        tensor = selected.get(name, tensors[name]).detach()
        stays = torch.ones(tensor.shape[dim], dtype=torch.bool)
        stays[torch.cat(positions)] = False
        selected[name] = tensor.index_select(dim, stays.nonzero().flatten().to(tensor.device))
    return selected


def _check_kept(group: ChannelGroup, kept: Tensor, tensors: Mapping[str, Tensor]) -> None:
    if int(kept.min()) < 0 or int(kept.max()) >= group.width:
        raise UsageError(f"expected channels of {group.id} in 0 ... {group.width - 1}, got {kept.tolist()[:8]}")
    for slot in group.slots:
        if slot.name not in tensors or int(slot.index.max()) >= tensors[slot.name].shape[slot.dim]:
            raise UsageError(f"expected a plan of this model, got one whose group {group.id} touches {slot.name}")


def with_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return a deep copy of `model` with the named tensors replaced and the modules' attributes adapted."""
    result, dense = with_values(model, tensors), named_tensors(model)
    former = {id(tensor): dense[name].shape for name, tensor in named_tensors(result).items()}
    if all(former[id(tensor)] == tensor.shape for tensor in named_tensors(result).values()):
        return result
    for module in result.modules():
        norm_of_input(module)
        fit_heads(module)
        fit_widths(module, former)
        if any(former.get(id(tensor)) not in (None, tensor.shape) for tensor in _tensors_of(module)):
            fit_attributes(module)
    return result


def _tensors_of(module: nn.Module) -> list[Tensor]:
    """Return the tensors of a module, those from which its parametrized weight is computed included."""
    own = [*module._parameters.values(), *module._buffers.values(), *_originals(module)]
    return [tensor for tensor in own if tensor is not None]


def _originals(module: nn.Module) -> list[Tensor]:
    """Return the tensors from which the weight of a module is computed by torch's parametrizations, old or new."""
    before = module._parameters.get("weight_orig")
    if before is not None:
        return [before]
    parametrizations = module._modules.get("parametrizations")
    weight = parametrizations._modules.get("weight") if parametrizations is not None else None
    return [] if weight is None else list(weight.parameters())


def _weight_shape(layer: nn.Linear | _ConvNd) -> torch.Size:
    """Return the shape of a layer's weight without computing it, which would change the buffers of a spectral norm."""
    originals = _originals(layer)
    return max(originals, key=Tensor.numel).shape if originals else layer.weight.shape


def with_values(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return a deep copy of `model` with only the named tensors replaced; tied tensors stay tied."""
    memo: dict[int, Any] = {}
    for name, old in named_tensors(model).items():
        if name in tensors:
            new = tensors[name]
            memo[id(old)] = nn.Parameter(new, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else new
    return copied(model, memo)


@contextmanager
def narrowed(model: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Let `model` compute with other tensors and matching attributes in the context, without a copy.

    Args:
        model: Any module; it is as before afterwards.
        tensors: Smaller parameters and buffers by name (see `named_tensors`); gradients flow through them.
    """
    given = {id(old): tensors[name] for name, old in named_tensors(model).items() if name in tensors}
    former = {id(tensors[name]): old.shape for name, old in named_tensors(model).items() if name in tensors}
    resized = [module for module in model.modules() if any(id(tensor) in given for tensor in _tensors_of(module))]
    restored: list[Callable[[], None]] = []
    try:
        for module in model.modules():
            # Plain tensors take the place of parameters, so that gradients reach the larger ones.
            registries: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
            for registry in registries:
                for name, old in registry.items():
                    if old is not None and id(old) in given:
                        registry[name] = given[id(old)]
                        restored.append(partial(registry.__setitem__, name, old))
        for module in model.modules():
            restored.append(partial(_restore, module, {}, type(module)))
            norm_of_input(module)
            if {*_HEADS, *_WIDTHS} & vars(module).keys():
                restored.append(partial(_restore, module, dict(vars(module)), type(module)))
                fit_heads(module)
                fit_widths(module, former)
        in_steps(model)
        for module in resized:
            restored.append(partial(_restore, module, dict(vars(module)), type(module)))
            fit_attributes(module)
        yield
    finally:
        for restore in reversed(restored):
            restore()


def _restore(module: nn.Module, attributes: Mapping[str, Any], kind: type) -> None:
    vars(module).update(attributes)
    module.__class__ = kind


def fit_attributes(module: nn.Module) -> None:
    """Set the width attributes of a layer to the shapes of its tensors."""
    for kinds, fit in _FITS:
        if isinstance(module, kinds):
            fit(module)
            return


def fit_heads(module: nn.Module) -> None:
    """Set the number of heads of an attention module to what is left of the rows of its queries.

    Must run before the attributes of the layer of queries are fitted, which say how many rows there were.
    """
    named = next((module._modules[name] for name in _QUERIES if module._modules.get(name) is not None), None)
    layers = [layer for layer in named.modules() if isinstance(layer, nn.Linear | _ConvNd)] if named is not None else []
    if len(layers) != 1:
        return
    (queries,) = layers
    before = _outputs(queries)
    rows = _weight_shape(queries)[0]
    for name in (*_HEADS, *_WIDTHS_OF_HEADS):
        value = vars(module).get(name)
        if rows != before and isinstance(value, int) and value * rows % before == 0:
            setattr(module, name, value * rows // before)


_QUERIES = (
    *(
        "qkv",
        "to_qkv",
        "queries_keys_values",
        "q",
        "query",
        "queries",
        "q_proj",
        "to_q",
        "wq",
        "query_proj",
        "q_linear",
    ),
)
_HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads")
_WIDTHS_OF_HEADS = (*("attn_dim", "key_attn_dim", "val_attn_dim", "all_head_size", "inner_dim", "out_dim_projection"),)
"""Names that attention modules use for the layer of their queries (perhaps inside a block), the number of heads and the
width of all heads."""


def fit_widths(module: nn.Module, former: Mapping[int, torch.Size]) -> None:
    """Set what a module calls its width to that of its tensors and of its layers' outputs, if these agree.

    Must run before the attributes of its layers are fitted, which say how wide they were. Whether the code means this
    width, the proof shows.

    Args:
        module: Any module but a layer of torch, which `fit_attributes` fits.
        former: Shapes that tensors of the module had, by the id of the tensor.
    """
    named = [name for name in _WIDTHS if isinstance(vars(module).get(name), int)]
    if not named or isinstance(module, tuple(kind for kind, _ in _FITS)):
        return
    layers = [layer for layer in module.children() if isinstance(layer, nn.Linear | _ConvNd)]
    changes = {
        (_outputs(layer), _weight_shape(layer)[0]) for layer in layers if not getattr(layer, "transposed", False)
    }
    for tensor in _tensors_of(module):
        changes |= set(zip(former.get(id(tensor), ()), tensor.shape, strict=False))
    for name in named:
        width = vars(module)[name]
        found = {after for before, after in changes if before == width}
        if not found and name in _UNITS:
            found = {after // 4 for before, after in changes if before == 4 * width and after % 4 == 0}
        if len(found) == 1:
            setattr(module, name, found.pop())


_UNITS = ("hidden_dim", "hidden_size", "hidden_channels", "hidden_features")
"""Names of the width of a hidden state, of which the four gates of a cell (LSTM) may come from one layer."""

_WIDTHS = (
    *_UNITS,
    *("embed_dim", "embedding_dim", "emb_dim", "d_model", "dim", "width"),
    *("channels", "num_channels", "n_channels", "num_features", "features", "nf", "groups"),
)
"""Names that modules use for their width."""


def _outputs(layer: nn.Linear | _ConvNd) -> int:
    """Return the outputs that a layer says it has."""
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _fit_conv(conv: _ConvNd) -> None:
    rows, columns = _weight_shape(conv)[:2]
    if loses_whole_groups(conv.groups, max(conv.in_channels, conv.out_channels) // conv.groups):
        conv.groups = rows * conv.groups // (conv.in_channels if conv.transposed else conv.out_channels)
    if conv.transposed:
        conv.in_channels, conv.out_channels = rows, columns * conv.groups
    else:
        conv.in_channels, conv.out_channels = columns * conv.groups, rows


def _fit_linear(linear: nn.Linear) -> None:
    linear.out_features, linear.in_features = _weight_shape(linear)


def _fit_recurrent(layer: nn.RNNBase) -> None:
    tensors: dict[str, Any] = layer._parameters
    rows, layer.input_size = tensors["weight_ih_l0"].shape
    layer.hidden_size = rows // _GATES[layer.mode]
    layer.proj_size = len(tensors["weight_hr_l0"]) if layer.proj_size else 0


def _fit_cell(cell: nn.RNNCellBase) -> None:
    cell.input_size, cell.hidden_size = cell.weight_ih.shape[1], cell.weight_hh.shape[1]


_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
"""Rows of a recurrent layer for each of its units, by its mode."""


def _fit_norm(norm: _NormBase) -> None:
    tensor = norm.weight if norm.affine else norm.running_mean
    if tensor is not None:
        norm.num_features = tensor.shape[0]


def _fit_group_norm(norm: nn.GroupNorm) -> None:
    width = norm.num_channels // norm.num_groups
    norm.num_channels = norm.weight.shape[0]
    if loses_whole_groups(norm.num_groups, width):
        norm.num_groups = norm.num_channels // width


def _fit_embedding(embedding: nn.Embedding) -> None:
    embedding.num_embeddings, embedding.embedding_dim = embedding.weight.shape


def _fit_layer_norm(norm: nn.LayerNorm | nn.RMSNorm) -> None:
    norm.normalized_shape = tuple(norm.weight.shape)


def _fit_prelu(prelu: nn.PReLU) -> None:
    prelu.num_parameters = prelu.weight.shape[0]


_FITS: tuple[tuple[type[nn.Module], Callable[[Any], None]], ...] = (
    (_ConvNd, _fit_conv),
    (nn.Linear, _fit_linear),
    (_NormBase, _fit_norm),
    (nn.LayerNorm, _fit_layer_norm),
    (nn.RMSNorm, _fit_layer_norm),
    (nn.GroupNorm, _fit_group_norm),
    (nn.Embedding, _fit_embedding),
    (nn.PReLU, _fit_prelu),
    (nn.MultiheadAttention, narrow_attention),
    (nn.RNNBase, _fit_recurrent),
    (nn.RNNCellBase, _fit_cell),
)
