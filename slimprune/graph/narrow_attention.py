"""torch's attention with fewer heads than its embedding asks for, which torch's own code cannot compute."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NarrowAttention(nn.MultiheadAttention):
    """Attention with the parameters of `nn.MultiheadAttention`, whose heads are as many as its weights have.

    torch takes the width of a head to be that of the embedding divided by the number of heads. Here a head keeps its
    width, `head_dim`, whatever is removed: each of `num_heads` heads computes softmax(q k^T / sqrt(head_dim)) v. Names
    of parameters, arguments and outputs are those of torch; `bias_k` and `add_zero_attn` are not known.
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the attended values, and the weights [N, L, S] or [N, heads, L, S] if asked for; see torch's class."""
        single = query.ndim == 2
        if single:
            query, key, value = (tensor.unsqueeze(0) for tensor in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (tensor.transpose(0, 1) for tensor in (query, key, value))
        queries, keys, values = self._in_heads(query, key, value)
        mask = self._mask(queries, attn_mask, key_padding_mask)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            products = queries @ keys.transpose(-2, -1) * self.head_dim**-0.5
            weights = torch.softmax(products if mask is None else products + mask, -1)
            weights = F.dropout(weights, dropout)
            read = weights @ values
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            read = F.scaled_dot_product_attention(queries, keys, values, mask, dropout)
        out = self.out_proj(read.transpose(1, 2).flatten(2))
        if single:
            return out.squeeze(0), None if weights is None else weights.squeeze(0)
        return out if self.batch_first else out.transpose(0, 1), weights

    def _in_heads(self, *inputs: Tensor) -> list[Tensor]:
        """Return queries, keys and values [N, heads, length, head_dim]."""
        matrices: Any = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        if self.in_proj_weight is not None:
            matrices = self.in_proj_weight.chunk(3)
        biases = (None, None, None) if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        products = (F.linear(*three) for three in zip(inputs, matrices, biases, strict=True))
        return [product.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for product in products]

    def _mask(self, queries: Tensor, attention: Tensor | None, padding: Tensor | None) -> Tensor | None:
        """Return the sum of both masks, which broadcasts to [N, heads, L, S]; true positions are left out."""
        masks = []
        if attention is not None:
            # A mask for every head is [N * heads, L, S].
            masks.append(attention.unflatten(0, (len(queries), -1)) if attention.ndim > 2 else attention)
        if padding is not None:
            masks.append(padding[:, None, None, :])
        added = [
            queries.new_zeros(mask.shape).masked_fill(mask, float("-inf")) if mask.dtype == torch.bool else mask
            for mask in masks
        ]
        return sum(added[1:], added[0]) if added else None


def narrow_attention(attention: nn.MultiheadAttention) -> None:
    """Make a layer of torch compute what its tensors say: numbers and widths are set, and its class is changed.

    A layer of another class, or with entries that belong to no input, is left as it is.
    """
    if type(attention) not in (nn.MultiheadAttention, NarrowAttention):
        return
    if attention.bias_k is not None or attention.add_zero_attn:
        return
    packed = attention.in_proj_weight
    queries, keys, values = (
        (packed,) * 3
        if packed is not None
        else (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
    )
    rows = queries.shape[0] // (1 if packed is None else 3)
    attention.num_heads = rows // attention.head_dim
    attention.embed_dim, attention.kdim, attention.vdim = queries.shape[1], keys.shape[1], values.shape[1]
    # torch's fused layers read this attribute and would compute by their own code.
    attention._qkv_same_embed_dim = False
    attention.__class__ = NarrowAttention
