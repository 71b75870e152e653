"""What is checked of a recipe's training options before the first step of any training."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slimprune.errors import UnsupportedModelError, UsageError, first_line
from slimprune.files import check_writable
from slimprune.forward import ForwardFn, Loss, name_of
from slimprune.pipeline.stages import default_criterion, needs_scores, training_settings
from slimprune.pipeline.workload import Workload, check_loss, check_metric, first_batch, first_pair, seeded, shape_of
from slimprune.recipe import ResolvedRecipe
from slimprune.saliency import make_criterion, twice_differentiable
from slimprune.training import TrainSettings, check_event_log, mixing_of, training_loss
from slimprune.training.batches import set_epoch
from slimprune.training.evaluation import eval_mode
from slimprune.training.step import check_fit

TENSORBOARD = "tensorboard"
"""Value of `log` that means a folder next to the output."""


def check_training(recipe: ResolvedRecipe, work: Workload) -> None:
    """Check, where the options matter on one batch, that the network can be trained as the recipe says.

    Raises:
        UsageError: If a warm-up is longer than a training, the loss cannot be smoothed or weighted as requested, the
            log cannot be written or its package is missing.
        UnsupportedModelError: If images with several labels at once, from MixUp or CutMix, do not fit the output or
            the loss.
        DataError: If there are no images and labels to mix.
    """
    settings = training_settings(recipe, work)
    _check_lengths(recipe, settings)
    _check_whole_batches(recipe, work)
    device = work.device
    if recipe.distill is not None and not work.task.has_logits:
        raise UsageError(f"expected a task whose outputs are logits beside --distill, got {work.task.name}")
    loss = training_loss(work.loss, settings, device)
    _check_first_step(recipe, work, loss)
    mixing = mixing_of(settings, work.model, work.train_batches, device, None)
    if mixing is not None or settings.class_weights:
        with seeded(recipe.seed), eval_mode(work.model), torch.no_grad():
            inputs, targets = (part.to(device) for part in next(iter(work.scoring_batches)))
            if mixing is not None:
                inputs, targets = mixing(inputs, targets)
            check_loss(work.model(inputs), targets, loss)
    if (folder := log_folder(recipe)) is not None:
        check_event_log()
        check_writable([folder / "train" / "events"])


def _check_first_step(recipe: ResolvedRecipe, work: Workload, loss: Loss) -> None:
    """Check a forward pass of the training and one of the test on a copy, as far as no weight changes."""
    device = work.device
    with seeded(recipe.seed):
        set_epoch(work.train_batches, 0)
        tried = copy.deepcopy(work.model)
        for batches, training in ((work.train_batches, True), (work.test_batches, False)):
            if work.forward_fn is not None:
                _check_batch(recipe, work, tried.train(training), first_batch(batches, device), loss)
                continue
            inputs, targets = (part.to(device) for part in first_pair(batches))
            output = _output(tried.train(training), inputs, training)
            check_fit(output, targets)
            work.check(output.detach(), targets)
            if output.requires_grad and not loss(output, targets).requires_grad:
                rule = "expected a loss that depends on trainable weights"
                raise UnsupportedModelError(f"{rule}, got one without a gradient")


def _check_batch(recipe: ResolvedRecipe, work: Workload, model: nn.Module, batch: Any, loss: Loss) -> None:
    """Check the loss of a whole batch and that it is differentiable as often as needed, or in eval mode the metric."""
    output = _output(model, batch, model.training, work.forward_fn)
    if not model.training:
        return check_metric(output, batch, work.metric)
    check_loss(output, batch, loss)
    value = loss(output, batch)
    if not value.requires_grad:
        raise UnsupportedModelError("expected a loss that depends on trainable weights, got one without a gradient")
    if not bool(value.isfinite()):
        raise UnsupportedModelError(f"expected a finite loss of the first training batch, got {value.item()}")
    if needs_scores(recipe) and _needs_curvature(recipe):
        _check_twice_differentiable(model, value)
    return None


def _needs_curvature(recipe: ResolvedRecipe) -> bool:
    criterion = make_criterion(recipe.criterion or default_criterion(recipe), **recipe.criterion_options())
    return bool(getattr(criterion, "second_order", False))


def _check_twice_differentiable(model: nn.Module, loss: Tensor) -> None:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss, trained, create_graph=True, allow_unused=True)
    total = sum((gradient.square().sum() for gradient in gradients if gradient is not None), loss.new_zeros(()))
    with twice_differentiable():
        torch.autograd.grad(total, trained, allow_unused=True)


def _check_whole_batches(recipe: ResolvedRecipe, work: Workload) -> None:
    """Check what needs one output and one target of each image, which a task of whole batches does not have.

    Raises:
        UsageError: If the recipe asks for it.
    """
    if work.forward_fn is None:
        return
    kinds: dict[str, object] = {"mixup": recipe.mixup, "cutmix": recipe.cutmix, "distill": recipe.distill}
    kinds |= {"int8": recipe.int8, "fp16": recipe.fp16, f"rule {recipe.rule}": recipe.rule in ("learned", "adjusted")}
    kinds |= {"reconstruct": recipe.reconstruct is True and not isinstance(work.samples, Tensor)}
    kinds |= {"latency budget": "latency" in (recipe.of, *recipe.also) and not isinstance(work.samples, Tensor)}
    kinds |= {"label_smoothing": recipe.label_smoothing, "class_weights": recipe.class_weights}
    for name, given in kinds.items():
        if given:
            found = "a forward_fn or several inputs" if work.task.reads != "boxes" else f"task {work.task.name}"
            raise UsageError(f"expected no --{name.replace('_', '-')} beside {found}, got one")


def _output(model: nn.Module, inputs: Any, training: bool, forward_fn: ForwardFn | None = None) -> Any:
    try:
        with torch.set_grad_enabled(training):
            return model(inputs) if forward_fn is None else forward_fn(model, inputs)
    except Exception as error:
        mode = " in training mode" if training else ""
        found = f"inputs {shape_of(inputs)}"
        raise UnsupportedModelError(f"{name_of(model)}{mode} fails on {found}: {first_line(error)}") from error


def log_folder(recipe: ResolvedRecipe) -> Path | None:
    """Return the folder for TensorBoard event files; None if the recipe writes none."""
    if recipe.log is None or recipe.out is None:
        return None
    return recipe.out.with_suffix(f".{TENSORBOARD}") if recipe.log == TENSORBOARD else Path(recipe.log)


def _check_lengths(recipe: ResolvedRecipe, settings: TrainSettings) -> None:
    """Check that the settings suit the dense training and the shortest round, which have other numbers of epochs."""
    rounds = recipe.pruning_rounds
    others = {f"each of {rounds} rounds": recipe.epochs // rounds}
    if recipe.trains_dense:
        others["the dense network"] = recipe.dense_epochs or recipe.epochs
    for training, epochs in others.items():
        try:
            replace(settings, epochs=epochs)
        except UsageError as error:
            raise UsageError(f"{error} of {training}") from error
