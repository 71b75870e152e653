"""The cells of a comparison whose single weights are masked."""

import copy
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from torch import nn

from slimprune.comparison.outcomes import costs_of, failure_of_one, kept_shares, outcome_of
from slimprune.errors import BudgetError, SlimpruneError
from slimprune.files import CellOutcome
from slimprune.pipeline.masks import PlannedMasks, maskable_weights, masked_model, settle_masked
from slimprune.pipeline.stages import Start, earlier_epochs, run_training, training_settings
from slimprune.pipeline.training_checks import check_training
from slimprune.pipeline.workload import Workload
from slimprune.recipe import ResolvedRecipe
from slimprune.types import Listener, ignore


def refused_masks(recipe: ResolvedRecipe, work: Workload) -> str | None:
    """Return why so many weights cannot be masked; None if they can."""
    check_training(recipe, work)
    try:
        maskable_weights(recipe, work)
    except BudgetError as error:
        return str(error)
    return None


@dataclass(frozen=True, eq=False)
class MaskedTraining:
    """The training of a masked network.

    Attributes:
        recipe: Recipe of the cell.
        work: Workload with its own batches.
        start: Networks from which the masked one is made.
        planned: Its masks.
        store: Folder of the checkpoints.
    """

    recipe: ResolvedRecipe
    work: Workload
    start: Start
    planned: PlannedMasks
    store: Path

    def outcome(self, teacher: nn.Module | None, surgery: Lock, listener: Listener) -> CellOutcome:
        """Train and test the network.

        Args:
            teacher: Network that is imitated if the recipe distils.
            surgery: Lock held while MACs are counted, which changes settings of the whole process.
            listener: Called after every step.
        """
        recipe, work = self.recipe, self.work
        with surgery:
            slimmed = masked_model(recipe, work, self.start, self.planned)
        slimmed, accuracies = settle_masked(recipe, work, self.start, slimmed, ignore)
        settings, imitated, masks = training_settings(recipe, work), copy.deepcopy(teacher), self.planned.masks
        earlier = self.planned.earlier or earlier_epochs(recipe, self.start)
        try:
            result = run_training(
                settings, work, slimmed.module, self.store, listener,
                teacher=imitated, masks=masks, earlier=earlier,
            )  # fmt: skip
        except SlimpruneError as error:
            return {"refused": failure_of_one(error)}
        before = 0 if self.start.dense_training is None else self.start.dense_training.epochs
        before += sum(one.epochs for one in self.planned.rounds)
        before += 0 if earlier else len(self.start.earlier)
        return {
            **outcome_of(result, work),
            **costs_of(slimmed.plan.slim),
            "pruned": None if accuracies is None else accuracies.pruned,
            "rule": self.planned.rule,
            "widths": None,
            "weights_kept": {layer.layer: layer.kept for layer in self.planned.result.layers},
            "kept_by_layer": {
                layer.layer: layer.kept / layer.weights
                for layer in self.planned.result.layers
                if layer.protected_reason is None
            },
            "kept": kept_shares(slimmed.plan),
            "scoring": self.planned.saliency.to_json(),
            "epochs": before + result.epochs,
        }
