"""The choice of the training's precision where a recipe leaves it to the machine."""

import json

from slimprune.ranks.group import from_first
from slimprune.recipe import ResolvedRecipe
from slimprune.timing import autocast_times
from slimprune.training import choose_device
from slimprune.types import AUTO

MEASURED = ("cpu", "cuda")
"""Types of devices on which a training step is timed."""


def with_precision(recipe: ResolvedRecipe) -> tuple[ResolvedRecipe, str | None]:
    """Return the recipe with `amp` decided, and a sentence on the choice if the recipe left it to the machine.

    Raises:
        UsageError: If the device is unknown or absent.
    """
    if recipe.amp != AUTO:
        return recipe, None
    chosen, reason = json.loads(from_first(lambda: json.dumps(faster_in_bfloat16(recipe.device)).encode()))
    return recipe.model_copy(update={"amp": chosen}), reason


def faster_in_bfloat16(device: str) -> tuple[bool, str]:
    """Return whether a training step is clearly faster under autocast on a device, and a sentence that says so.

    Raises:
        UsageError: If the device is unknown or absent.
    """
    place = choose_device(device)
    if place.type not in MEASURED:
        return False, f"amp auto is off: nothing is measured on {place.type}"
    times = autocast_times(place)
    return times.pays, str(times)
