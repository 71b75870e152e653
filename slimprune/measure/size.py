"""Size of a network: its parameters and the bytes of its weights."""

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
