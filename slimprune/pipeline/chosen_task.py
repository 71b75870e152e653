"""The task, loss and metric of a run: by name from the recipe, or objects of the caller."""

from collections.abc import Iterable
from dataclasses import dataclass

from slimprune.data import Batch, ImageData
from slimprune.errors import UsageError, did_you_mean
from slimprune.forward import Loss
from slimprune.models import DETECTION, task_of
from slimprune.recipe import NamedRecipe, Recipe
from slimprune.tasks import OWN, TASKS, Task, find_task, guessed_task
from slimprune.training import AnyMetric, as_metric
from slimprune.types import AUTO


@dataclass(frozen=True, eq=False)
class ChosenTask:
    """What a network is trained for, with the loss and the metric that the run takes.

    Attributes:
        task: The task.
        loss: Function (output, targets) -> scalar.
        metric: Metric by which tested networks are judged.
        checked: Whether outputs and targets have to fit the task; not if loss or metric are the user's.
    """

    task: Task
    loss: Loss
    metric: AnyMetric
    checked: bool = True


def task_of_recipe(recipe: NamedRecipe, data: ImageData) -> ChosenTask:
    """Return what a recipe that names its data trains for.

    Raises:
        UsageError: If the task, the loss or the metric is unknown, or architecture, task and data do not fit together.
    """
    task = find_task(recipe.task or data.task)
    if task.of_data != data.task:
        raise UsageError(f"expected a task for the targets of {data.name} ({data.task}), got {task.name}")
    if task.reads == "logit" and data.classes != 2:
        raise UsageError(f"expected two classes for task {task.name}, got {data.classes} of {data.name}")
    built_for = task_of(recipe.arch)
    known = task.reads != "other" or built_for == DETECTION
    if built_for is not None and known and built_for != _kind(task):
        raise UsageError(f"expected an architecture for {task.name} (the task of {data.name}), got {recipe.arch}")
    return ChosenTask(task, task.loss(recipe.loss), task.metric(recipe.metric))


def check_task_names(recipe: Recipe) -> None:
    """Check task, loss and metrics of a recipe by their names, before any data is loaded.

    Without a task, which the data then brings, they have to be known to some task.

    Raises:
        UsageError: If one of them is unknown.
    """
    tasks = [*TASKS.available().values()] if recipe.task is None else [find_task(recipe.task)]
    _check_known("a loss", recipe.loss, [name for task in tasks for name in task.losses], recipe.task)
    for name in (recipe.metric, *recipe.further_metrics):
        _check_known("a metric", name, [name for task in tasks for name in task.metrics], recipe.task)


def _check_known(what: str, name: str, known: Iterable[str], task: str | None) -> None:
    listed = list(dict.fromkeys([AUTO, *known]))
    if name not in listed:
        of_task = "" if task is None else f" for {task}"
        raise UsageError(f"expected {what}{of_task} ({', '.join(listed)}), got {name!r}{did_you_mean(name, listed)}")


def outputs_of(task: Task, data: ImageData) -> int:
    """Return the number of outputs, or of their channels, of an architecture that is built for a task."""
    return 1 if task.reads == "logit" else data.classes


def task_of_objects(
    task: Task | str | None, loss: Loss | str, metric: object, test_batches: Iterable[Batch] | None
) -> ChosenTask:
    """Return what a module that is passed as an object is trained for.

    Args:
        task: The task, its name, or None to go by the targets; with an own loss and an own metric it is not needed.
        loss: Own loss, or the name of one of the task's.
        metric: Own metric, of slimprune or torchmetrics, or the name of one of the task's.
        test_batches: Batches whose first targets decide if the task is None.

    Raises:
        UsageError: If one of them is unknown or of another kind.
    """
    if task is None and not isinstance(loss, str) and not isinstance(metric, str):
        used = as_metric(metric)
        return ChosenTask(Task(OWN, "loss and metric of the user", {OWN: loss}, {used.name: used}), loss, used, False)
    if isinstance(task, Task):
        chosen = task
    else:
        chosen = find_task(guessed_task(_first_targets(test_batches)) if task is None else task)
    return ChosenTask(
        chosen,
        chosen.loss(loss) if isinstance(loss, str) else loss,
        chosen.metric(metric) if isinstance(metric, str) else as_metric(metric),
        checked=isinstance(loss, str) and isinstance(metric, str),
    )


def _first_targets(batches: Iterable[Batch] | None) -> object:
    batch: object = None if batches is None else next(iter(batches), None)
    return batch[1] if isinstance(batch, tuple | list) and len(batch) == 2 else None


def _kind(task: Task) -> str:
    """Return what an architecture is built for: boxes, an output for every pixel, or one per image."""
    if task.takes_batches:
        return DETECTION
    return "segmentation" if task.reads in ("mask", "class map", "image") else "classification"
