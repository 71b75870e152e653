"""The command `inspect`: channel groups, costs and data flow of a model, without scoring or pruning."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Unpack

import torch
from torch import nn

from slimprune.budget import CostModel
from slimprune.data import load
from slimprune.errors import UsageError
from slimprune.files import check_writable, write_files
from slimprune.graph import Example, find_groups, named_tensors, shapes_of, trace_flow
from slimprune.measure.devices import device_of
from slimprune.models import InputSpec, build, is_detector, task_of, with_one_input
from slimprune.pipeline.workload import seeded
from slimprune.recipe import Recipe, RecipeSettings, make_recipe
from slimprune.report import Inspection
from slimprune.training import choose_device
from slimprune.types import Listener, ignore

Form = Literal["json", "html", "svg"]


def inspect(
    model: nn.Module,
    example: Example,
    *,
    protect: Sequence[str] = (),
    progress: Listener = ignore,
) -> Inspection:
    """Find out what can be slimmed in a model and what it costs: channel groups, costs and the flow of data.

    Args:
        model: Any module; it is not modified.
        example: One input batch, as for `find_groups`.
        protect: Names or patterns of layers that keep all their channels.
        progress: Called with ("prove", groups proven, total groups, "").

    Returns:
        The inspection. Print it, or call its `to_json()`, `to_html()` or `to_svg()`. A model from which nothing can be
        removed is not an error: every group states the reason.

    Raises:
        UnsupportedModelError: If the model fails on the example or cannot be traced.
        UsageError: If a pattern of `protect` matches no layer.

    Examples:
        >>> print(inspect(nn.Conv2d(3, 8, 3), torch.zeros(1, 3, 8, 8)).groups[0].protected_reason)
        model output
    """
    groups = find_groups(model, example, protect=protect, progress=progress)
    return Inspection(
        name=type(model).__name__,
        inputs=[shape[1:] for shape in shapes_of(example)],
        groups=groups,
        costs=CostModel.of(model, groups, example),
        flow=trace_flow(model, example),
        types={name: type(module).__name__ for name, module in model.named_modules()},
        tensors={name: tuple(tensor.shape) for name, tensor in named_tensors(model).items()},
    )


def inspect_named(
    *,
    shape: str | None = None,
    classes: int = 10,
    files: Mapping[Form, Path] | None = None,
    listener: Listener = ignore,
    **settings: Unpack[RecipeSettings],
) -> Inspection:
    """Inspect a named architecture, write the inspection to files in the requested forms, and return it.

    Args:
        shape: Shape `C,H,W` of the inputs; None to take it from the data set, which is ignored otherwise.
        classes: Number of outputs; used only together with `shape`.
        files: File to write for each form; the paths are checked before anything is built.
        listener: Called with ("prove", groups proven, total groups, "").
        **settings: Fields of `Recipe`; only `arch`, `data`, `image_size`, `protect`, `device` and `seed` are used.

    Raises:
        SlimpruneError: If a step fails; see `slimprune.errors` for the subclasses.
    """
    files = files or {}
    recipe = make_recipe(settings)
    if len({file.resolve() for file in files.values()}) < len(files):
        raise UsageError(f"expected a file for every form, got {', '.join(map(str, files.values()))}")
    check_writable(files.values())
    if recipe.arch is None:
        raise UsageError("expected an architecture (--arch), got none")
    inputs = _inputs_of_data(recipe) if shape is None else _parsed(shape, classes)
    with seeded(recipe.seed):
        model = build(recipe.arch, inputs).to(choose_device(recipe.device))
    device = device_of(model)
    example = torch.zeros(2, inputs.channels, inputs.height, inputs.width, device=device)
    if is_detector(model):
        model = with_one_input(model, inputs.height, inputs.width)
    found = inspect(model, example, protect=recipe.protect, progress=listener)
    found = replace(found, name=recipe.arch)
    forms = {"json": found.to_text, "html": found.to_html, "svg": found.to_svg}
    write_files({file: forms[form]() for form, file in files.items()})
    return found


def _inputs_of_data(recipe: Recipe) -> InputSpec:
    """Return the inputs that fit the data set; a segmentation architecture gets one output for data without masks."""
    data = load(recipe.data, image_size=recipe.image_size)
    fits = task_of(str(recipe.arch)) in (None, data.task)
    return InputSpec(data.channels, data.height, data.width, data.classes if fits else 1)


def _parsed(shape: str, classes: int) -> InputSpec:
    sizes = shape.split(",")
    if len(sizes) != 3 or not all(size.strip().isdecimal() for size in sizes):
        raise UsageError(f"expected --shape C,H,W such as 3,224,224, got {shape!r}")
    channels, height, width = map(int, sizes)
    return InputSpec(channels, height, width, classes)
