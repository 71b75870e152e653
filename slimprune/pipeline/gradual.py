"""Gradual magnitude pruning: single weights are masked in the course of the training that the network ends with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from slimprune.errors import UsageError, VerificationError
from slimprune.files import write_atomically
from slimprune.masks import PrunableWeight, choose_masks, pruning_steps
from slimprune.pipeline.stages import check_one_schedule, training_settings
from slimprune.pipeline.workload import Workload
from slimprune.recipe import ResolvedRecipe
from slimprune.saliency import Scores
from slimprune.training import HeldWeights, TrainResult, count_batches
from slimprune.types import Listener


@dataclass(frozen=True, eq=False)
class PartlyTrained:
    """A network that was pruned in the first epochs of its training, which goes on with the masks held.

    Attributes:
        module: The network; masked weights are zero.
        masks: Name of a weight -> bool of its shape, True for an entry that stays.
        training: Training of these epochs.
    """

    module: nn.Module
    masks: Mapping[str, Tensor]
    training: TrainResult


def check_gradual(recipe: ResolvedRecipe) -> None:
    """Check what gradual pruning cannot be combined with.

    Raises:
        UsageError: If channels are to be removed, an option does not fit, or no epochs are left before or after.
    """
    if recipe.when != "gradual":
        return
    if not recipe.masks_weights:
        raise UsageError("expected --unit weights beside --when gradual, got channels")
    if recipe.criterion not in (None, "magnitude"):
        raise UsageError(f"expected criterion magnitude beside --when gradual, got {recipe.criterion}")
    if recipe.twin == "invert":
        raise UsageError("expected --twin shuffle beside --when gradual, got invert")
    check_one_schedule(recipe)
    first, last = recipe.pruning_epochs
    if not first < last < recipe.epochs:
        wanted = f"expected --prune-until above --prune-from and below the {recipe.epochs} epochs"
        raise UsageError(f"{wanted}, got {last} after {first}")


def prune_gradually(
    recipe: ResolvedRecipe,
    work: Workload,
    layers: Sequence[PrunableWeight],
    module: nn.Module,
    folder: Path,
    listener: Listener,
    *,
    train_it: Callable[..., TrainResult],
) -> PartlyTrained:
    """Train a network for the recipe's first epochs and mask its smallest weights on the way, resumable in `folder`.

    Args:
        recipe: Recipe of the run.
        work: Workload with batches and loss.
        layers: The weights that may be masked.
        module: The network as its training starts; it is trained in place.
        folder: Folder of masks and checkpoints.
        listener: Called after every step.
        train_it: Function that trains a network like `run_training`.

    Source: Zhu and Gupta, To Prune, or Not to Prune (2017); see `gradual_sparsity`.
    """
    per_epoch, (first, last) = count_batches(work.train_batches), recipe.pruning_epochs
    shares = pruning_steps(first * per_epoch, last * per_epoch, recipe.rounds or 1, recipe.ratio)
    pruning = _Pruning(layers, shares, recipe.rule, per_epoch, folder)
    result = train_it(
        training_settings(recipe, work),
        work,
        module,
        folder / "train gradually",
        listener,
        after_step=pruning.after_step,
        enough=lambda epochs: epochs >= last,
    )
    return PartlyTrained(module, pruning.masks_after(last * per_epoch), result)


@dataclass(eq=False)
class _Pruning:
    """The masks of a training in its course.

    Attributes:
        layers: The weights that may be masked.
        shares: Step -> share of the weights that is masked from there on.
        rule: How the weights that stay are divided among the layers.
        per_epoch: Steps of an epoch.
        folder: Folder of the masks, from which a training that was stopped goes on.
    """

    layers: Sequence[PrunableWeight]
    shares: Mapping[int, float]
    rule: str
    per_epoch: int
    folder: Path
    _masks: dict[str, Tensor] | None = field(default=None, init=False)
    _held: HeldWeights | None = field(default=None, init=False)

    def after_step(self, module: nn.Module, done: int) -> None:
        """Mask what the schedule masks after this step, and set to zero what was masked before."""
        if self._masks is None and any(step < done for step in self.shares):
            self._hold(module, self.masks_after(done - 1))
        if done in self.shares:
            self._hold(module, self._smaller(module, self.shares[done]))
            self._store(done)
        elif self._held is not None:
            self._held.mask_weights()

    def masks_after(self, done: int) -> dict[str, Tensor]:
        """Return the masks after a step, from the file of the last step that changed them.

        Raises:
            VerificationError: If the file cannot be read.
        """
        file = self._file(max(step for step in self.shares if step <= done))
        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise VerificationError(f"masks {file} cannot be read: {error}") from error

    def _smaller(self, module: nn.Module, share: float) -> dict[str, Tensor]:
        """Return the masks that leave the largest weights; what was masked stays masked."""
        sizes = {layer.name: _sizes(module.get_parameter(layer.name)) for layer in self.layers}
        scores = Scores(sizes, "magnitude", draws=1, stability=None)
        return choose_masks(scores, self.layers, share, rule=self.rule, within=self._masks)

    def _hold(self, module: nn.Module, masks: dict[str, Tensor]) -> None:
        self._masks, self._held = masks, HeldWeights.of(module, masks)

    def _store(self, done: int) -> None:
        """Write the masks; keep those to which a training may have to return that was killed within this epoch."""
        assert self._masks is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._file(done), save(self._masks))
        before = sorted(step for step in self.shares if step <= (done - 1) // self.per_epoch * self.per_epoch)
        for step in before[:-1]:
            self._file(step).unlink(missing_ok=True)

    def _file(self, done: int) -> Path:
        return self.folder / f"step {done}.safetensors"


def _sizes(weight: nn.Parameter) -> Tensor:
    with torch.no_grad():
        return weight.detach().abs().flatten().double().cpu()
