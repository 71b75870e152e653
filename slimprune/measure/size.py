"""Size of a network: its parameters, the bytes of its weights, and what a file of it shrinks to."""

import sys
from pathlib import Path

from torch import Tensor, nn


def count_params(model: nn.Module) -> int:
    """Return the number of parameters, trainable or not; a tied one counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def weight_bytes(model: nn.Module) -> int:
    """Return the bytes of the parameters and persistent buffers in their current dtypes; a tied one counts once.

    This is the size of a file of the weights without its header.
    """
    state = model.state_dict(keep_vars=True).values()
    tensors = {id(tensor): tensor for tensor in state if isinstance(tensor, Tensor)}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


ZSTD_LEVEL = 9
"""Level of the compression; on networks, higher ones take up to a hundred times as long and save no more."""


def zstd_bytes(file: Path) -> int:
    """Return the bytes that a file takes after compression by Zstandard."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return len(zstd.compress(file.read_bytes(), ZSTD_LEVEL))
