"""Times of layers as functions of their widths, measured on a grid of widths when needed and interpolated in between.

Kernels process blocks of channels, so a width of 48 can take less time than one of 46. Widths are therefore grouped by
the largest of `ALIGNMENTS` that divides them, and times are interpolated linearly between the widths of one group.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from slimprune.timing.engines import Engine
from slimprune.timing.layers import Layer
from slimprune.timing.sampling import interleaved_times
from slimprune.timing.subject import Place
from slimprune.types import Listener, ignore

ALIGNMENTS = (32, 16, 8, 4, 1)
LINES = (0, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)
"""Fractions of the dense width near which the widths of each group are measured."""

AT_ONCE = 64
"""Number of layers that are timed in turns and held in memory at the same time."""

Times = Mapping[str, float]
Corner = tuple[Layer, float]
"""A measured layer and its weight in the interpolation."""


@dataclass(frozen=True, eq=False)
class LayerClock:
    """Seconds of layers run by one engine, each measured once.

    Attributes:
        engine: Engine that runs the layers.
        place: Device and threads.
        batch: Batch size.
        known: Seconds per batch by description; new measurements are added.
        keep: Called with new measurements as soon as they are made.
        progress: Called with ("layers", layers measured, total layers, "").
    """

    engine: Engine
    place: Place
    batch: int
    known: dict[str, float] = field(default_factory=dict)
    keep: Callable[[Times], None] = lambda times: None
    progress: Listener = ignore

    def seconds(self, layers: Sequence[Layer]) -> list[float]:
        """Return the seconds for one batch of each layer.

        Raises:
            UnsupportedModelError: If the engine cannot run one of them.
        """
        unknown = {layer.description: layer for layer in layers if layer.description not in self.known}
        missing, total = iter(unknown.values()), len(self.known) + len(unknown)
        while batch := list(islice(missing, AT_ONCE)):
            found = {layer.description: time for layer, time in zip(batch, self._measured(batch), strict=True)}
            self.known.update(found)
            self.keep(found)
            self.progress("layers", len(self.known), total, "")
        return [self.known[layer.description] for layer in layers]

    def _measured(self, layers: Sequence[Layer]) -> list[float]:
        folder = TemporaryDirectory() if self.engine.runs_onnx else nullcontext()
        with folder as name, torch.random.fork_rng(devices=[]):
            files = Path(name) if name is not None else None
            calls = [
                self.engine.prepared(layer.subject(files), layer.sample(self.batch), self.place) for layer in layers
            ]
            return interleaved_times(calls, stopwatch=self.place.stopwatch)


@dataclass(frozen=True, eq=False)
class LayerTimes:
    """Times of the layers of one network for any sizes of their weights.

    Attributes:
        layers: Layers at their dense widths, one for each use.
        measure: Function from layers to seconds.
    """

    layers: Sequence[Layer]
    measure: Callable[[Sequence[Layer]], Sequence[float]]
    _found: dict[Layer, float] = field(default_factory=dict)

    def __call__(self, extents: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the seconds of each layer, [L], for these rows and columns of the weights, [L, 2]."""
        wanted = [layer.resized(*extent) for layer, extent in zip(self.layers, extents.tolist(), strict=True)]
        dense = {slim: layer for slim, layer in zip(wanted, self.layers, strict=True) if slim not in self._found}
        corners = {slim: list(_corners(layer, slim)) for slim, layer in dense.items()}
        points = list(dict.fromkeys(layer for group in corners.values() for layer, _ in group))
        seconds = dict(zip(points, self.measure(points), strict=True)) if points else {}
        for slim, group in corners.items():
            self._found[slim] = sum(share * seconds[layer] for layer, share in group)
        return np.array([self._found[slim] for slim in wanted], np.float64)


def _corners(dense: Layer, slim: Layer) -> list[Corner]:
    """Return the measured layers around a slim one, with the weights of linear interpolation."""
    rows, columns = _between(dense.rows, slim.rows), _between(dense.columns, slim.columns)
    return [(dense.resized(row, column), one * other) for (row, one), (column, other) in product(rows, columns)]


def _between(dense: int, width: int) -> list[tuple[int, float]]:
    """Return the measured widths around `width` with their weights, or `width` alone if it is measured."""
    lines = grid_lines(dense, alignment(width))
    below = max(line for line in lines if line <= width)
    if below == width:
        return [(width, 1.0)]
    above = min(line for line in lines if line > width)
    share = (width - below) / (above - below)
    return [(below, 1 - share), (above, share)]


def alignment(width: int) -> int:
    """Return the largest of `ALIGNMENTS` that divides a width."""
    return next(step for step in ALIGNMENTS if width % step == 0)


def grid_lines(dense: int, step: int) -> list[int]:
    """Return the measured widths up to `dense` whose alignment is `step`, including the smallest and the largest.

    Examples:
        >>> grid_lines(64, 32), grid_lines(64, 8), grid_lines(10, 1)
        ([32, 64], [8, 24, 40, 56], [1, 2, 3, 5, 7, 10])
    """
    widths = [width for width in range(step, dense + 1, step) if alignment(width) == step]
    return sorted({min(widths, key=lambda width: (abs(width - share * dense), -width)) for share in LINES})
