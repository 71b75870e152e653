"""Reconstruction of a slim network: layer by layer in the order of the forward pass."""

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from slimprune.budget import Plan
from slimprune.errors import UsageError
from slimprune.forward import Loss, unwrap
from slimprune.regression import LinearLayer, obstacle
from slimprune.surgery.reconstruction.calibration import Batch, Calibration, distance, estimating_statistics
from slimprune.surgery.reconstruction.solving import SolvedLayer, solve_layer
from slimprune.surgery.reconstruction.targets import Target, observe
from slimprune.surgery.slim import SlimModel
from slimprune.types import Listener, ignore


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A slim model whose layers were solved anew, and what that did.

    Attributes:
        slim: The slim model; the one that was passed if the new weights were worse for the network as a whole.
        layers: Every layer that reads removed channels, in the order of the forward pass, then those that cannot be
            solved.
        before: Loss on the held-out samples with the kept weights, or without a loss the squared error of the network's
            outputs against the dense network's, relative to their variance. Statistics of batch norm are estimated
            again in both cases.
        after: The same with the new weights.
    """

    slim: SlimModel
    layers: tuple[SolvedLayer, ...]
    before: float
    after: float

    @property
    def kept(self) -> bool:
        """Whether the slim model has new weights."""
        return self.after < self.before

    @property
    def solved(self) -> int:
        """Number of layers that have new weights."""
        return sum(layer.reason is None for layer in self.layers) if self.kept else 0


def reconstruct(
    dense: nn.Module,
    slim: SlimModel,
    batches: Iterable[Batch],
    *,
    loss: Loss | None = None,
    ridge: float = 1e-3,
    samples: int = 512,
    seed: int = 0,
    progress: Listener = ignore,
) -> Reconstruction:
    """Solve the layers that read removed channels anew, so that their outputs stay near those of the dense network.

    Layer by layer in the order of the forward pass, the remaining weights and the bias are those that minimise the
    squared error of the layer's outputs, in closed form. The layer's inputs are those in the slim network whose earlier
    layers are solved already, the target is the output of the dense layer. Statistics of batch norm are estimated again
    on the way. A quarter of the samples is held out: a layer whose error on them would not be lower keeps its weights,
    and so does the whole network if its loss on them would not be lower.

    Args:
        dense: The trained dense network from which `slim` was made; it is not modified.
        slim: The slim model with the kept weights; it is not modified.
        batches: Inputs, or pairs (inputs, targets); the arguments of several inputs in a tuple.
        loss: (output, target) -> scalar, by which the whole is judged if the batches have targets; otherwise it is
            judged by its outputs.
        ridge: Weight of the squared distance to the kept weights, relative to the mean square of the inputs; above 0.
        samples: Number of samples to use at most; fewer where the activations of all of them would take more than 1 GiB
            in one layer.
        seed: Seed of the choice of samples and positions.
        progress: Called with ("reconstruct", layers done, total + 1, layer); the last step compares the networks.

    Returns:
        The reconstructed slim model and the errors of its layers.

    Raises:
        UsageError: If `ridge` or `samples` is out of range.
        DataError: If there are fewer than 8 samples.

    Source: Luo et al., ThiNet (ICCV 2017), section 3.2; He et al., Channel Pruning for Accelerating Very Deep Neural
    Networks (ICCV 2017), section 3; for single weights the update of Hassibi and Stork, Optimal Brain Surgeon (1992).
    """
    if not ridge > 0:
        raise UsageError(f"expected ridge > 0, got {ridge}")
    dense = unwrap(dense)
    calibration = Calibration.collect(dense, batches, samples, seed)
    reasons = _obstacles(slim.module, _readers(slim.plan))
    solvable = [name for name, why in reasons.items() if why is None]
    report, steps = partial(progress, "reconstruct"), len(solvable) + 1
    report(0, steps, "")
    targets = observe(dense, slim, solvable, calibration, seed)
    reasons |= {name: _call_problem(target) for name, target in targets.items()}
    plain, solved = copy.deepcopy(slim.module), copy.deepcopy(slim.module)
    _run(plain, calibration)
    once = {name: targets[name] for name, why in reasons.items() if why is None}
    layers = _solve(solved, once, calibration, ridge, lambda done, name: report(done, steps, name))
    layers += [SolvedLayer(name, reason=why) for name, why in reasons.items() if why is not None]
    held_out = calibration.held_out()
    before, after = (distance(model, dense, held_out, loss) for model in (plain, solved))
    report(steps, steps, "")
    better = replace(slim, module=solved.train(slim.module.training)) if after < before else slim
    return Reconstruction(better, tuple(layers), before, after)


def _readers(plan: Plan) -> list[str]:
    """Return the names of the layers that read removed channels."""
    shrunk = [group for group in plan.groups if len(plan.kept[group.id]) < group.width]
    return list(dict.fromkeys(slot.layer for group in shrunk for slot in group.slots_of("consumer")))


def _obstacles(model: nn.Module, layers: Sequence[str]) -> dict[str, str | None]:
    """Return why a layer cannot be solved, or None, by name."""
    users = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    found: dict[str, str | None] = {}
    for name in layers:
        layer = model.get_submodule(name)
        found[name] = obstacle(layer)
        if found[name] is None and users[id(layer.weight)] > 1:
            found[name] = "its weight is shared with another layer"
    return found


def _call_problem(target: Target) -> str | None:
    if target.calls == 1:
        return None
    return f"it is called {target.calls} times" if target.calls else "it is not called as a module"


def _run(model: nn.Module, calibration: Calibration) -> None:
    """Run all samples at once and leave the model in eval mode with their statistics in batch norm."""
    with torch.no_grad(), estimating_statistics(model):
        model(*calibration.inputs)


def _solve(
    model: nn.Module,
    targets: Mapping[str, Target],
    calibration: Calibration,
    ridge: float,
    report: Callable[[int, str], None],
) -> list[SolvedLayer]:
    """Solve the layers in place while the samples pass through the model; each before it is called."""
    records: list[SolvedLayer] = []

    def solve(name: str, layer: LinearLayer, inputs: tuple[Tensor, ...]) -> None:
        records.append(solve_layer(name, layer, inputs[0], targets[name], ridge))
        report(len(records), name)

    with ExitStack() as hooks:
        for name in targets:
            hooks.enter_context(model.get_submodule(name).register_forward_pre_hook(partial(solve, name)))
        _run(model, calibration)
    return records
