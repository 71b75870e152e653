"""Plain types: what a model is built for, and what an architecture is called."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from slimprune.errors import UsageError
from slimprune.types import Task

CLASSIFICATION: Task = "classification"
SEGMENTATION: Task = "segmentation"

SMALL_INPUT = 64
"""Longest image side, in pixels, up to which the CIFAR form of an architecture is built."""


@dataclass(frozen=True)
class InputSpec:
    """What a model is built for: its input images and the number of its outputs.

    Attributes:
        channels: Channels of an input image.
        height: Image height in pixels.
        width: Image width in pixels.
        classes: Number of logits per image; output channels per pixel for segmentation.

    Raises:
        UsageError: If one of the numbers is below 1.
    """

    channels: int
    height: int
    width: int
    classes: int

    def __post_init__(self) -> None:
        if min(self.channels, self.height, self.width, self.classes) < 1:
            raise UsageError(f"expected channels, height, width and classes of at least 1, got {self}")

    @property
    def small(self) -> bool:
        """Whether both sides have at most `SMALL_INPUT` pixels."""
        return max(self.height, self.width) <= SMALL_INPUT


@dataclass(frozen=True)
class Architecture:
    """One named architecture as `slimprune list archs` shows it.

    Attributes:
        name: The name that `build` takes.
        task: "classification" or "segmentation"; None where it is not known before the architecture is built.
        description: One line for people.
    """

    name: str
    task: Task | None
    description: str


@dataclass(frozen=True)
class Family:
    """Architectures that one function builds.

    Attributes:
        architectures: The family's members.
        build: Takes a member's name, the text of its options ("" without) and the input; returns fresh weights.
    """

    architectures: tuple[Architecture, ...]
    build: Callable[[str, str, InputSpec], nn.Module]


def refuse_options(name: str, options: str) -> None:
    """Stop where an architecture without options is given some.

    Raises:
        UsageError: If `options` is not empty.
    """
    if options:
        raise UsageError(f"expected no options for {name!r}, got {options!r}")
