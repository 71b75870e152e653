"""Weights of the classes in the loss: numbers of the recipe, or from the number of training samples."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from slimprune.data import Batch
from slimprune.errors import UsageError
from slimprune.recipe import ResolvedRecipe
from slimprune.tasks import Task
from slimprune.training import balanced_weights, plain_mask


def class_weights_of(recipe: ResolvedRecipe, task: Task, count: Callable[[], Tensor]) -> tuple[float, ...]:
    """Return the weights of the classes; `balanced` ones are in inverse proportion to the number of training samples.

    Args:
        recipe: Recipe of the run.
        task: Segmentation has one weight, that of the foreground; the background has 1.
        count: Function that counts the training samples of each class, or the pixels of background and foreground.

    Raises:
        DataError: If a class has no sample.
    """
    if isinstance(recipe.class_weights, tuple):
        return recipe.class_weights
    weights = balanced_weights(count())
    return (weights[1] / weights[0],) if task.reads == "mask" else weights


def count_targets(batches: Iterable[Batch], task: Task, classes: int) -> Tensor:
    """Return the number of samples of each class in one pass over batches, int64 [classes].

    For one mask it is the number of pixels of background and foreground, int64 [2]; for masks of several classes that
    of each class, without those to be ignored.

    Raises:
        UsageError: If the targets are not labels [N] below `classes`.
    """
    counts = torch.zeros(2 if task.reads == "mask" else classes, dtype=torch.int64)
    with torch.random.fork_rng(devices=[]):  # loaders that shuffle draw from torch's generator
        for _, targets in batches:
            labels = _labels(targets, task, classes).flatten().cpu()
            counts += torch.bincount(labels, minlength=len(counts))
    return counts


def _labels(targets: Tensor, task: Task, classes: int) -> Tensor:
    if task.reads == "mask":
        return (plain_mask(targets) > 0.5).long()
    if task.reads == "class map":
        return targets[(targets >= 0) & (targets < classes)].long()
    return _checked(targets, classes)


def _checked(targets: Tensor, classes: int) -> Tensor:
    rule = f"expected labels [N] in 0 ... {classes - 1} for balanced class_weights"
    if targets.ndim != 1 or targets.dtype != torch.int64:
        raise UsageError(f"{rule}, got {list(targets.shape)} {targets.dtype}")
    for label in (int(targets.min()), int(targets.max())):
        if not 0 <= label < classes:
            raise UsageError(f"{rule}, got {label}")
    return targets
