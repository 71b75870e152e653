"""How images become a network's input: what the recipe says of it, applied to its data."""

from dataclasses import replace

import torch
from torch import Tensor

from slimprune.errors import UsageError
from slimprune.export import InputForm
from slimprune.pipeline.workload import Workload
from slimprune.preprocessing import Preprocessing
from slimprune.recipe import ResolvedRecipe


def input_form(recipe: ResolvedRecipe, work: Workload) -> InputForm:
    """Return what the ONNX file of a run takes."""
    return InputForm.of(work.preprocessing, recipe.input)


def with_own_preprocessing(recipe: ResolvedRecipe, work: Workload) -> Workload:
    """Return the workload of own batches with the preprocessing that the recipe states; without one if it states none.

    Raises:
        UsageError: If mean and std are missing where they are needed, or something does not fit the batches.
    """
    if not (recipe.mean or recipe.std):
        for field, needs in (("input", recipe.input not in (None, "normalized")), ("class_names", recipe.class_names)):
            if needs:
                raise UsageError(f"expected mean and std beside {field} for own batches, got none")
        return work
    if work.images.ndim != 4:
        raise UsageError(f"expected inputs [N, C, H, W] beside mean and std, got {list(work.images.shape)}")
    height, width = work.images.shape[2:]
    how = Preprocessing(recipe.mean, recipe.std, height, width, class_names=recipe.class_names)
    InputForm("normalized", how).check(work.images)
    if how.class_names:
        _check_names(how.class_names, work)
    return replace(work, preprocessing=how)


def _check_names(names: tuple[str, ...], work: Workload) -> None:
    training = work.model.training
    with torch.no_grad():
        output: Tensor = work.model.eval()(work.example)
    work.model.train(training)
    classes = output.shape[1] if output.ndim > 1 else 1
    if len(names) != classes:
        raise UsageError(f"expected {classes} class names for outputs {list(output.shape)}, got {len(names)}")
