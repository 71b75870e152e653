"""Masks of single weights in a run: the weights are scored, the masks chosen and kept for a run that is resumed."""

import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from slimprune.budget import Cost, Plan
from slimprune.errors import VerificationError
from slimprune.files import read_value, write_atomically
from slimprune.masks import (
    PrunableWeight,
    check_sparsity,
    choose_masks,
    find_weights,
    masked,
    shuffled,
    sparsity_of,
    weight_target,
)
from slimprune.measure import PeakMemory, count_macs, count_params, weight_bytes
from slimprune.pipeline.gradual import PartlyTrained, check_gradual, prune_gradually
from slimprune.pipeline.processes import environment_of
from slimprune.pipeline.pruned import PrunedNetwork, export_check, start_pruning
from slimprune.pipeline.stages import (
    Start,
    budget_of,
    default_criterion,
    earlier_epochs,
    run_training,
    training_settings,
)
from slimprune.pipeline.staging import Outputs
from slimprune.pipeline.trained import settle
from slimprune.pipeline.training_checks import log_folder
from slimprune.pipeline.workload import Workload, seeded
from slimprune.recipe import ResolvedRecipe
from slimprune.results import Accuracies, Masks, Measured, Report, Round, Saliency
from slimprune.saliency import Scores, make_criterion, score_weights
from slimprune.surgery import SlimModel, initialise
from slimprune.training import EpochRecord, TrainResult
from slimprune.types import REMARK, Listener

MASKS_FILE = "masks.safetensors"
_SALIENCY = "saliency.json"

WeightScorer = Callable[
    [ResolvedRecipe, Workload, Sequence[PrunableWeight], nn.Module, Listener], tuple[Scores, Saliency]
]


@dataclass(frozen=True, eq=False)
class PlannedMasks:
    """The masks of a network and how they were found.

    Attributes:
        layers: The weights of all convolutions and linear layers.
        masks: Name of a weight -> bool of its shape, True for an entry that stays; protected weights have none.
        rule: How the weights that stay are divided among the layers.
        saliency: How the weights were scored.
        rounds: Rounds of training, masking and rewinding that came before.
        partly: The network in whose training they were found, which goes on with it; None if it starts anew.
    """

    layers: tuple[PrunableWeight, ...]
    masks: Mapping[str, Tensor]
    rule: str
    saliency: Saliency
    rounds: tuple[Round, ...] = ()
    partly: PartlyTrained | None = None

    @property
    def earlier(self) -> tuple[EpochRecord, ...]:
        """The epochs that the masked network was trained for already."""
        return () if self.partly is None else self.partly.training.history

    @property
    def result(self) -> Masks:
        """What the masks leave of every layer."""
        return Masks(self.rule, sparsity_of(self.layers, self.masks))


def mask_weights(recipe: ResolvedRecipe, work: Workload, outputs: Outputs, listener: Listener) -> PrunedNetwork:
    """Return the network with masked weights, which are zero, checked for its export.

    Raises:
        BudgetError: If so many weights cannot be masked.
        UnsupportedModelError: If there are no weights to mask, or the network cannot be scored or exported.
    """
    layers = maskable_weights(recipe, work)
    start, teacher = start_pruning(recipe, work, outputs.stage, listener)
    tune = partial(run_training, teacher=teacher, log=log_folder(recipe))
    planned = find_masks(recipe, work, layers, start, outputs.stage, listener, train_it=tune)
    slimmed = masked_model(recipe, work, start, planned)
    export_check(recipe, work, outputs)(slimmed.module)
    slimmed, accuracies = settle_masked(recipe, work, start, slimmed, listener)
    report = replace(describe_masked(recipe, work, slimmed, planned), accuracies=accuracies)
    earlier = planned.earlier or earlier_epochs(recipe, start)
    return PrunedNetwork(report, slimmed, start, recipe, teacher, masks=planned.masks, earlier=earlier)


def maskable_weights(recipe: ResolvedRecipe, work: Workload) -> tuple[PrunableWeight, ...]:
    """Return the weights that may be masked after checking that the recipe's share of them can be.

    Raises:
        BudgetError: If so many cannot be masked.
        UnsupportedModelError: If there are none.
    """
    layers = find_weights(work.model, work.plain_example, protect=recipe.protect)
    check_sparsity(layers, recipe.ratio, recipe.rule)
    return layers


def score_layers(
    recipe: ResolvedRecipe, work: Workload, layers: Sequence[PrunableWeight], network: nn.Module, listener: Listener
) -> tuple[Scores, Saliency]:
    """Score all weights of `network`; return the scores and how they were computed."""
    began, criterion = time.perf_counter(), recipe.criterion or default_criterion(recipe)
    with PeakMemory(work.device) as memory, seeded(recipe.seed):
        scores = score_weights(
            network,
            [layer.group for layer in layers],
            work.scoring_batches,
            work.loss,
            criterion=make_criterion(criterion, **recipe.criterion_options()),
            draws=recipe.draws,
            dtype=getattr(torch, recipe.dtype),
            average=recipe.average,
            seed=recipe.seed,
            target=weight_target(layers, recipe.ratio, rule=recipe.rule),
            progress=lambda stage, done, total, _: listener(stage, done, total, criterion),
            forward_fn=work.forward_fn,
            ranks=work.across.ranks,
        )
    seconds = time.perf_counter() - began
    return scores, Saliency.of(criterion, scores, seconds, memory.peak_bytes)


def find_masks(
    recipe: ResolvedRecipe,
    work: Workload,
    layers: tuple[PrunableWeight, ...],
    start: Start,
    folder: Path,
    listener: Listener,
    *,
    train_it: Callable[..., TrainResult],
    scorer: WeightScorer = score_layers,
) -> PlannedMasks:
    """Return the masks for the recipe's sparsity, found in its rounds of training, masking and rewinding.

    The scored network of the first round is the dense one. After round k of N, (1 - ratio)^(k / N) of the weights stay,
    so that each masks the same share of those that are left. They are then rewound and trained for the next round.

    Args:
        recipe: Recipe of the run.
        work: Workload with batches and loss.
        layers: The weights that may be masked.
        start: The trained dense network, and the weights to which every round goes back.
        folder: Folder of masks and checkpoints.
        listener: Called during scoring and training.
        train_it: Function that trains a network like `run_training`.
        scorer: Function that computes the scores.

    Source: Frankle and Carbin, The Lottery Ticket Hypothesis (ICLR 2019), iterative magnitude pruning; Frankle et al.,
    Stabilizing the Lottery Ticket Hypothesis (2019), rewinding to a later step than the first.
    """
    if recipe.when == "gradual":
        return _found_gradually(recipe, work, layers, start, folder, listener, train_it)
    count, network, planned = recipe.rewinding_rounds, start.scored, None
    for number in range(1, count):
        share = 1 - (1 - recipe.ratio) ** (number / count)
        of_round = recipe.model_copy(update={"ratio": share, "twin": None})
        planned = plan_masks(
            of_round, work, layers, network, listener, folder=folder / f"round {number}", scorer=scorer, after=planned
        )
        network = masked(start.inherited, planned.masks)
        store = folder / f"train round {number}"
        result = train_it(training_settings(recipe, work), work, network, store, listener, masks=planned.masks)
        done = Round(planned.result.sparsity, None, None, result.epochs, result.final)
        planned = replace(planned, rounds=(*planned.rounds, done))
    return plan_masks(recipe, work, layers, network, listener, folder=folder, scorer=scorer, after=planned)


def _found_gradually(
    recipe: ResolvedRecipe,
    work: Workload,
    layers: tuple[PrunableWeight, ...],
    start: Start,
    folder: Path,
    listener: Listener,
    train_it: Callable[..., TrainResult],
) -> PlannedMasks:
    """Return the masks that gradual pruning ends with.

    A twin has as many weights in every layer, but it is trained from the start, as one with other initial weights is.
    """
    check_gradual(recipe)
    module = copy.deepcopy(start.inherited)
    partly = prune_gradually(recipe, work, layers, module, folder / "gradual", listener, train_it=train_it)
    masks = dict(partly.masks)
    if recipe.twin is not None:
        masks = shuffled(masks, seed=recipe.seed)
    # Reading the sizes of the weights is a part of the training, and of its time.
    saliency = Saliency("magnitude", 0, 1, None, 0.0, 0)
    anew = recipe.twin is not None or recipe.init != "keep"
    planned = PlannedMasks(layers, masks, recipe.rule, saliency, partly=None if anew else partly)
    _tell_empty(planned, listener)
    return planned


def _tell_empty(planned: PlannedMasks, listener: Listener) -> None:
    if (sentence := planned.result.without_weights) is not None:
        listener(REMARK, 1, 1, sentence)


def plan_masks(
    recipe: ResolvedRecipe,
    work: Workload,
    layers: tuple[PrunableWeight, ...],
    network: nn.Module,
    listener: Listener,
    *,
    folder: Path | None = None,
    scorer: WeightScorer = score_layers,
    after: PlannedMasks | None = None,
) -> PlannedMasks:
    """Return the masks for the recipe's sparsity.

    Args:
        recipe: Recipe with criterion, ratio and rule.
        work: Workload with batches and loss.
        layers: The weights that may be masked.
        network: Network whose weights are scored.
        listener: Called during scoring, and if a layer is left without weights.
        folder: Folder of the masks, read if an interrupted run left them, and written otherwise.
        scorer: Function that computes the scores.
        after: Masks of the round before, whose masked weights stay masked; None for the first.

    Raises:
        VerificationError: If the masks in the folder cannot be read.
    """
    file = None if folder is None else folder / MASKS_FILE
    within, rounds = (None, ()) if after is None else (after.masks, after.rounds)
    if file is not None and file.exists():
        return replace(_read(file, recipe, layers), rounds=rounds)
    scores, saliency = scorer(recipe, work, layers, network, listener)
    twin, seed = recipe.twin, recipe.seed
    masks = choose_masks(scores, layers, recipe.ratio, rule=recipe.rule, twin=twin, seed=seed, within=within)
    planned = PlannedMasks(layers, masks, recipe.rule, saliency, rounds)
    _tell_empty(planned, listener)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file.with_name(_SALIENCY), json.dumps(saliency.to_json()))
        write_atomically(file, save(masks))
    return planned


def _read(file: Path, recipe: ResolvedRecipe, layers: tuple[PrunableWeight, ...]) -> PlannedMasks:
    try:
        masks = load_file(file)
        saliency = read_value(Saliency, file.with_name(_SALIENCY).read_bytes(), f"{file.with_name(_SALIENCY)}")
    except (SafetensorError, OSError) as error:
        raise VerificationError(f"masks {file} cannot be read: {error}") from error
    shapes = {layer.name: layer.shape for layer in layers if layer.protected_reason is None}
    if {name: tuple(mask.shape) for name, mask in masks.items()} != shapes:
        raise VerificationError(f"expected masks of this network in {file}, got others")
    return PlannedMasks(layers, masks, recipe.rule, saliency)


def masked_model(recipe: ResolvedRecipe, work: Workload, start: Start, planned: PlannedMasks) -> SlimModel:
    """Return the network with masked weights and the initial weights of its training.

    It has all channels of the dense network, so its plan has no groups, and there is no removal to prove.
    """
    inherited = start.inherited if planned.partly is None else planned.partly.module
    if recipe.init == "reinit":
        inherited = initialise(inherited, work.model, recipe.init, seed=recipe.seed)
    found = planned.result
    channels = sum(layer.channels for layer in found.layers)
    dense = Cost(count_params(work.model), count_macs(work.model, work.plain_example), channels)
    params, macs = dense.params - found.weights + found.kept, dense.macs - found.macs + found.sparse_macs
    sparse = replace(dense, params=params, macs=macs)
    return SlimModel(masked(inherited, planned.masks), Plan((), {}, budget_of(recipe), recipe.rule, dense, sparse))


def settle_masked(
    recipe: ResolvedRecipe, work: Workload, start: Start, slimmed: SlimModel, listener: Listener
) -> tuple[SlimModel, Accuracies | None]:
    """Return a masked network with batch norm statistics of its own, and its accuracy if it was trained; see `settle`.

    Layers behind removed channels are solved anew, but here no channel is removed.
    """
    return settle(recipe.model_copy(update={"reconstruct": False}), work, start, slimmed, listener)


def describe_masked(recipe: ResolvedRecipe, work: Workload, slimmed: SlimModel, planned: PlannedMasks) -> Report:
    """Return the report on the masked network before its training."""
    size = weight_bytes(work.model)
    return Report(
        recipe=recipe,
        environment=environment_of(work),
        plan=slimmed.plan,
        layers=tuple(name for name, _ in work.model.named_modules()),
        dense=Measured(slimmed.plan.dense, size),
        slim=Measured(slimmed.plan.slim, size),
        proof=None,
        saliency=planned.saliency,
        masks=planned.result,
        rounds=planned.rounds,
        without_weights=work.without_weights,
        frozen=tuple(name for name, tensor in slimmed.module.named_parameters() if not tensor.requires_grad),
        judged=work.judged,
    )
