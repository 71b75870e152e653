"""An ONNX file in place of a torch model, for tests on a whole test set."""

from pathlib import Path

import torch
from torch import Tensor, nn

from slimprune.errors import VerificationError, kind_and_line
from slimprune.export.normalisation import InputForm
from slimprune.export.onnx_file import metadata_of, read_onnx
from slimprune.export.runtime import RUNTIME_ERRORS, open_session
from slimprune.preprocessing import from_metadata


class OnnxRunner(nn.Module):
    """A module that runs an ONNX file in onnxruntime on the CPU.

    Args:
        path: Path of the file.

    Raises:
        VerificationError: If the file is unreadable or altered.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        proto, data = read_onnx(path)
        stated = from_metadata(metadata_of(proto))
        self.form = InputForm(stated.input, stated.preprocessing)
        self.path, self.session = path, open_session(data, path)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs for normalised inputs [N, ...] on the CPU.

        Raises:
            VerificationError: If onnxruntime cannot run them.
        """
        pixels = self.form.pixels(inputs)
        try:
            outputs = self.session.run(None, {self.session.get_inputs()[0].name: pixels.numpy()})
        except RUNTIME_ERRORS as error:
            raise VerificationError(f"expected {self.path} to run on a batch, got {kind_and_line(error)}") from error
        return torch.from_numpy(outputs[0])
