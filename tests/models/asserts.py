"""What every built model must satisfy."""

import torch
from torch import Tensor, nn

from slimprune.models import InputSpec


def parameter_count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def assert_maps(model: nn.Module, inputs: InputSpec, *output: int) -> Tensor:
    """The model maps two images of `inputs` to [2, *output] in evaluation mode, and all values are finite."""
    images = torch.randn(2, inputs.channels, inputs.height, inputs.width)
    with torch.no_grad():
        outputs = model.eval()(images)
    assert outputs.shape == (2, *output)
    assert outputs.isfinite().all()
    return outputs


def assert_exports_with_any_batch(model: nn.Module, inputs: InputSpec) -> None:
    """The program that torch.export makes from two images gives the model's outputs for five."""
    images = torch.randn(5, inputs.channels, inputs.height, inputs.width)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model.eval(), (images[:2],), dynamic_shapes=({0: batch},))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(images), model(images))
