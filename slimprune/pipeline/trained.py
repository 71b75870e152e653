"""What becomes of trained weights: the dense network as given, and the slim one just after the removal."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from slimprune.data import Batch
from slimprune.forward import ForwardAdapter
from slimprune.pipeline.stages import Start
from slimprune.pipeline.whole_batches import inputs_alone
from slimprune.pipeline.workload import Workload, seeded
from slimprune.recipe import ResolvedRecipe
from slimprune.results import Accuracies
from slimprune.surgery import SlimModel, reconstruct
from slimprune.training import evaluate
from slimprune.training.batches import on_device, set_epoch
from slimprune.types import Listener, ignore

CALIBRATION_IMAGES = 4096
"""Most training images from which the statistics of batch norm are estimated again."""


def dense_accuracy(recipe: ResolvedRecipe, work: Workload, start: Start) -> float | None:
    """Return the metric of the dense network whose weights are inherited; None if it is not trained yet."""
    if not recipe.scores_final_weights:
        return None
    name = work.metric.name
    if name not in start.accuracies:
        start.accuracies[name] = _tested(start.scored, work)
    return start.accuracies[name]


def settle(
    recipe: ResolvedRecipe, work: Workload, start: Start, slimmed: SlimModel, listener: Listener = ignore
) -> tuple[SlimModel, Accuracies | None]:
    """Return the slim model, reconstructed, with batch norm statistics of its own, and the accuracies on the way.

    Args:
        recipe: Recipe of the run.
        work: Workload whose training batches give the statistics and whose test batches the accuracies.
        start: Networks from which the slim one was made.
        slimmed: Slim model with the weights it starts from.
        listener: Called during reconstruction.

    Returns:
        The slim model as it was and None, unless the recipe starts from a trained network.
    """
    dense = dense_accuracy(recipe, work, start)
    if dense is None:
        return slimmed, None
    if not recipe.inherits_training:
        return slimmed, Accuracies(work.metric.name, dense)
    # The batches of a fixed epoch, so that a resumed run takes the same ones.
    set_epoch(work.train_batches, 0)
    settled = replace(slimmed, module=with_new_statistics(slimmed.module, work, seed=recipe.seed))
    accuracies = Accuracies(work.metric.name, dense, _tested(settled.module, work))
    if recipe.reconstruct is False or not isinstance(work.samples, Tensor):
        return settled, accuracies
    return _reconstructed(recipe, work, start, settled, accuracies, listener)


def _reconstructed(
    recipe: ResolvedRecipe,
    work: Workload,
    start: Start,
    slimmed: SlimModel,
    accuracies: Accuracies,
    listener: Listener,
) -> tuple[SlimModel, Accuracies]:
    """Return the slim model with the layers behind removed channels solved anew, if that lowers its loss."""
    with seeded(recipe.seed):
        plain = work.forward_fn is None
        found = reconstruct(
            start.inherited,
            slimmed,
            work.train_batches if plain else _Inputs(work.train_batches),
            loss=work.loss if plain else None,  # one of whole batches cannot judge what the network gives for images
            seed=recipe.seed,
            progress=listener,
        )
    accuracies = replace(accuracies, solved=found.solved, left_out=len(found.layers) - found.solved)
    if not found.kept:
        return slimmed, accuracies
    settled = replace(found.slim, module=with_new_statistics(found.slim.module, work, seed=recipe.seed))
    return settled, replace(accuracies, reconstructed=_tested(settled.module, work))


def with_new_statistics(module: nn.Module, work: Workload, *, seed: int) -> nn.Module:
    """Return a copy whose batch norm statistics are the averages over `CALIBRATION_IMAGES` training images.

    Removing channels changes what the remaining ones receive, so that the statistics of the dense network no longer
    describe it.
    """
    module = copy.deepcopy(module)
    if any(isinstance(layer, _BatchNorm) for layer in module.modules()):
        with seeded(seed):
            if work.forward_fn is None:
                update_bn(_first_images(work.train_batches, work.device), module)
            else:
                batches = inputs_alone(on_device(work.train_batches, work.device), CALIBRATION_IMAGES)
                update_bn(batches, ForwardAdapter(module, work.forward_fn))
    return module


def _tested(module: nn.Module, work: Workload) -> float:
    return evaluate(module, work.test_batches, work.metric, device=work.device, forward_fn=work.forward_fn)


@dataclass(frozen=True)
class _Inputs:
    """The inputs of batches (inputs, targets)."""

    batches: Iterable[Batch]

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the inputs of each batch."""
        return (inputs for inputs, _ in self.batches)


def _first_images(batches: Iterable[tuple[Tensor, Tensor]], device: torch.device) -> Iterator[Tensor]:
    """Yield the inputs of the first batches, at most `CALIBRATION_IMAGES` of them."""
    seen = 0
    for inputs, _ in batches:
        left = CALIBRATION_IMAGES - seen
        # A batch of one is too small for the statistics of some networks.
        if left < 2 or len(inputs) < 2:
            return
        seen += len(inputs[:left])
        yield inputs[:left].to(device)
