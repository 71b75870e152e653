"""Trainings of one network that part at a step, and the test error between what they end with."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slimprune.data import Batch
from slimprune.files import InstabilityCurve, UnstableNetwork
from slimprune.models import load_weights, save_weights
from slimprune.pipeline.stages import run_training
from slimprune.pipeline.trained import CALIBRATION_IMAGES, with_new_statistics
from slimprune.pipeline.workload import Workload
from slimprune.recipe import NamedRecipe
from slimprune.training import (
    BranchedBatches,
    Penalty,
    TrainResult,
    TrainSettings,
    between,
    count_batches,
    distance,
    evaluate,
    set_epoch,
)
from slimprune.types import Listener


@dataclass(frozen=True, eq=False)
class TrainedTwice:
    """A network as its trainings start, and how it is trained.

    Attributes:
        kind: What it is called.
        module: The network; it is not modified.
        params: Number of its parameters that are not masked.
        settings: Settings of its training.
        teacher: Network that it imitates, if the recipe distils.
        masks: Masks of the weights that are trained.
        penalty: Penalty on its weights.
    """

    kind: Literal["dense", "slim", "masked"]
    module: nn.Module
    params: int
    settings: TrainSettings
    teacher: nn.Module | None = None
    masks: Mapping[str, Tensor] | None = None
    penalty: Penalty | None = None


def instability_curves(
    subject: TrainedTwice,
    steps: Sequence[int],
    places: Sequence[float],
    work: Workload,
    recipe: NamedRecipe,
    stage: Path,
    listener: Listener,
) -> UnstableNetwork:
    """Return the curves of one network: one training by the recipe, and for each step another that parts there.

    Args:
        subject: The network and its training.
        steps: Steps after which the order of the data differs.
        places: Places on the line between both networks, from 0 to 1.
        work: Workload with batches and metric.
        recipe: Recipe of the run.
        stage: Folder of the checkpoints.
        listener: Called after every step.
    """
    per_epoch, folder = count_batches(work.train_batches), stage / f"instability {subject.kind}"
    train_it = partial(_trained, subject, folder=folder, listener=listener)
    first, of_first = train_it(work, subject.kind, partial(_keep, folder, steps))
    curves: list[InstabilityCurve] = []
    for step in steps:
        order = BranchedBatches(copy.copy(work.train_batches), _reordered(work, recipe), step)
        other = replace(work, train_batches=order)
        second, of_second = train_it(other, f"{subject.kind} from step {step}", partial(_return, folder, step))
        errors = [_error(between(first, second, place), work, subject.settings) for place in places]
        curves.append(
            {
                "step": step,
                "epoch": step / per_epoch,
                "errors": errors,
                "trained": [1 - of_first.final, 1 - of_second.final],
                "instability": max(errors) - fmean((errors[0], errors[-1])),
                "distance": distance(first, second),
            }
        )
    return {
        "network": subject.kind,
        "params": subject.params,
        "epochs": subject.settings.epochs,
        "steps_per_epoch": per_epoch,
        "curves": curves,
    }


def statistics_images(work: Workload, recipe: NamedRecipe) -> int:
    """Return the number of training images from which statistics of batch norm are estimated; 0 without batch norm."""
    if work.data is None or not any(isinstance(layer, _BatchNorm) for layer in work.model.modules()):
        return 0
    batch = min(recipe.batch_size, work.data.train_size)
    return min(CALIBRATION_IMAGES, batch * count_batches(work.train_batches))


def _trained(
    subject: TrainedTwice,
    work: Workload,
    name: str,
    after_step: Callable[[nn.Module, int], None],
    *,
    folder: Path,
    listener: Listener,
) -> tuple[nn.Module, TrainResult]:
    """Train a copy of a network; return it and its training."""
    module, teacher, store = copy.deepcopy(subject.module), copy.deepcopy(subject.teacher), folder / f"train {name}"
    result = run_training(
        subject.settings,
        work,
        module,
        store,
        listener,
        after_step=after_step,
        teacher=teacher,
        penalty=subject.penalty,
        masks=subject.masks,
    )
    return module, result


def _reordered(work: Workload, recipe: NamedRecipe) -> Iterable[Batch]:
    """Return the training batches in another order, with other augmentation."""
    assert work.data is not None
    seed, crops, device = (recipe.seed + 1) % 2**63, recipe.resized_crop, str(work.device)
    return work.data.train_batches(recipe.batch_size, seed=seed, device=device, random_resized_crop=crops)


def _keep(folder: Path, steps: Sequence[int], module: nn.Module, done: int) -> None:
    if done in steps:
        save_weights(module, _snapshot(folder, done))


def _return(folder: Path, step: int, module: nn.Module, done: int) -> None:
    """Give a training that comes to its branch the weights that the first one had there.

    On the CPU it has them already. Devices that do not repeat a training exactly would begin from two states.
    """
    if done == step:
        load_weights(module, _snapshot(folder, done))


def _snapshot(folder: Path, step: int) -> Path:
    return folder / f"step {step}.safetensors"


def _error(module: nn.Module, work: Workload, settings: TrainSettings) -> float:
    """Return the test error of a network with batch norm statistics of its own."""
    set_epoch(work.train_batches, 0)
    settled = with_new_statistics(module, work, seed=settings.seed)
    return 1 - evaluate(
        settled, work.test_batches, work.metric, device=settings.device, amp=settings.amp, forward_fn=work.forward_fn
    )
