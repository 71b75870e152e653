"""How large a network is at rest."""

from torch import Tensor, nn


def count_params(model: nn.Module) -> int:
    """Number of parameters, trainable or not; a tied one counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def weight_bytes(model: nn.Module) -> int:
    """Bytes of the parameters and persistent buffers in their present dtypes; a tied one counts once.

    This is what a file of the weights holds, its header aside.
    """
    state = model.state_dict(keep_vars=True).values()
    tensors = {id(tensor): tensor for tensor in state if isinstance(tensor, Tensor)}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
