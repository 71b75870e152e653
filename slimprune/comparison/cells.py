"""The cells of a comparison: from a recipe to a plan, and from a plan to the record of a trained network."""

import copy
import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Lock

import torch
from torch import nn

from slimprune.comparison.equal_trainings import equal_training, training_digest
from slimprune.comparison.grid import TRAINING, Cell
from slimprune.comparison.masked_cells import MaskedTraining, refused_masks
from slimprune.comparison.outcomes import as_given, costs_of, failure_of_one, kept_by_layer, kept_shares, outcome_of
from slimprune.data import data_files
from slimprune.errors import BudgetError, DataError, SlimpruneError, UnsupportedModelError
from slimprune.files import CellOutcome, CellRecord, digest_of
from slimprune.masks import PrunableWeight
from slimprune.pipeline.early_bird import draw_early
from slimprune.pipeline.masks import (
    PlannedMasks,
    find_masks,
    maskable_weights,
    score_layers,
)
from slimprune.pipeline.plan import PlannedPruning, choose_plan
from slimprune.pipeline.regularizers import penalty_of
from slimprune.pipeline.rounds import LastRound, earlier_rounds, settle_last, with_whole_plan
from slimprune.pipeline.stages import (
    Analysis,
    Start,
    analyse,
    check_budget,
    default_criterion,
    earlier_epochs,
    initialise_slim,
    measure_network,
    run_training,
    score_channels,
    slim_and_prove,
    starting_networks,
    training_settings,
)
from slimprune.pipeline.training_checks import check_training
from slimprune.pipeline.trust import code_files
from slimprune.pipeline.workload import Workload, named_workload, seeded
from slimprune.recipe import Recipe, ResolvedRecipe
from slimprune.results import Saliency
from slimprune.saliency import IterativePruning, Scores, make_criterion
from slimprune.types import Listener, ignore

_MODEL = (
    "arch", "data", "image_size", "train_size", "validation", "weights", "pretrained", "reset_head", "loss",
    "batch_size", "score_batch", "score_balanced", "resized_crop", "class_weights", "seed",
)  # fmt: skip
_DATA = tuple(name for name in _MODEL if name not in ("score_batch", "score_balanced"))
_AFTER_SCORES = ("init", "twin")
_OF_BUDGET = ("ratio", "of", "also", "rule", "floor", "round_to")


@dataclass(frozen=True)
class PlannedCell:
    """The network that a cell trains.

    Attributes:
        pruning: Plan and how it was found; None for the dense network, for masks, or if the cell cannot be trained.
        last: The last round of pruning, after which the network is trained.
        masks: Masks of single weights and how they were found; None if channels are removed.
        refused: Why the cell cannot be trained; None if it can.
    """

    pruning: PlannedPruning | None = None
    masks: PlannedMasks | None = None
    last: LastRound | None = None
    refused: str | None = None


@dataclass(frozen=True, eq=False)
class RunCache:
    """Results that cells share, each computed once: workloads, analyses, dense trainings and scores.

    Several threads may call `train_dense` and `train` at once, for cells that were passed to `refusal` before: each
    call works on its own modules and batches. Call all other methods from one thread while no training runs: they seed
    torch's generators and set the precision of all arithmetic.

    Attributes:
        unfinished: Folder of unfinished work.
        device: Device on which everything runs.
        finished: Folder of the records of finished cells, among which equal trainings are looked for; None for none.
    """

    unfinished: Path
    device: str
    finished: Path | None = None
    _works: dict[str, Workload] = field(default_factory=dict)
    _analyses: dict[str, Analysis] = field(default_factory=dict)
    _starts: dict[str, Start] = field(default_factory=dict)
    _failures: dict[str, str] = field(default_factory=dict)
    _named_files: dict[str, str] = field(default_factory=dict)
    _scores: dict[str, tuple[Scores, Saliency]] = field(default_factory=dict)
    _tickets: dict[str, PlannedMasks] = field(default_factory=dict)
    _surgery: Lock = field(default_factory=Lock)

    def named_files(self, recipe: ResolvedRecipe) -> str:
        """Return the SHA-256 of the files that a recipe names, as they were at the first call."""
        key = _key(recipe, ("arch", "weights", "data", "criterion", "rule"))
        if key not in self._named_files:
            self._named_files[key] = _digest_of_named_files(recipe)
        return self._named_files[key]

    def refusal(self, cell: Cell) -> str | None:
        """Load and analyse what a cell needs; return why it cannot have a result, or None if it can."""
        if cell.recipe.masks_weights:
            return refused_masks(cell.recipe, self._work(cell.recipe))
        try:
            analysis = self._analysis(cell.recipe)
            check_training(cell.recipe, analysis.work)
        except BudgetError as error:
            return str(error)
        try:
            if cell.kind != "dense":
                check_budget(cell.recipe, analysis)
        except (BudgetError, UnsupportedModelError) as error:
            return str(error)
        return None

    def draws_at_random(self, cell: Cell) -> bool:
        """Return whether the network draws from torch's generators in training, as dropout does."""
        work = self._work(cell.recipe)
        copied = copy.deepcopy(work.model).train()
        with seeded(0), torch.no_grad():
            before = _generator_states(work.device)
            copied(work.example)
            after = _generator_states(work.device)
        return any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))

    def train_dense(self, cell: Cell, listener: Listener) -> None:
        """Make the networks that a cell starts from, once, training the dense one unless `before-training`."""
        recipe, key = _start_recipe(cell), start_key(cell)
        if key in self._starts or key in self._failures:
            return
        store = self.unfinished / f"dense-{key}-{self.named_files(_unscored(recipe))[:8]}" / "train dense"
        try:
            work = _own(self._work(recipe))
            self._starts[key] = starting_networks(recipe, work, store, listener, penalty=penalty_of(recipe, work))
        except SlimpruneError as error:
            self._failures[key] = failure_of_one(error)

    def plan(self, cell: Cell, listener: Listener) -> PlannedCell:
        """Return the plan of a cell, read from its folder if an interrupted run left one there."""
        key = start_key(cell)
        if key in self._failures:
            return PlannedCell(refused=f"the dense network's {self._failures[key]}")
        if cell.kind == "dense":
            return PlannedCell()
        recipe, folder = cell.recipe, self._folder(cell)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            if recipe.masks_weights:
                return PlannedCell(masks=self._masks(recipe, self._starts[key], folder, listener))
            analysis, start = self._analysis(recipe), self._starts[key]
            own = replace(analysis, work=_with_own_batches(analysis.work))
            if recipe.when == "early-bird":
                start = draw_early(recipe, own, folder, listener)
            last = earlier_rounds(recipe, own, start, folder, listener, teacher=_teacher(recipe, start))
            scorer = score_channels if last.done or recipe.when == "early-bird" else self._scored
            planned = choose_plan(last.recipe, last.analysis, last.start, listener, folder=last.folder, scorer=scorer)
            return PlannedCell(planned, last=last)
        except SlimpruneError as error:
            return PlannedCell(refused=failure_of_one(error))

    def _masks(self, recipe: ResolvedRecipe, start: Start, folder: Path, listener: Listener) -> PlannedMasks:
        """Return the masks of a cell; those that rounds of training found serve for other initial weights too."""
        key = recipe.hash_without("init")
        if key not in self._tickets:
            work, scorer = _with_own_batches(self._work(recipe)), self._scored_weights
            layers, tune = maskable_weights(recipe, work), partial(run_training, teacher=_teacher(recipe, start))
            found = find_masks(recipe, work, layers, start, folder, listener, train_it=tune, scorer=scorer)
            if recipe.rewinding_rounds == 1:
                return found
            self._tickets[key] = found
        return self._tickets[key]

    def train(self, cell: Cell, planned: PlannedCell, listener: Listener) -> CellRecord:
        """Build, prove, train and test the network of a cell, and return its record."""
        work = _own(self._work(cell.recipe))
        named = self._named(cell, work)
        if planned.refused is not None:
            return {**named, "refused": planned.refused}
        start = self._starts[start_key(cell)]
        if planned.masks is not None:
            training = MaskedTraining(cell.recipe, work, start, planned.masks, self._folder(cell) / "train")
            return {**named, **training.outcome(_teacher(cell.recipe, start), self._surgery, listener)}
        if planned.pruning is None or planned.last is None:
            return self._dense_record(cell, work, start)
        recipe, last, saliency = cell.recipe, planned.last, planned.pruning.saliency
        # Tracing and proofs patch global state that all threads share; training does not.
        with self._surgery:
            slimmed = slim_and_prove(last.analysis, last.start.inherited, planned.pruning.plan)
            cost = measure_network(slimmed.module, work.example, planned.pruning.plan.slim.channels).cost
            slimmed = initialise_slim(recipe, work.model, slimmed)
        slimmed, accuracies = settle_last(last, slimmed)
        with self._surgery:
            plan = with_whole_plan(last, recipe, work.model, slimmed).plan
        try:
            outcome, epochs = self._trained(cell, last, slimmed.module, work, listener)
        except SlimpruneError as error:
            return {**named, "refused": failure_of_one(error)}
        before = 0 if start.dense_training is None else start.dense_training.epochs
        before += sum(one.epochs for one in last.done)
        if not earlier_epochs(recipe, last.start):
            ticket = last.start.early_bird
            before += len(last.start.earlier) if ticket is None else ticket.epoch
        return {
            **named,
            **outcome,
            **costs_of(cost),
            "pruned": None if accuracies is None else accuracies.pruned,
            "reconstructed": None if accuracies is None else accuracies.reconstructed,
            "rule": plan.rule,
            "widths": plan.widths,
            "kept": kept_shares(plan),
            "kept_by_layer": kept_by_layer(plan),
            "scoring": None if saliency is None else saliency.to_json(),
            "width_epochs": planned.pruning.epochs,
            "epochs": before + math.ceil(planned.pruning.epochs) + epochs,
        }

    def _trained(
        self, cell: Cell, last: LastRound, module: nn.Module, work: Workload, listener: Listener
    ) -> tuple[CellOutcome, int]:
        """Return the result of training a cell's network and its epochs; an equal training is not repeated."""
        recipe, start = cell.recipe, self._starts[start_key(cell)]
        settings, earlier = training_settings(last.recipe, work), earlier_epochs(recipe, last.start)
        # Cells that train at once share the dense network, so each imitates a copy.
        teacher = copy.deepcopy(_teacher(recipe, start))
        digest = None
        if teacher is None and not earlier and settings.patience is None:
            digest = training_digest(module, settings, work, self._data_key(recipe))
            known = equal_training(self._records(), digest)
            if known is not None:
                return {**known, "training": digest}, settings.epochs
        store = self._folder(cell) / "train"
        result = run_training(settings, work, module, store, listener, teacher=teacher, earlier=earlier)
        outcome = outcome_of(result, work)
        if digest is not None:
            outcome["training"] = digest
        return outcome, result.epochs

    def clear(self, cell: Cell) -> None:
        """Remove the files from which an interrupted run of the cell would have resumed."""
        shutil.rmtree(self._folder(cell), ignore_errors=True)

    def _work(self, recipe: ResolvedRecipe) -> Workload:
        key = _key(recipe, _MODEL)
        if key not in self._works:
            self._works[key] = named_workload(recipe, self.device)
        return self._works[key]

    def _analysis(self, recipe: ResolvedRecipe) -> Analysis:
        key = _key(recipe, (*_MODEL, "protect"))
        if key not in self._analyses:
            self._analyses[key] = analyse(recipe, self._work(recipe), ignore)
        return self._analyses[key]

    def _scored(
        self, recipe: ResolvedRecipe, analysis: Analysis, network: nn.Module, listener: Listener
    ) -> tuple[Scores, Saliency]:
        key = score_key(recipe)
        if key not in self._scores:
            self._scores[key] = score_channels(recipe, analysis, network, listener)
        return self._scores[key]

    def _scored_weights(
        self,
        recipe: ResolvedRecipe,
        work: Workload,
        layers: Sequence[PrunableWeight],
        network: nn.Module,
        listener: Listener,
    ) -> tuple[Scores, Saliency]:
        if recipe.rewinding_rounds > 1:
            return score_layers(recipe, work, layers, network, listener)
        key = score_key(recipe)
        if key not in self._scores:
            self._scores[key] = score_layers(recipe, work, layers, network, listener)
        return self._scores[key]

    def _dense_record(self, cell: Cell, work: Workload, start: Start) -> CellRecord:
        with self._surgery:
            cost = measure_network(work.model, work.example, self._analysis(cell.recipe).costs.dense.channels).cost
        result = start.dense_training or as_given(cell.recipe, work, start)
        return {
            **self._named(cell, work),
            **outcome_of(result, work),
            **costs_of(cost),
            "rule": None,
            "widths": None,
            "kept": {"channels": 1.0, "params": 1.0, "macs": 1.0},
            "scoring": None,
            "epochs": result.epochs,
        }

    def _named(self, cell: Cell, work: Workload) -> CellRecord:
        """Return the record of a cell without a result."""
        return {
            "row": cell.row,
            "kind": cell.kind,
            "budget": cell.budget,
            "seed": cell.recipe.seed,
            "hash": cell.recipe.hash,
            "recipe": cell.recipe.model_dump(mode="json"),
            "named_files": self.named_files(cell.recipe),
            "metric": work.metric.name,
            "unit": work.metric.scale.unit,
            "higher_is_better": work.metric.scale.higher_is_better,
        }

    def _records(self) -> Iterator[Path]:
        return iter(()) if self.finished is None else self.finished.glob("*.json")

    def _data_key(self, recipe: ResolvedRecipe) -> str:
        return _key(recipe, _DATA) + self.named_files(recipe)

    def _folder(self, cell: Cell) -> Path:
        return self.unfinished / f"{cell.recipe.hash[:16]}-{self.named_files(cell.recipe)[:8]}"


def start_key(cell: Cell) -> str:
    """Return a key of all settings that the networks from which a cell starts depend on."""
    recipe = _start_recipe(cell)
    if not trains_a_start(cell):
        return _key(recipe, (*_MODEL, "when"))
    trained = recipe.model_copy(update={"epochs": recipe.dense_epochs or recipe.epochs})
    return _key(
        trained, (*_MODEL, *TRAINING, "when", "rewind_step", "prune_epoch", "regularizer", "regularizer_strength")
    )


def trains_a_start(cell: Cell) -> bool:
    """Return whether a cell starts from a dense network that is trained."""
    return _start_recipe(cell).when not in ("before-training", "trained", "gradual", "early-bird")


def score_key(recipe: ResolvedRecipe) -> str:
    """Return a key of all settings that the scores of a recipe depend on.

    The budget is one of them only if the criterion narrows the network towards it.
    """
    criterion = make_criterion(recipe.criterion or default_criterion(recipe), **recipe.criterion_options())
    free = _AFTER_SCORES if isinstance(criterion, IterativePruning) else (*_AFTER_SCORES, *_OF_BUDGET)
    return recipe.hash_without(*free)


@contextmanager
def private_stream(device: str) -> Iterator[None]:
    """Use a CUDA stream of this thread's own, so that several networks train at once; do nothing on other devices."""
    if torch.device(device).type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(torch.device(device))
    stream.wait_stream(torch.cuda.default_stream(torch.device(device)))
    with torch.cuda.stream(stream):
        yield
    stream.synchronize()


def _start_recipe(cell: Cell) -> ResolvedRecipe:
    """Return the recipe that a cell's start follows from; the dense network is trained as for `after-training`."""
    if cell.kind != "dense" or cell.recipe.when == "trained":
        return cell.recipe
    return cell.recipe.model_copy(update={"when": "after-training", "dense_epochs": None})


def _unscored(recipe: ResolvedRecipe) -> ResolvedRecipe:
    """Return the recipe with criterion and rule reset, since the dense network does not depend on them."""
    return recipe.model_copy(update={"criterion": Recipe.model_fields["criterion"].default, "rule": "uniform"})


def _own(work: Workload) -> Workload:
    """Return the workload with its own model and training batches, since training sets the epoch of the batches."""
    return replace(_with_own_batches(work), model=copy.deepcopy(work.model))


def _with_own_batches(work: Workload) -> Workload:
    return replace(work, train_batches=copy.copy(work.train_batches))


def _key(recipe: ResolvedRecipe, names: Sequence[str]) -> str:
    text = json.dumps({name: str(getattr(recipe, name)) for name in names}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _digest_of_named_files(recipe: ResolvedRecipe) -> str:
    """Return the SHA-256 of the user's code, initial weights and data, as far as the recipe names files.

    Raises:
        DataError: If one of the files cannot be read.
    """
    weights = [recipe.weights] if recipe.weights is not None else []
    groups = (
        [file for file in named if file.is_file()] for named in (code_files(recipe), weights, data_files(recipe.data))
    )
    try:
        return hashlib.sha256("".join(map(digest_of, filter(None, groups))).encode()).hexdigest()
    except OSError as error:
        raise DataError(f"expected files that can be read, got {error.filename}: {error.strerror}") from error


def _teacher(recipe: ResolvedRecipe, start: Start) -> nn.Module | None:
    """Return the dense network if the recipe distils."""
    return start.scored if recipe.distill is not None else None


def _generator_states(device: torch.device) -> list[torch.Tensor]:
    states = [torch.random.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states
