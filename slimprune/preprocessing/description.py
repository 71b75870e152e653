"""The description of how images become the input of a network."""

from collections.abc import Mapping
from dataclasses import dataclass

from slimprune.errors import UsageError

INTERPOLATIONS: Mapping[str, int] = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}
"""Interpolations by name, with the numbers that Pillow and Hugging Face's files have for them."""

_CHANNEL_ORDERS = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the input of a network.

    It is resized until it covers `height` x `width`, its centre is cropped to that size, and its pixels x in 0..1
    become (x - mean) / std.

    Attributes:
        mean: Mean per channel, in 0..1.
        std: Standard deviation per channel, in 0..1.
        height: Height of the input in pixels.
        width: Width of the input in pixels.
        interpolation: A name of `INTERPOLATIONS`, of the resizing.
        class_names: One name per class, for masks that of the object; empty if they are unknown.

    Raises:
        UsageError: If a value is out of its range, or mean and std differ in length.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    height: int
    width: int
    interpolation: str = "bilinear"
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_normalisation(self.mean, self.std, len(self.mean))
        if self.height < 1 or self.width < 1:
            raise UsageError(f"expected height and width of at least 1, got {self.height}x{self.width}")
        if self.interpolation not in INTERPOLATIONS:
            raise UsageError(f"expected an interpolation ({', '.join(INTERPOLATIONS)}), got {self.interpolation!r}")

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.mean)

    @property
    def channel_order(self) -> str | None:
        """`RGB` for three channels, `L` (grey) for one; None for others, which no image file holds."""
        return _CHANNEL_ORDERS.get(self.channels)


def check_normalisation(mean: tuple[float, ...], std: tuple[float, ...], channels: int) -> None:
    """Check the mean and standard deviation of pixels in 0..1.

    Raises:
        UsageError: If there is not one of each per channel, a mean is outside [0, 1], or a std is outside (0, 1].
    """
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != channels or not values:
            raise UsageError(f"expected {max(channels, 1)} numbers of {name}, one per channel, got {len(values)}")
    if not all(0 <= value <= 1 for value in mean):
        raise UsageError(f"expected a mean in [0, 1] per channel, of pixels in 0..1, got {_listed(mean)}")
    if not all(0 < value <= 1 for value in std):
        raise UsageError(f"expected a std in (0, 1] per channel, of pixels in 0..1, got {_listed(std)}")


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
