"""Runs that several processes share: what is checked before the first step, and how the work is divided."""

from dataclasses import replace

from slimprune.errors import UsageError
from slimprune.measure import environment
from slimprune.pipeline.latency import needs_times
from slimprune.pipeline.workload import Workload
from slimprune.ranks.group import check_equal, joined, place_of
from slimprune.recipe import ResolvedRecipe
from slimprune.saliency import check_divisible, make_criterion
from slimprune.training import AcrossRanks, choose_device

_FOR_SEVERAL = ("sync_bn", "bf16_gradients", "split_draws")
"""Fields of a recipe that only several processes heed."""

_OWN = {"out", "device", "fast", "log"}
"""Fields in which processes may differ."""


def check_processes(recipe: ResolvedRecipe) -> None:
    """Check that the processes of this run can share a recipe, and that all have the same one.

    Raises:
        UsageError: If they cannot or have not, or a field needs several processes and this one is alone.
    """
    ranks = joined()
    if not ranks.several:
        for name in _FOR_SEVERAL:
            if getattr(recipe, name):
                option = f"--{name.replace('_', '-')}"
                raise UsageError(f"expected several processes, as torchrun starts them, beside {option}, got one")
        return
    check_equal(recipe.model_dump(mode="json", exclude=_OWN))
    if needs_times(recipe):
        raise UsageError(
            f"expected one process to measure latencies, got {ranks.count}: make the plan of a latency budget alone"
        )
    if recipe.split_draws:
        _check_split(recipe, ranks.count)


def in_processes(recipe: ResolvedRecipe, work: Workload) -> Workload:
    """Return the workload as the processes of this run share it, after a check that they have the same.

    Raises:
        UsageError: If the data cannot be divided, or another process has another model or other data.
    """
    across = AcrossRanks(joined(), recipe.sync_bn, recipe.bf16_gradients)
    if across.ranks.several:
        check_equal({"model, data and packages": work.fingerprint})
        for batches in (work.train_batches, work.test_batches, work.validation_batches):
            across.share_of(batches)
    return replace(work, across=across)


def device_of_run(recipe: ResolvedRecipe) -> str:
    """Return the device of this process.

    Raises:
        UsageError: If the recipe's device is absent, or there are fewer devices than processes.
    """
    return str(place_of(choose_device(recipe.device)))


def environment_of(work: Workload) -> dict[str, str | int]:
    """Return device, threads and versions of a run, and the number of its processes if there are several."""
    count = work.across.ranks.count
    return environment(work.device) | ({"processes": count} if count > 1 else {})


def _check_split(recipe: ResolvedRecipe, count: int) -> None:
    if recipe.masks_weights:
        raise UsageError("expected scores of channels beside --split-draws, got --unit weights")
    if recipe.criterion is not None:
        check_divisible(recipe.criterion, make_criterion(recipe.criterion, **recipe.criterion_options()))
    if recipe.score_batch is not None and recipe.score_batch % count:
        rule = f"a --score-batch that {count} processes divide equally beside --split-draws"
        raise UsageError(f"expected {rule}, got {recipe.score_batch}")
