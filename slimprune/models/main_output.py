"""Conversion of models with several named outputs to models with one output tensor."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

MAIN = "out"
"""Name of the main output, as in torchvision's segmentation models."""

LOGITS = "logits"
"""Name of the main output of Hugging Face's models."""


class MainOutput(nn.Module):
    """Wrapper that returns the tensor "out" of a model's output mapping and drops other outputs, such as "aux".

    Args:
        model: The model; its layers are named `model.NAME` in the wrapper.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Any) -> Tensor:
        """Return the model's output "out"."""
        output: Tensor = self.model(inputs)[MAIN]
        return output


def has_main_output(output: object) -> bool:
    """Return whether a model's output is a mapping with the tensor "out"."""
    return isinstance(output, Mapping) and isinstance(output.get(MAIN), Tensor)


def main_output(output: object) -> object:
    """Return the tensor "out" or "logits" of an output that is a mapping with one of them, otherwise the output."""
    if isinstance(output, Mapping):
        return next((output[name] for name in (MAIN, LOGITS) if isinstance(output.get(name), Tensor)), output)
    return output
