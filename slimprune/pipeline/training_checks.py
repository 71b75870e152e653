"""What is checked of a recipe's training options before the first step of any training."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from slimprune.errors import UnsupportedModelError, UsageError, first_line
from slimprune.files import check_writable
from slimprune.forward import Loss
from slimprune.pipeline.stages import training_settings
from slimprune.pipeline.workload import Workload, check_loss, first_pair, seeded
from slimprune.recipe import ResolvedRecipe
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
    device = work.example.device
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
    device = work.example.device
    with seeded(recipe.seed):
        set_epoch(work.train_batches, 0)
        tried = copy.deepcopy(work.model)
        for batches, training in ((work.train_batches, True), (work.test_batches, False)):
            inputs, targets = (part.to(device) for part in first_pair(batches))
            output = _output(tried.train(training), inputs, training)
            check_fit(output, targets)
            work.check(output.detach(), targets)
            if output.requires_grad and not loss(output, targets).requires_grad:
                rule = "expected a loss that depends on trainable weights"
                raise UnsupportedModelError(f"{rule}, got one without a gradient")


def _output(model: nn.Module, inputs: Tensor, training: bool) -> Tensor:
    try:
        with torch.set_grad_enabled(training):
            return cast(Tensor, model(inputs))
    except Exception as error:
        mode = " in training mode" if training else ""
        shape = f"inputs {tuple(inputs.shape)}"
        raise UnsupportedModelError(f"{type(model).__name__}{mode} fails on {shape}: {first_line(error)}") from error


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
