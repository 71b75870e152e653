"""What is timed, and where."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from slimprune.measure.devices import synchronise
from slimprune.measure.machine import undisturbed_seconds
from slimprune.timing.sampling import Stopwatch


@dataclass(frozen=True, eq=False)
class Subject:
    """A network to be timed.

    Attributes:
        module: Network on any device; it is left unchanged.
        onnx: ONNX file of the same network, for engines that run ONNX files.
    """

    module: nn.Module
    onnx: Path | None = None


@dataclass(frozen=True)
class Place:
    """Device and threads that run a network.

    Attributes:
        device: Device of the inputs and the weights.
        threads: Threads of one operator on the CPU.
    """

    device: torch.device
    threads: int

    @property
    def stopwatch(self) -> Stopwatch:
        """Stopwatch of undisturbed time on the CPU, and of wall-clock time until an accelerator has finished.

        Undisturbed time excludes the time during which other work used the cores.
        """
        if self.device.type == "cpu":
            return Stopwatch(undisturbed_seconds)
        return Stopwatch(synchronise=lambda: synchronise(self.device))
