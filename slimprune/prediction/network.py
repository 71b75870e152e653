"""An exported network in onnxruntime, with what its file states about its input."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from slimprune.errors import UsageError, VerificationError, first_line
from slimprune.onnx_sessions import FATAL, session_options
from slimprune.preprocessing import Preprocessing, Stated, from_metadata

Array = np.ndarray[Any, np.dtype[Any]]

PREFIX = "slimprune."
FULL_SCALE = 255


@dataclass(frozen=True, eq=False)
class Network:
    """An ONNX file that is ready to run.

    Attributes:
        path: The file.
        session: Session of it.
        stated: What it takes, step of its free sizes.
        preprocessing: How an image becomes its input.
        channel_order: `RGB` or `L`.
    """

    path: Path
    session: onnxruntime.InferenceSession
    stated: Stated
    preprocessing: Preprocessing
    channel_order: str

    @cached_property
    def has_free_size(self) -> bool:
        """Whether height and width of its input are free."""
        return not any(isinstance(side, int) for side in self.session.get_inputs()[0].shape[2:])

    def __call__(self, pixels: Array) -> Array:
        """Return the output [K, ...] for the pixels of one image, uint8 [C, H, W].

        Raises:
            VerificationError: If the network cannot be run on them.
        """
        name = self.session.get_inputs()[0].name
        try:
            outputs = self.session.run(None, {name: self._input(pixels)[None]})
        except Exception as error:  # onnxruntime's errors have no common base class
            raise VerificationError(f"expected {self.path} to run on an image, got {first_line(error)}") from error
        output: Array = np.asarray(outputs[0])[0]
        return output.astype(np.float64)

    def _input(self, pixels: Array) -> Array:
        if self.stated.input == "uint8":
            return pixels
        unit = pixels.astype(np.float32) / FULL_SCALE
        if self.stated.input == "unit":
            return unit
        how = self.preprocessing
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (how.mean, how.std))
        normalised: Array = (unit - mean) / std
        return normalised


def open_network(path: Path) -> Network:
    """Open an ONNX file of slimprune.

    Raises:
        UsageError: If there is no such file.
        VerificationError: If it is not valid ONNX, or does not state how images become its input.
    """
    if not path.is_file():
        raise UsageError(f"expected an ONNX file, got {path}")
    options = session_options(severity=FATAL)
    try:
        # From bytes, weights in other files are not found, wherever the file says that they are.
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        entries = session.get_modelmeta().custom_metadata_map
    except Exception as error:  # onnxruntime's errors have no common base class
        raise VerificationError(f"expected a readable ONNX file {path}, got {first_line(error)}") from error
    stated = from_metadata({key.removeprefix(PREFIX): entries[key] for key in entries if key.startswith(PREFIX)})
    how = stated.preprocessing
    if how is None:
        raise VerificationError(
            f"expected {path} to state how images become its input (slimprune.mean, ...), got none: compress writes it "
            "for named data, and for own batches beside mean and std"
        )
    if how.channel_order is None:
        raise VerificationError(f"expected {path} to take images with 1 or 3 channels, got {how.channels}")
    return Network(path, session, stated, how, how.channel_order)
