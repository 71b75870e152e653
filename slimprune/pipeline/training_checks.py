"""What is checked of a recipe's training options before the first step of any training."""

from dataclasses import replace
from pathlib import Path

import torch

from slimprune.errors import UsageError
from slimprune.files import check_writable
from slimprune.pipeline.stages import training_settings
from slimprune.pipeline.workload import Workload, check_loss, seeded
from slimprune.recipe import ResolvedRecipe
from slimprune.training import TrainSettings, check_event_log, mixing_of, training_loss
from slimprune.training.evaluation import eval_mode

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
    loss = training_loss(work.loss, settings, device)
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
