"""A pruned network as its training starts from it, and what comes before the pruning."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from slimprune.pipeline.export import check_export
from slimprune.pipeline.preprocessing import input_form
from slimprune.pipeline.regularizers import penalty_of
from slimprune.pipeline.rounds import LastRound
from slimprune.pipeline.stages import Start, starting_networks
from slimprune.pipeline.staging import Outputs
from slimprune.pipeline.training_checks import log_folder
from slimprune.pipeline.workload import Workload
from slimprune.recipe import ResolvedRecipe
from slimprune.results import Report
from slimprune.surgery import SlimModel
from slimprune.training import EpochRecord
from slimprune.types import Listener


@dataclass(frozen=True, eq=False)
class PrunedNetwork:
    """A pruned network as its training starts from it.

    Attributes:
        report: Report before the training.
        slimmed: The network.
        start: Networks from which it was made.
        recipe: Recipe of its training.
        teacher: Network that it imitates, if the recipe distils.
        last: The last round of pruning; None if weights are masked.
        masks: Masks of the weights that are trained; None if channels were removed.
        earlier: Epochs that it was trained for already.
    """

    report: Report
    slimmed: SlimModel
    start: Start
    recipe: ResolvedRecipe
    teacher: nn.Module | None
    last: LastRound | None = None
    masks: Mapping[str, Tensor] | None = None
    earlier: tuple[EpochRecord, ...] = ()


def start_pruning(
    recipe: ResolvedRecipe, work: Workload, stage: Path, listener: Listener
) -> tuple[Start, nn.Module | None]:
    """Return the networks to start from, and the teacher if the recipe distils."""
    penalty, log = penalty_of(recipe, work), log_folder(recipe)
    start = starting_networks(recipe, work, stage / "train dense", listener, penalty=penalty, log=log)
    # Before training, this is the dense network that `_train_dense` trains in place.
    return start, start.scored if recipe.distill is not None else None


def export_check(recipe: ResolvedRecipe, work: Workload, outputs: Outputs) -> Callable[[nn.Module], None]:
    """Return a function that checks that a network can be exported as the recipe says; see `check_export`."""
    form, lower = input_form(recipe, work), recipe.lower_precisions
    return partial(check_export, samples=work.samples, outputs=outputs, form=form, precisions=lower)
