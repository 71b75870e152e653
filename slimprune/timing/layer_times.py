"""Times of layers over their widths: measured on a grid of widths where they are needed, and interpolated between.

Kernels work on blocks of channels, so that a width of 48 can take less time than one of 46. Widths are therefore told
apart by the largest of `ALIGNMENTS` that divides them, and between the widths of one kind the times are taken for
linear.
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

from slimprune.timing.engines import Engine, Place
from slimprune.timing.layers import Layer
from slimprune.timing.sampling import interleaved_times
from slimprune.types import Listener, ignore

ALIGNMENTS = (32, 16, 8, 4, 1)
LINES = (0, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)
"""Shares of the dense width near which the widths of each kind are measured."""

AT_ONCE = 64
"""Layers that are timed in turns; so many are in memory at once."""

Times = Mapping[str, float]
Corner = tuple[Layer, float]
"""A layer that is measured, and its share in what is interpolated."""


@dataclass(frozen=True, eq=False)
class LayerClock:
    """Seconds of layers as one engine runs them, each measured once.

    Attributes:
        engine: what runs them.
        place: where.
        batch: samples at once.
        known: description -> seconds for the batch; what is measured is added.
        keep: called with what was measured, as soon as it was.
        progress: hears ("layers", layers measured, in all, "").
    """

    engine: Engine
    place: Place
    batch: int
    known: dict[str, float] = field(default_factory=dict)
    keep: Callable[[Times], None] = lambda times: None
    progress: Listener = ignore

    def seconds(self, layers: Sequence[Layer]) -> list[float]:
        """Seconds of one batch of each layer.

        Raises:
            UnsupportedModelError: the engine cannot run one of them.
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
    """Times of the layers of one network at any widths of their weights.

    Attributes:
        layers: at their dense widths, one for each use.
        measure: layers to seconds.
    """

    layers: Sequence[Layer]
    measure: Callable[[Sequence[Layer]], Sequence[float]]
    _found: dict[Layer, float] = field(default_factory=dict)

    def __call__(self, extents: NDArray[np.int64]) -> NDArray[np.float64]:
        """Seconds of each layer, [L], whose weights have these rows and columns, [L, 2]."""
        wanted = [layer.resized(*extent) for layer, extent in zip(self.layers, extents.tolist(), strict=True)]
        dense = {slim: layer for slim, layer in zip(wanted, self.layers, strict=True) if slim not in self._found}
        corners = {slim: list(_corners(layer, slim)) for slim, layer in dense.items()}
        points = list(dict.fromkeys(layer for group in corners.values() for layer, _ in group))
        seconds = dict(zip(points, self.measure(points), strict=True)) if points else {}
        for slim, group in corners.items():
            self._found[slim] = sum(share * seconds[layer] for layer, share in group)
        return np.array([self._found[slim] for slim in wanted], np.float64)


def _corners(dense: Layer, slim: Layer) -> list[Corner]:
    """The measured layers around a slim one, with the shares that interpolate between them linearly."""
    rows, columns = _between(dense.rows, slim.rows), _between(dense.columns, slim.columns)
    return [(dense.resized(row, column), one * other) for (row, one), (column, other) in product(rows, columns)]


def _between(dense: int, width: int) -> list[tuple[int, float]]:
    """The measured widths below and above `width`, and their shares; one alone where it is measured itself."""
    lines = grid_lines(dense, alignment(width))
    below = max(line for line in lines if line <= width)
    if below == width:
        return [(width, 1.0)]
    above = min(line for line in lines if line > width)
    share = (width - below) / (above - below)
    return [(below, 1 - share), (above, share)]


def alignment(width: int) -> int:
    """The largest of `ALIGNMENTS` that divides a width."""
    return next(step for step in ALIGNMENTS if width % step == 0)


def grid_lines(dense: int, step: int) -> list[int]:
    """The widths up to `dense` that are measured, of those whose alignment is `step`; the least and the largest too.

    Examples:
        >>> grid_lines(64, 32), grid_lines(64, 8), grid_lines(10, 1)
        ([32, 64], [8, 24, 40, 56], [1, 2, 3, 5, 7, 10])
    """
    widths = [width for width in range(step, dense + 1, step) if alignment(width) == step]
    return sorted({min(widths, key=lambda width: (abs(width - share * dense), -width)) for share in LINES})
