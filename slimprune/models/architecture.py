"""Types that describe architectures and the inputs they are built for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from slimprune.errors import UsageError
from slimprune.models.preprocessing import Preprocessing
from slimprune.types import TaskName

CLASSIFICATION: TaskName = "classification"
SEGMENTATION: TaskName = "segmentation"
DETECTION: TaskName = "detection"

MOST, MOST_NUMBERS = 2**20, 2**26
"""Most of each number of an `InputSpec`, and most numbers of one image."""

SMALL_INPUT = 64
"""Longest image side, in pixels, for which the CIFAR form of an architecture is built."""


@dataclass(frozen=True)
class InputSpec:
    """Input images and number of outputs that a model is built for.

    Attributes:
        channels: Channels of an input image.
        height: Image height in pixels.
        width: Image width in pixels.
        classes: Number of logits per image; output channels per pixel for segmentation.

    Raises:
        UsageError: If one of the numbers is below 1 or beyond what any memory holds.
    """

    channels: int
    height: int
    width: int
    classes: int

    def __post_init__(self) -> None:
        if min(self.channels, self.height, self.width, self.classes) < 1:
            raise UsageError(f"expected channels, height, width and classes of at least 1, got {self}")
        numbers = self.channels * self.height * self.width
        if max(self.channels, self.height, self.width, self.classes) > MOST or numbers > MOST_NUMBERS:
            limits = f"{MOST:,} channels, pixels a side and classes, and {MOST_NUMBERS:,} numbers per image"
            raise UsageError(f"expected at most {limits}, got {self}")

    @property
    def small(self) -> bool:
        """Whether both sides have at most `SMALL_INPUT` pixels."""
        return max(self.height, self.width) <= SMALL_INPUT


@dataclass(frozen=True)
class Architecture:
    """Named architecture, listed by `slimprune list archs`.

    Attributes:
        name: Name that `build` accepts.
        task: "classification", "segmentation" or "detection"; None if it is unknown until the architecture is built.
        description: One line for users.
    """

    name: str
    task: TaskName | None
    description: str


@dataclass(frozen=True)
class Family:
    """Architectures that are built by one function.

    Attributes:
        architectures: Members of the family.
        build: Function of a member's name, the text of its options ("" if there are none) and the input; returns a
            model with freshly initialised weights.
        preprocessing: Function of a member's name and the text of its options; returns how images are prepared for its
            pretrained weights, or None if it has none.
        pretrained: Function as `build` that returns pretrained weights by the names of the model's tensors, with a head
            of as many outputs as they were trained for; None if the family has none.
        configuration: Function of a member's name and the text of its options; returns the file that `build` reads,
            which may be given in place of these options. None if it reads none.
    """

    architectures: tuple[Architecture, ...]
    build: Callable[[str, str, InputSpec], nn.Module]
    preprocessing: Callable[[str, str], Preprocessing | None] = lambda name, options: None
    pretrained: Callable[[str, str, InputSpec], Mapping[str, Tensor]] | None = None
    configuration: Callable[[str, str], Path] | None = None


def refuse_options(name: str, options: str) -> None:
    """Check that an architecture without options was given none.

    Raises:
        UsageError: If `options` is not empty.
    """
    if options:
        raise UsageError(f"expected no options for {name!r}, got {options!r}")
