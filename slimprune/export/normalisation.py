"""The normalisation in front of a network, as part of its ONNX file."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from slimprune.errors import UsageError
from slimprune.preprocessing import Preprocessing, Stated
from slimprune.types import InputKind

FULL_SCALE = 255


class Normalized(nn.Module):
    """A network whose inputs are pixels: it computes network((x - mean) / std), for bytes with x / 255 in place of x.

    Args:
        module: The network, which is not copied.
        preprocessing: Mean and standard deviation per channel.
        input_kind: `unit` for pixels in 0..1, `uint8` for bytes.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, module: nn.Module, preprocessing: Preprocessing, input_kind: InputKind) -> None:
        super().__init__()
        self.module, self.scale = module, FULL_SCALE if input_kind == "uint8" else None
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(preprocessing, name)).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the network's output for pixels [N, C, H, W]."""
        unit = pixels if self.scale is None else pixels.float() / self.scale
        return cast(Tensor, self.module((unit - self.mean) / self.std))


@dataclass(frozen=True)
class InputForm:
    """What a file takes in place of the normalised inputs of a network.

    Attributes:
        kind: Kind of the input.
        preprocessing: Mean and standard deviation; None if they are unknown, which only suits `normalized`.

    Raises:
        UsageError: If the kind is not `normalized` and the preprocessing is unknown.
    """

    kind: InputKind = "normalized"
    preprocessing: Preprocessing | None = None

    def __post_init__(self) -> None:
        if self.kind != "normalized" and self.preprocessing is None:
            raise UsageError(f"expected a preprocessing (mean and std) beside input {self.kind}, got none")

    @classmethod
    def of(cls, preprocessing: Preprocessing | None, input_kind: InputKind | None) -> "InputForm":
        """Return the form of that kind; by default `unit` if the preprocessing is known, otherwise `normalized`."""
        return cls(input_kind or ("unit" if preprocessing else "normalized"), preprocessing)

    def stated(self, size_step: int | None = None) -> Stated:
        """Return what a file of this form states about its input."""
        return Stated(self.kind, self.preprocessing, size_step)

    def wrapped(self, module: nn.Module) -> nn.Module:
        """Return the network with its normalisation in front, as far as it is part of the file."""
        if self.kind == "normalized" or self.preprocessing is None:
            return module
        return Normalized(module, self.preprocessing, self.kind).eval()

    def pixels(self, normalised: Tensor) -> Tensor:
        """Return the inputs of the file from normalised ones [N, C, H, W]; bytes are rounded."""
        if self.kind == "normalized" or self.preprocessing is None:
            return normalised
        mean, std = self._constants(self.preprocessing)
        unit = normalised * std + mean
        return (FULL_SCALE * unit).round().clamp(0, FULL_SCALE).to(torch.uint8) if self.kind == "uint8" else unit

    def normalised(self, pixels: Tensor) -> Tensor:
        """Return the normalised inputs of the network from inputs of the file; the inverse of `pixels`."""
        if self.kind == "normalized" or self.preprocessing is None:
            return pixels
        mean, std = self._constants(self.preprocessing)
        return ((pixels / FULL_SCALE if self.kind == "uint8" else pixels) - mean) / std

    def check(self, samples: Tensor) -> None:
        """Check that samples can be normalised.

        Raises:
            UsageError: If they are not images with as many channels as the preprocessing has.
        """
        how = self.preprocessing
        if how is not None and (samples.ndim != 4 or samples.shape[1] != how.channels):
            found = f"expected inputs [N, {how.channels}, H, W] beside {how.channels} numbers of mean and std"
            raise UsageError(f"{found}, got {list(samples.shape)}")

    @staticmethod
    def _constants(how: Preprocessing) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (how.mean, how.std))
        return mean, std
