"""Models that give several outputs by name, brought to one tensor."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

MAIN = "out"
"""The name of the output that counts, as in torchvision's segmentation models."""


class MainOutput(nn.Module):
    """A model whose output is a mapping with the tensor "out", giving that tensor; further ones, such as "aux", go.

    Args:
        model: The model; its layers are called `model.NAME` here.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Any) -> Tensor:
        """What the model gives under "out"."""
        output: Tensor = self.model(inputs)[MAIN]
        return output


def has_main_output(output: object) -> bool:
    """Whether a model's output is a mapping with the tensor "out"."""
    return isinstance(output, Mapping) and isinstance(output.get(MAIN), Tensor)
