"""Early-Bird tickets: the training goes on without channels once those to keep no longer change."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from torch import nn

from slimprune.budget import LATENCY, Plan
from slimprune.errors import UsageError
from slimprune.files import read_value, write_atomically
from slimprune.pipeline.regularizers import penalty_of
from slimprune.pipeline.stages import (
    FOUND_RULES,
    Analysis,
    Start,
    allocate_for,
    budget_of,
    check_one_schedule,
    run_training,
    score_channels,
    training_settings,
)
from slimprune.recipe import EARLY_BIRD_CRITERION, ResolvedRecipe
from slimprune.results import EarlyBird
from slimprune.saliency import make_criterion
from slimprune.training import count_batches
from slimprune.types import REMARK, Listener, ignore

QUEUE = 5
"""Number of distances in a row that have to be small."""

Kept = dict[str, list[int]]
"""Channel group -> channels that would be kept."""


def check_early_bird(recipe: ResolvedRecipe) -> None:
    """Check what an Early-Bird ticket cannot be combined with.

    Raises:
        UsageError: If weights are masked, an option does not fit, or there are too few epochs.
    """
    if recipe.when != "early-bird":
        return
    if recipe.masks_weights:
        raise UsageError("expected --unit channels beside --when early-bird, got weights")
    name = recipe.criterion or EARLY_BIRD_CRITERION
    if make_criterion(name, **recipe.criterion_options()).batches_per_draw:
        raise UsageError(f"expected a criterion without batches beside --when early-bird, got {name}")
    if recipe.rule in FOUND_RULES or LATENCY in budget_of(recipe).ratios:
        raise UsageError(f"expected a rule and a budget that `allocate` knows, got rule {recipe.rule}")
    check_one_schedule(recipe)
    if recipe.epochs < QUEUE + 2:
        raise UsageError(f"expected at least {QUEUE + 2} epochs beside --when early-bird, got {recipe.epochs}")


def draw_early(
    recipe: ResolvedRecipe, analysis: Analysis, folder: Path, listener: Listener, *, log: Path | None = None
) -> Start:
    """Train the dense network until the channels to keep no longer change; return it as what slimming starts from.

    After every epoch the channels are scored and chosen for the budget. The distance of two epochs is the share of all
    channels that only one of them keeps. The ticket is drawn where the last `QUEUE` distances are below the recipe's,
    or else one epoch before the end.

    Args:
        recipe: Recipe of the run.
        analysis: Analysis of the dense network.
        folder: Folder of the chosen channels and the checkpoints.
        listener: Called during training.
        log: Folder of TensorBoard event files.

    Source: You et al., Drawing Early-Bird Tickets: Towards More Efficient Training of Deep Networks (ICLR 2020),
    algorithm 1.
    """
    check_early_bird(recipe)
    work = analysis.work
    module = copy.deepcopy(work.model)
    ticket = _Ticket(recipe, analysis, count_batches(work.train_batches), folder / "early-bird.json")
    result = run_training(
        training_settings(recipe, work),
        work,
        module,
        folder / "train dense early",
        listener,
        after_step=ticket.after_step,
        penalty=penalty_of(recipe, work),
        log=log,
        enough=ticket.drawn,
    )
    distances = ticket.distances(result.epochs)
    if not ticket.settled(result.epochs):
        sentence = f"the channels to keep still change by {100 * distances[-1]:.1f} % after epoch {result.epochs}"
        listener(REMARK, 1, 1, f"{sentence}, where the ticket is drawn")
    found = EarlyBird(result.epochs, distances, recipe.mask_distance or 0.0)
    earlier = result.history if recipe.init == "keep" else ()
    return replace(Start(module, module), earlier=earlier, early_bird=found)


@dataclass(eq=False)
class _Ticket:
    """The channels that would be kept, epoch by epoch.

    Attributes:
        recipe: Recipe with criterion, budget and rule.
        analysis: Analysis of the dense network.
        per_epoch: Steps of an epoch.
        file: File of the channels, from which a training that was stopped goes on.
    """

    recipe: ResolvedRecipe
    analysis: Analysis
    per_epoch: int
    file: Path
    _kept: list[Kept] = field(default_factory=list, init=False)

    def after_step(self, module: nn.Module, done: int) -> None:
        """Choose the channels after an epoch."""
        epoch, rest = divmod(done, self.per_epoch)
        if rest:
            return
        own = self.recipe.model_copy(update={"twin": None})
        plan = allocate_for(own, self.analysis, score_channels(own, self.analysis, module, ignore)[0])
        self._kept = [*self._read()[: epoch - 1], _channels(plan)]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.file, json.dumps(self._kept))

    def drawn(self, epochs: int) -> bool:
        """Return whether the training ends here."""
        return epochs > 0 and (self.settled(epochs) or epochs >= self.recipe.epochs - 1)

    def settled(self, epochs: int) -> bool:
        """Return whether the channels have stayed nearly the same for long enough."""
        last = self.distances(epochs)[-QUEUE:]
        return len(last) == QUEUE and max(last) < (self.recipe.mask_distance or 0.0)

    def distances(self, epochs: int) -> tuple[float, ...]:
        """Return the distance of every epoch from the one before, from the second on."""
        kept, widths = self._read()[:epochs], {group.id: group.width for group in self.analysis.groups}
        return tuple(mask_distance(one, other, widths) for one, other in pairwise(kept))

    def _read(self) -> Sequence[Kept]:
        if not self._kept and self.file.exists():
            self._kept = read_value(list[Kept], self.file.read_bytes(), f"channels {self.file}")
        return self._kept


def mask_distance(one: Kept, other: Kept, widths: Mapping[str, int]) -> float:
    """Return the share of all channels that only one of two plans keeps.

    Args:
        one: Channel group -> channels that the first plan keeps.
        other: The same of the second plan.
        widths: Channel group -> number of its channels.
    """
    differing = sum(len(set(one[group]) ^ set(other[group])) for group in widths)
    return differing / sum(widths.values())


def _channels(plan: Plan) -> Kept:
    return {group: channels.tolist() for group, channels in plan.kept.items()}
