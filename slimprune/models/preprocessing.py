"""How images were prepared for the training of pretrained weights."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preprocessing:
    """The images that pretrained weights expect: RGB in [0, 1], resized, then (image - mean) / std per channel.

    Attributes:
        mean: Mean of each channel.
        std: Standard deviation of each channel.
        size: Side of the square images in pixels; None if unknown.
        interpolation: How images are resized: "nearest", "bilinear", "bicubic" or another name of
            `torchvision.transforms.InterpolationMode`; None if unknown.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int | None = None
    interpolation: str | None = None
