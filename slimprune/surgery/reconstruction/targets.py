"""What the dense network computes at the layers that are solved anew."""

import copy
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slimprune.budget import Plan
from slimprune.graph import named_tensors
from slimprune.graph.removal import select
from slimprune.regression import LinearLayer, output_channels, output_rows, position_count, weight_matrix
from slimprune.surgery.reconstruction.calibration import Calibration, fit_size
from slimprune.surgery.slim import SlimModel

_FEWEST_ROWS, _ROWS_PER_WEIGHT = 4096, 16
"""Number of positions to which a layer is fitted: at least, and for each weight of an output."""


@dataclass(eq=False)
class Target:
    """Outputs of a layer of the dense network at some positions.

    Attributes:
        channels: Output channels that the slim layer has, int64 [K].
        limit: Largest number of positions for fitting.
        calls: How often the layer was called.
        sizes: Sizes of its output behind the channels.
        fit: Positions for fitting, int64 [R].
        held: Positions that are held out, int64 [S].
        outputs: Outputs at the fitted, then the held-out positions, [R + S, K].
        normed: Whether a batch norm follows directly, which makes shifts of the output irrelevant.
    """

    channels: Tensor
    limit: int
    calls: int = 0
    sizes: Sequence[int] = ()
    fit: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    held: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    outputs: Tensor = field(default_factory=lambda: torch.empty(0))
    normed: bool = False

    def record(self, layer: LinearLayer, outputs: Tensor, generator: torch.Generator) -> None:
        """Store the outputs of a call at random positions; those of the last samples are held out."""
        self.calls += 1
        if self.calls > 1:
            return
        total = position_count(layer, outputs)
        first = fit_size(len(outputs)) * (total // len(outputs))
        self.sizes = outputs.shape[2:]
        self.fit = _drawn(first, self.limit, generator).to(outputs.device)
        self.held = first + _drawn(total - first, -(-self.limit // 3), generator).to(outputs.device)
        chosen = output_rows(layer, outputs, torch.cat([self.fit, self.held]))
        self.outputs = chosen[:, self.channels.to(outputs.device)]


def observe(
    dense: nn.Module, slim: SlimModel, layers: Sequence[str], samples: Calibration, seed: int
) -> dict[str, Target]:
    """Run the dense network once and return the targets by layer.

    Args:
        dense: The dense network; it is not modified.
        slim: The slim model.
        layers: Names of the layers to observe.
        samples: Samples to run.
        seed: Seed of the choice of positions.
    """
    model, watch = copy.deepcopy(dense).eval(), _Watch(torch.Generator().manual_seed(seed))
    remaining = _remaining_channels(model, slim.plan, layers)
    for name in layers:
        limit = max(_FEWEST_ROWS, _ROWS_PER_WEIGHT * weight_matrix(_layer(slim.module, name)).shape[1])
        watch.targets[name] = Target(remaining[name], limit)
        model.get_submodule(name).register_forward_hook(partial(watch.record, name))
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(watch.meet_norm)
    with torch.no_grad():
        model(*samples.inputs)
    return watch.targets


@dataclass(eq=False)
class _Watch:
    """Hooks that fill the targets.

    Attributes:
        generator: Draws the positions.
        targets: Targets by layer.
    """

    generator: torch.Generator
    targets: dict[str, Target] = field(default_factory=dict)
    _outputs: dict[str, tuple[weakref.ref[Tensor], int]] = field(default_factory=dict)

    def record(self, name: str, layer: LinearLayer, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        """Record the output of a layer, and which tensor it was."""
        self.targets[name].record(layer, outputs, self.generator)
        self._outputs[name] = weakref.ref(outputs), outputs._version

    def meet_norm(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Find the layer whose output a batch norm reads, unless it was modified in place in between."""
        for name, (output, version) in self._outputs.items():
            if output() is inputs[0] and inputs[0]._version == version:
                self.targets[name].normed = True


def _drawn(total: int, limit: int, generator: torch.Generator) -> Tensor:
    if total <= limit:
        return torch.arange(total)
    return torch.randint(total, (limit,), generator=generator)


def _remaining_channels(dense: nn.Module, plan: Plan, layers: Sequence[str]) -> Mapping[str, Tensor]:
    """Return the output channels that every layer still has in the slim network, by the removal of their numbers."""
    numbers = {f"{name}.weight": output_channels(_layer(dense, name)) for name in layers}
    selected = {**numbers, **select({**named_tensors(dense), **numbers}, plan.groups, plan.kept)}
    return {name: selected[f"{name}.weight"].flatten().unique() for name in layers}


def _layer(model: nn.Module, name: str) -> LinearLayer:
    return cast(LinearLayer, model.get_submodule(name))
