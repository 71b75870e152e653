"""Whether autocast to bfloat16 makes training faster on a device, measured once per machine."""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from slimprune.files import cache_folder, write_atomically
from slimprune.measure import device_name
from slimprune.timing.sampling import interleaved_times
from slimprune.timing.subject import Place

BATCH, CHANNELS, SIDE, CLASSES = 32, (3, 32, 64, 64), 32, 10
"""Images of the measured training step, channels of its convolutions, pixels of a side, and classes."""

WORTH = 0.9
"""Largest ratio of the times at which autocast is used; rounding to bfloat16 should not be for nothing."""


@dataclass(frozen=True)
class AutocastTimes:
    """Seconds of one training step of a small convolutional network.

    Attributes:
        float32: Seconds in float32.
        bfloat16: Seconds under autocast to bfloat16.
    """

    float32: float
    bfloat16: float

    @property
    def pays(self) -> bool:
        """Whether autocast is clearly faster."""
        return self.bfloat16 <= WORTH * self.float32

    def __str__(self) -> str:
        """Describe what was chosen and why."""
        ratio = self.float32 / self.bfloat16
        speed = f"{ratio:.1f} times faster" if ratio >= 1 else f"{1 / ratio:.1f} times slower"
        return (
            f"amp auto is {'on' if self.pays else 'off'}: in bfloat16 a training step of convolutions is {speed} here"
        )


def autocast_times(device: torch.device) -> AutocastTimes:
    """Return the times of a training step, from the user's cache folder if they were measured there before.

    The file is next to those of latency budgets, one for each device, number of threads and version of torch.
    """
    place = Place(device, torch.get_num_threads())
    about = {"device": device_name(device), "threads": place.threads, "torch": torch.__version__}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    file = cache_folder() / "latency" / f"autocast-{digest}.json"
    try:
        plain = json.loads(file.read_text())["seconds"]
        known = AutocastTimes(float(plain["float32"]), float(plain["bfloat16"]))
        if 0 < known.float32 < float("inf") and 0 < known.bfloat16 < float("inf"):
            return known
    except (OSError, ValueError, KeyError, TypeError):
        pass  # missing or damaged, so measured again
    found = _measured(place)
    seconds = {"float32": found.float32, "bfloat16": found.bfloat16}
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps({"deployment": about, "seconds": seconds}, indent=1) + "\n")
    return found


def _measured(place: Place) -> AutocastTimes:
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        step = _training_step(place.device)
        calls = [partial(step, False), partial(step, True)]
        return AutocastTimes(*interleaved_times(calls, stopwatch=place.stopwatch))


def _training_step(device: torch.device) -> Callable[[bool], Tensor]:
    """Return a function that computes one loss and its gradients, with or without autocast."""
    layers: list[nn.Module] = []
    for channels_in, channels_out in pairwise(CHANNELS):
        layers += [nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.BatchNorm2d(channels_out), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS[-1], CLASSES))
    network = network.to(device).to(memory_format=torch.channels_last)
    images = torch.randn(BATCH, CHANNELS[0], SIDE, SIDE, device=device).to(memory_format=torch.channels_last)
    labels = torch.arange(BATCH, device=device) % CLASSES

    def step(lowered: bool) -> Tensor:
        network.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=lowered):
            loss = cross_entropy(network(images), labels)
        loss.backward()
        return loss

    return step
