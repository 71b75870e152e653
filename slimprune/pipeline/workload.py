"""The workload of a run: a fresh model, its batches, its loss and its metric."""

import copy
import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from slimprune.data import Batch, ImageData, load
from slimprune.data.targets import KINDS
from slimprune.errors import DataError, SlimpruneError, UnsupportedModelError, UsageError, first_line
from slimprune.forward import ForwardFn, Loss, name_of, unwrap, with_batch
from slimprune.graph import Example, first_rows
from slimprune.measure import check_memory, versions
from slimprune.measure.devices import device_of
from slimprune.models import (
    MAIN,
    InputSpec,
    MainOutput,
    build,
    class_branches,
    fill,
    has_main_output,
    is_detector,
    pretrained_preprocessing,
    pretrained_weights,
    read_weights,
    with_one_input,
)
from slimprune.pipeline.chosen_task import ChosenTask, outputs_of, task_of_objects, task_of_recipe
from slimprune.pipeline.class_weights import class_weights_of
from slimprune.pipeline.trust import code_files
from slimprune.pipeline.whole_batches import (
    by_forward_fn,
    by_several_inputs,
    check_own,
    has_several_inputs,
)
from slimprune.preprocessing import Preprocessing
from slimprune.recipe import NamedRecipe, Recipe, ResolvedRecipe
from slimprune.results import Judged
from slimprune.surgery import Origin
from slimprune.tasks import Task
from slimprune.training import BY_ITSELF, AcrossRanks, AnyMetric
from slimprune.training.batches import first_of
from slimprune.types import AUTO

OWN_BATCHES = "own batches"
"""Name of the data in the recipe of a run whose batches were passed as objects."""

BYTES = 4
"""Bytes of a 32-bit float."""

SAMPLES = 64
"""Number of real images on which an exported model is compared with its source; 32 is the minimum."""


@dataclass(frozen=True, eq=False)
class Workload:
    """A model and everything that scoring, training and verification need.

    Attributes:
        model: Dense network with its initial weights, on the device.
        origin: How the model was built.
        train_batches: Re-iterable of (inputs, targets).
        test_batches: The same for testing.
        validation_batches: The same for testing after every epoch, from training images that are held out; None if
            there are none.
        scoring_batches: As many batches as scoring requests.
        samples: Test inputs on the CPU, [N, ...], at most `SAMPLES`; several or nested ones in a tuple.
        loss: Function (output, targets) -> scalar; (output, batch) if there is a `forward_fn`.
        task: What the network is trained for.
        metric: Metric by which tested networks are judged.
        further: Further metrics of trained networks.
        pixels: Function that maps inputs [N, C, H, W] to visible pixels, uint8 [N, C, H, W].
        preprocessing: How images become the inputs; None if it is unknown.
        calibration_batches: Training batches as they are, not augmented; empty if they are `train_batches`.
        checked: Whether outputs and targets have to fit the task; not if loss or metric are the user's.
        class_weights: Weight of each class in the loss; for segmentation that of the foreground; empty for equal ones.
        without_weights: Parameters that were not taken from the given weights.
        code: Files of the user's code that the recipe names.
        data: Data set of the batches; None if they were passed as objects.
        across: Ranks that share the scoring and the trainings.
        forward_fn: Function (model, batch) -> output in scoring, training and tests, whose loss and metric then take
            (output, batch); None if the model is called with the inputs.
    """

    model: nn.Module
    origin: Origin
    train_batches: Iterable[Batch]
    test_batches: Iterable[Batch]
    scoring_batches: Iterable[Batch]
    samples: Example
    loss: Loss
    task: Task
    metric: AnyMetric
    pixels: Callable[[Tensor], Tensor]
    preprocessing: Preprocessing | None = None
    calibration_batches: Iterable[Batch] = ()
    checked: bool = True
    class_weights: tuple[float, ...] = ()
    without_weights: tuple[str, ...] = ()
    code: tuple[Path, ...] = ()
    validation_batches: Iterable[Batch] | None = None
    data: ImageData | None = None
    across: AcrossRanks = BY_ITSELF
    further: tuple[AnyMetric, ...] = ()
    forward_fn: ForwardFn | None = None

    @property
    def judged(self) -> Judged:
        """Task and metric, as reports state them."""
        return Judged(self.task.name, self.metric.name, self.metric.scale, self.task.reads)

    def check(self, output: Tensor, targets: Tensor) -> None:
        """Check an output and targets against task, loss and metric.

        Raises:
            SlimpruneError: If they do not fit.
        """
        if self.checked:
            self.task.check(output, targets)
        check_loss(output, targets, self.loss)
        check_metric(output, targets, self.metric)

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return device_of(self.model)

    @property
    def example(self) -> Example:
        """Two test inputs on the model's device."""
        placed: Example = tree_map_only(Tensor, lambda one: one.to(self.device), first_rows(self.samples, 2))
        return placed

    @property
    def plain_example(self) -> Tensor:
        """The example of a model that takes one tensor; see `images`."""
        return self.images[:2].to(self.device)

    @property
    def images(self) -> Tensor:
        """The samples, of a model that takes one tensor.

        Raises:
            UsageError: If it takes something else.
        """
        if not isinstance(self.samples, Tensor):
            raise UsageError("expected a model that takes one tensor, got one with other inputs")
        return self.samples

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that a run is made from, independent of names.

        This covers the model's structure, code and initial weights, further code that the recipe names, test samples,
        the first scoring batch with its targets, and the versions of the relevant packages.
        """
        digest = hashlib.sha256(repr((self.model, versions())).encode())
        for code in sorted({_code(type(module)) for module in self.model.modules()}):
            digest.update(code)
        for file in self.code:
            digest.update(file.read_bytes())
        given = tree_leaves((self.samples, next(iter(self.scoring_batches))))
        given = [leaf for leaf in given if isinstance(leaf, Tensor)]
        for tensor in chain(self.model.parameters(), self.model.buffers(), given):
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Given:
    """The batches, task and loss that a caller passes together with a model object.

    Attributes:
        train_batches: Re-iterable of `(inputs [N, ...], targets)`.
        test_batches: The same for testing.
        task: Task, or its name, that decides loss and metric; None to go by the targets.
        loss: Function (output, targets) -> scalar, or the name of one of the task's losses.
        metric: Metric of slimprune or torchmetrics, or the name of one of the task's metrics.
        forward_fn: Function (model, batch) -> output; loss and metric then take (output, batch).
    """

    train_batches: Iterable[Batch] | None = None
    test_batches: Iterable[Batch] | None = None
    task: Task | str | None = None
    loss: Loss | str = AUTO
    metric: AnyMetric | object = AUTO
    forward_fn: ForwardFn | None = None

    @property
    def has_objects(self) -> bool:
        """Whether something was passed that only fits a model object."""
        given = (self.task, self.loss, self.metric, self.forward_fn)
        named = all(part is None or isinstance(part, str) for part in given)
        return self.train_batches is not None or self.test_batches is not None or not named


def _code(kind: type) -> bytes:
    """Return the content of the file that defines a class; empty if there is no file, as at an interactive prompt."""
    try:
        return Path(inspect.getfile(kind)).read_bytes()
    except (TypeError, OSError):
        return b""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's generator on the CPU for the context, and restore its state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def named_workload(recipe: ResolvedRecipe, device: str) -> Workload:
    """Return the workload of a recipe that names architecture and data.

    Raises:
        UsageError: If a name is unknown, or the architecture or the loss does not fit the task of the data.
        UnsupportedModelError: If the model fails, or its output does not fit the data.
        DataError: If the data or the weights are missing, empty or unreadable, or the weights do not fit the model.
    """
    recipe = recipe.named()
    data, held_out = load_data(recipe), None
    if recipe.validation is not None:
        data, held_out = data.split(recipe.validation)
    chosen = task_of_recipe(recipe, data)
    inputs = InputSpec(data.channels, data.height, data.width, outputs_of(chosen.task, data))
    at_once = min(max(recipe.batch_size, recipe.score_batch), data.train_size) + SAMPLES
    check_memory(at_once * BYTES * data.channels * data.height * data.width, f"{at_once} images of {inputs}")
    with seeded(recipe.seed):
        built = build(recipe.arch, inputs).to(device)
        called = _called(built, chosen.task, data.height, data.width)
        model, output = _with_one_output(called, data.samples(2).to(device))
        _check_shape(model, output, data, chosen.task)
    missing = _fill_from(
        recipe, built, inputs, outputs=inputs.classes if chosen.task.takes_batches else output.shape[1]
    )
    return Workload(
        model=model,
        origin=Origin(recipe.arch, inputs, main_output=model is not called),
        train_batches=data.train_batches(
            recipe.batch_size, seed=recipe.seed, device=device, random_resized_crop=recipe.resized_crop
        ),
        test_batches=data.test_batches(recipe.batch_size, device=device),
        scoring_batches=data.scoring_batches(
            recipe.score_batch, seed=recipe.seed, device=device, balanced=recipe.score_balanced
        ),
        samples=data.samples(SAMPLES),
        loss=chosen.loss,
        task=chosen.task,
        metric=chosen.metric,
        checked=chosen.checked,
        pixels=data.pixels,
        preprocessing=data.preprocessing,
        calibration_batches=data.train_batches(recipe.batch_size, seed=recipe.seed, device=device, augment=False),
        class_weights=class_weights_of(recipe, chosen.task, data.class_counts),
        without_weights=missing,
        code=code_files(recipe),
        validation_batches=None
        if held_out is None
        else held_out.test_batches(recipe.batch_size, device=device, part="train"),
        data=data,
        further=further_metrics(recipe, chosen.task),
        forward_fn=_forward_of(chosen.task),
    )


def _called(model: nn.Module, task: Task, height: int, width: int) -> nn.Module:
    """Return a model as it is called for a task: as it is, or a detector with one input.

    Raises:
        UnsupportedModelError: If the task takes whole batches and the model is no detector, or one for other images.
    """
    if not task.takes_batches:
        return model
    if not is_detector(model):
        raise UnsupportedModelError(
            f"expected a detector of torchvision or ultralytics for {task.name}, got {name_of(model)}"
        )
    return with_one_input(model, height, width)


def _forward_of(task: Task) -> ForwardFn | None:
    return with_batch if task.takes_batches else None


def further_metrics(recipe: Recipe, task: Task) -> tuple[AnyMetric, ...]:
    """Return the further metrics of a recipe.

    Raises:
        UsageError: If the task has no such metric.
    """
    return tuple(task.metric(name) for name in recipe.further_metrics)


def _fill_from(recipe: NamedRecipe, model: nn.Module, inputs: InputSpec, *, outputs: int) -> tuple[str, ...]:
    """Fill the model with the weights that a recipe names, if any; return the parameters that keep their own."""
    if recipe.weights is not None:
        given: Mapping[str, Tensor] = read_weights(recipe.weights)
        what = f"weights {recipe.weights}"
    elif recipe.pretrained:
        given, what = pretrained_weights(recipe.arch, inputs), f"pretrained weights of {recipe.arch}"
    else:
        return ()
    return tuple(
        fill(model, given, what, outputs=outputs, reset_head=recipe.reset_head, branches=class_branches(model))
    )


def load_data(recipe: NamedRecipe) -> ImageData:
    """Return the data set of a recipe, normalised and with class names as the recipe says.

    Pretrained weights bring their own normalisation if the data has as many channels.

    Raises:
        UsageError: If the name is unknown, or the recipe's size, normalisation or class names do not fit the data.
        DataError: If the data is missing, empty or unreadable.
    """
    data = load(recipe.data, image_size=recipe.image_size)
    if recipe.train_size is not None:
        data = data.with_fewer(recipe.train_size)
    weights_own = pretrained_preprocessing(recipe.arch) if recipe.pretrained else None
    if (recipe.mean or recipe.std) and KINDS[data.task].raw:
        raise UsageError(
            f"expected no mean and std for {data.task}, whose networks normalise images themselves, got some"
        )
    if recipe.mean or recipe.std:
        data = data.with_normalisation(recipe.mean, recipe.std)
    elif weights_own is not None and len(weights_own.mean) == data.channels:
        data = data.with_normalisation(weights_own.mean, weights_own.std)
    return data.with_class_names(recipe.class_names) if recipe.class_names else data


def own_workload(model: nn.Module, given: Given, device: str, seed: int) -> Workload:
    """Return the workload of a model and batches that are passed as objects; the model is copied to the device.

    Raises:
        UsageError: If batches are missing or can be iterated only once, or the task is unknown.
        UnsupportedModelError: If `model` is not a module, fails, or its output does not fit the loss and the targets.
        DataError: If there are no test batches, or they are not pairs of tensors.
    """
    if not isinstance(model, nn.Module):
        raise UnsupportedModelError(f"expected an architecture name or a torch.nn.Module, got {name_of(model)}")
    train_batches = _repeatable(given.train_batches, "train_batches")
    test_batches = _repeatable(given.test_batches, "test_batches")
    if given.forward_fn is not None:
        check_own(given.loss, given.metric)
    with seeded(seed):  # loaders that shuffle draw from torch's generator
        chosen = task_of_objects(given.task, given.loss, given.metric, test_batches)
        several = given.forward_fn is None and has_several_inputs(test_batches)
    copied = _copied(unwrap(model)).to(device)
    if given.forward_fn is not None or several:
        return _whole_workload(copied, chosen, given.forward_fn, (train_batches, test_batches), seed)
    with seeded(seed):
        inputs, targets = (part.to(device) for part in first_pair(test_batches))
        called = _called(copied, chosen.task, *_sides(inputs, chosen.task))
        whole, output = _with_one_output(called, inputs)
        if chosen.checked:
            chosen.task.check(output, targets)
        if not chosen.task.takes_batches:
            check_loss(output, targets, chosen.loss)
            check_metric(output, targets, chosen.metric)
        samples = first_inputs(test_batches, SAMPLES)
    return Workload(
        model=whole,
        origin=Origin.of_object(inputs, output, main_output=whole is not called),
        train_batches=train_batches,
        test_batches=test_batches,
        scoring_batches=_Cycle(train_batches),
        samples=samples,
        loss=chosen.loss,
        task=chosen.task,
        metric=chosen.metric,
        checked=chosen.checked,
        pixels=_stretched,
        forward_fn=_forward_of(chosen.task),
    )


def _whole_workload(
    model: nn.Module,
    chosen: ChosenTask,
    forward_fn: ForwardFn | None,
    batches: tuple[Iterable[Batch], Iterable[Batch]],
    seed: int,
) -> Workload:
    """Return the workload of a model that is not called with one tensor."""
    train_batches, test_batches = batches
    _check_layer_names(model)
    with seeded(seed):
        parts = test_batches, chosen.loss, chosen.metric, SAMPLES
        found = by_several_inputs(model, *parts) if forward_fn is None else by_forward_fn(model, forward_fn, *parts)
    return Workload(
        model=found.model,
        origin=Origin(None),
        train_batches=train_batches,
        test_batches=test_batches,
        scoring_batches=_Cycle(train_batches),
        samples=found.samples,
        loss=found.loss,
        task=chosen.task,
        metric=found.metric,
        checked=False,
        pixels=_stretched,
        forward_fn=found.forward_fn,
    )


def _sides(inputs: Tensor, task: Task) -> tuple[int, int]:
    """Return height and width of images [N, C, H, W].

    Raises:
        DataError: If the task is for images and these are none.
    """
    if task.takes_batches and inputs.ndim != 4:
        raise DataError(f"expected images [N, C, H, W] for {task.name}, got {list(inputs.shape)}")
    return (inputs.shape[-2], inputs.shape[-1]) if inputs.ndim == 4 else (1, 1)


class _Cycle(Iterable[Batch]):
    """The batches of a loader, repeated endlessly."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Batch]:
        found = True
        while found:
            found = False
            for batch in self._batches:
                found = True
                yield batch


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise UnsupportedModelError(f"expected a model that can be copied, got {first_line(error)}") from error


def _repeatable(batches: Iterable[Batch] | None, name: str) -> Iterable[Batch]:
    if batches is None:
        raise UsageError(f"expected {name} beside a model object, got none")
    if isinstance(batches, Iterator):
        raise UsageError(f"expected {name} that can be gone through every epoch, got a {type(batches).__name__}")
    return batches


def first_pair(batches: Iterable[Batch]) -> Batch:
    """Return the first inputs and targets.

    Raises:
        DataError: If there are none, or they are no tensors.
    """
    batch: object = first_of(batches)
    if not (isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(part, Tensor) for part in batch)):
        raise DataError(f"expected batches (inputs, targets) of two tensors, got {type(batch).__name__}")
    return batch[0], batch[1]


def first_batch(batches: Iterable[Any], device: torch.device) -> Any:
    """Return the first batch on the device.

    Raises:
        DataError: If there is none.
    """
    return tree_map_only(Tensor, lambda tensor: tensor.to(device), first_of(batches))


def first_inputs(batches: Iterable[Batch], count: int) -> Tensor:
    """Return the first inputs of batches on the CPU, [N, ...], at most `count`."""
    inputs: list[Tensor] = []
    for batch_inputs, _ in batches:
        inputs.append(batch_inputs.cpu())
        if sum(map(len, inputs)) >= count:
            break
    return torch.cat(inputs)[:count]


def _stretched(inputs: Tensor) -> Tensor:
    """Return inputs of unknown scale as pixels, each stretched from its smallest to its largest value."""
    low, high = inputs.amin((1, 2, 3), keepdim=True), inputs.amax((1, 2, 3), keepdim=True)
    return (255 * (inputs - low) / (high - low).clamp(min=torch.finfo(torch.float32).tiny)).round().to(torch.uint8)


def _check_shape(model: nn.Module, output: Tensor, data: ImageData, task: Task) -> None:
    allowed = task.shapes(outputs_of(task, data), data.height, data.width)
    if allowed and tuple(output.shape[1:]) not in allowed:
        expected = (len(output), *allowed[0])
        found = f"expected {name_of(model)} to give an output of shape {expected}, got {tuple(output.shape)}"
        raise UnsupportedModelError(found)


def check_metric(output: Any, targets: Any, metric: AnyMetric) -> None:
    """Check that a metric can judge an output and targets.

    Raises:
        UnsupportedModelError: If it fails.
        SlimpruneError: If it refuses them itself.
    """
    try:
        metric.start().add(output, targets)
    except SlimpruneError:
        raise
    except Exception as error:
        found = f"outputs {shape_of(output)} and targets {shape_of(targets)}"
        raise UnsupportedModelError(f"the metric {metric.name} fails on {found}: {first_line(error)}") from error


def shape_of(value: Any) -> str:
    """Return the shape of a tensor, or the kind of anything else."""
    return str(tuple(value.shape)) if isinstance(value, Tensor) else f"of kind {type(value).__name__}"


def check_loss(output: Any, targets: Any, loss: Loss) -> None:
    """Check that a loss of an output and targets is a scalar.

    Raises:
        UnsupportedModelError: If it fails or is not a scalar.
        SlimpruneError: If it refuses the output or the targets itself.
    """
    shapes = f"outputs {shape_of(output)} and targets {shape_of(targets)}"
    try:
        value = loss(output, targets)
    except SlimpruneError:
        raise
    except Exception as error:
        raise UnsupportedModelError(f"the loss fails on {shapes}: {first_line(error)}") from error
    if not isinstance(value, Tensor) or value.ndim > 0:
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise UnsupportedModelError(f"expected the loss of {shapes} to be a scalar tensor, got {found}")


def _with_one_output(model: nn.Module, inputs: Tensor) -> tuple[nn.Module, Tensor]:
    """Return a model that outputs one tensor and its output in eval mode; check that it works in training mode too."""
    _check_layer_names(model)
    training = model.training
    output = _forward(model.eval(), inputs)
    if has_main_output(output):
        model, output = MainOutput(model), cast(Mapping[str, Tensor], output)[MAIN]
    _check_tensor(model, output)
    model.train(training)
    # On a copy, to preserve the running statistics; a batch of one is too small for some norms.
    copied = _copied(model).train()
    _check_tensor(copied, _forward(copied, torch.cat([inputs[:1], inputs[:1]])))
    return model, cast(Tensor, output)


def _check_layer_names(model: nn.Module) -> None:
    """Check that every layer can be addressed by its name, and be exported, which writes the names into code."""
    for name, _ in (entry for layer in model.modules() for entry in layer.named_children()):
        if not name or "." in name or '"' in name or not name.isprintable():
            rule = "printable names of layers without dots and double quotes"
            raise UnsupportedModelError(f"expected {rule}, got {name!r} in {name_of(model)}")


def _check_tensor(model: nn.Module, output: object) -> None:
    if not isinstance(output, Tensor):
        found = type(output).__name__
        raise UnsupportedModelError(f"expected {_in_mode(model)} to give one tensor, got {found}")


def _forward(model: nn.Module, inputs: Tensor) -> object:
    try:
        with torch.no_grad():
            return model(inputs)
    except Exception as error:
        message = f"{_in_mode(model)} fails on inputs {tuple(inputs.shape)}: {first_line(error)}"
        raise UnsupportedModelError(message) from error


def _in_mode(model: nn.Module) -> str:
    return f"{name_of(model)}{' in training mode' if model.training else ''}"
