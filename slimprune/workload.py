"""What a run works on: a fresh model, its batches, its loss and its metric."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slimprune.data import Batch, load
from slimprune.errors import DataError, UnsupportedModelError, UsageError
from slimprune.graph import FORWARD_ERRORS
from slimprune.models import InputSpec, build, task_of
from slimprune.recipe import Recipe
from slimprune.surgery import Origin
from slimprune.training import Metric, mean_iou, top1

Loss = Callable[[Tensor, Tensor], Tensor]
Task = Literal["classification", "segmentation"]

SAMPLES = 64
"""Real images on which an exported model is compared with its source; the least is 32."""


@dataclass(frozen=True, eq=False)
class Workload:
    """A model and everything that scoring, training and verification need.

    Attributes:
        model: the dense network with its initial weights, on the device.
        origin: how it was built.
        train_batches: re-iterable (inputs, targets).
        test_batches: the same for testing.
        scoring_batches: as many batches as scoring asks for.
        samples: test inputs on the CPU, [N, ...], at most `SAMPLES`.
        loss: (output, targets) -> scalar.
        metric: what tested networks are judged by.
    """

    model: nn.Module
    origin: Origin
    train_batches: Iterable[Batch]
    test_batches: Iterable[Batch]
    scoring_batches: Iterable[Batch]
    samples: Tensor
    loss: Loss
    metric: Metric

    @property
    def example(self) -> Tensor:
        """Two test inputs on the model's device."""
        device = next((parameter.device for parameter in self.model.parameters()), torch.device("cpu"))
        return self.samples[:2].to(device)


def binary_cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits [N, 1, H, W] and masks [N, 1, H, W] in [0, 1]."""
    return F.binary_cross_entropy_with_logits(output, target)


LOSSES: dict[Task, Loss] = {"classification": F.cross_entropy, "segmentation": binary_cross_entropy}
METRICS: dict[Task, Metric] = {"classification": top1, "segmentation": mean_iou}


def named_workload(recipe: Recipe, device: str) -> Workload:
    """The workload of a recipe that names architecture and data.

    Raises:
        UsageError: an unknown name, or an architecture that does not fit the task of the data.
        UnsupportedModelError: the model fails, or its output does not fit the data.
        DataError: the data is missing, empty or unreadable.
    """
    if recipe.arch is None:
        raise UsageError("expected an architecture (--arch), got none")
    task = task_of(recipe.arch)
    data = load(recipe.data, image_size=recipe.image_size)
    if task not in (None, data.task):
        raise UsageError(f"expected an architecture for {data.task} (the task of {data.name}), got {recipe.arch}")
    inputs = InputSpec(data.channels, data.height, data.width, data.classes)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = build(recipe.arch, inputs).to(device)
    _check_output(model, data.samples(2).to(device), data.task, data.classes)
    batch_size, score_batch = cast(int, recipe.batch_size), cast(int, recipe.score_batch)
    return Workload(
        model=model,
        origin=Origin(recipe.arch, inputs),
        train_batches=data.train_batches(batch_size, seed=recipe.seed, device=device),
        test_batches=data.test_batches(batch_size, device=device),
        scoring_batches=data.scoring_batches(score_batch, seed=recipe.seed, device=device),
        samples=data.samples(SAMPLES),
        loss=LOSSES[data.task],
        metric=METRICS[data.task],
    )


def own_workload(
    model: nn.Module,
    train_batches: Iterable[Batch],
    test_batches: Iterable[Batch],
    task: Task,
    loss: Loss | None,
    device: str,
) -> Workload:
    """The workload of a model and batches that were handed over as objects; the model is copied to the device.

    Raises:
        UnsupportedModelError: `model` is not a module.
        DataError: there are no test batches.
    """
    if not isinstance(model, nn.Module):
        raise UnsupportedModelError(f"expected a torch.nn.Module, got {type(model).__name__}")
    return Workload(
        model=copy.deepcopy(model).to(device),
        origin=Origin(None),
        train_batches=train_batches,
        test_batches=test_batches,
        scoring_batches=_Cycle(train_batches),
        samples=_first_inputs(test_batches),
        loss=loss or LOSSES[task],
        metric=METRICS[task],
    )


class _Cycle(Iterable[Batch]):
    """The batches of a loader, over and over."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Batch]:
        found = True
        while found:
            found = False
            for batch in self._batches:
                found = True
                yield batch


def _first_inputs(batches: Iterable[Batch]) -> Tensor:
    inputs: list[Tensor] = []
    for batch_inputs, _ in islice(batches, SAMPLES):
        inputs.append(batch_inputs.cpu())
        if sum(map(len, inputs)) >= SAMPLES:
            break
    if not inputs:
        raise DataError("expected test batches, got none")
    return torch.cat(inputs)[:SAMPLES]


def _check_output(model: nn.Module, samples: Tensor, task: str, classes: int) -> None:
    expected: Sequence[int] = (len(samples), classes)
    if task == "segmentation":
        expected = (len(samples), classes, *samples.shape[2:])
    name = type(model).__name__
    training = model.training
    try:
        with torch.no_grad():
            output = model.eval()(samples)
    except FORWARD_ERRORS as error:
        first_line = str(error).partition("\n")[0]
        raise UnsupportedModelError(f"{name} fails on images {tuple(samples.shape)}: {first_line}") from error
    finally:
        model.train(training)
    found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if found != tuple(expected):
        raise UnsupportedModelError(f"expected {name} to give an output of shape {tuple(expected)}, got {found}")
