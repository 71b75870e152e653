"""Widths found by weight sharing: one network is trained at random widths and then searched for the best ones."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor, nn

from slimprune.budget import Proportions, WidthSpace, profile
from slimprune.data import Batch
from slimprune.files import adapter, read_value, write_atomically
from slimprune.graph.groups import Integers
from slimprune.pipeline.stages import Analysis, budget_of, multiple, training_settings
from slimprune.pipeline.workload import Workload
from slimprune.recipe import ResolvedRecipe
from slimprune.results import Sharing
from slimprune.saliency import Scores
from slimprune.statistics import paired_difference
from slimprune.training import TrainSettings, count_batches, train
from slimprune.types import Listener, WidthSearch
from slimprune.weight_sharing import (
    Evaluation,
    Generation,
    SharedNetwork,
    found_by,
    losses_at,
    random_proportions,
    search,
    spread_within,
)

CAP, CAP_OF_PARAMS = 2.0, 16.0
"""Defaults of `--width-cap`; the second one where only parameters are limited."""

HELD_OUT, HELD_OUT_SHARE = 2000, 0.2
"""Training images by which widths are searched and compared: so many, of which at most this share is held out."""

EVALUATION_BATCH = 500
CONFIRMING_BATCHES, CONFIDENCE = 8, 0.95
"""Batches on which widths are compared with uniform ones, and the default of `--width-confidence`."""

GENERATIONS, POPULATION = 6, 30
KNOWN = ("early", "erk", profile(score=0, reuse=0.4).name, profile(score=0, reuse=-0.15).name)
"""Rules whose widths are in the first generation beside uniform ones."""

SHARE_OF_TRAINING, MOST_EPOCHS = 0.15, 20
"""Epochs in which weights are shared: this share of those of the training, and at most so many."""

WIDTH_SEARCH: WidthSearch = "cross-entropy"
"""Default of `--width-search`."""

TRAIN_STAGE, SEARCH_STAGE = "share weights", "search widths"


def sharing_epochs(recipe: ResolvedRecipe) -> int:
    """Return the epochs in which weights are shared."""
    usual = min(MOST_EPOCHS, max(1, round(SHARE_OF_TRAINING * recipe.epochs)))
    return recipe.sharing_epochs or usual


def width_search(recipe: ResolvedRecipe) -> WidthSearch:
    """Return how widths are searched."""
    return recipe.width_search or WIDTH_SEARCH


def width_cap(recipe: ResolvedRecipe) -> float:
    """Return the greatest width of a group as a multiple of its uniform width."""
    usual = CAP_OF_PARAMS if set(budget_of(recipe).ratios) == {"params"} else CAP
    return recipe.width_cap or usual


def learn_widths(
    recipe: ResolvedRecipe,
    analysis: Analysis,
    network: nn.Module,
    scores: Scores | None,
    listener: Listener,
    *,
    store: Path | None = None,
) -> Sharing:
    """Return the rule whose widths have the least loss in a network that shares its weights among all widths.

    The weights of `network`, at most `width_cap` times as wide as uniform widths, are trained for a few epochs; every
    step trains random widths at the budget. The cross-entropy method, or evolution, then searches the widths of least
    loss on training images that are held out, each generation on one batch of them. On other images the widths found
    are compared with uniform ones, which are taken unless the others are better beyond chance, or as certainly as the
    recipe asks for.

    Args:
        recipe: Recipe with budget, floor, rounding and training.
        analysis: Analysis of the dense network.
        network: Network whose weights are shared; it is not modified.
        scores: Scores by which the channels of a narrower network are chosen; None for the first channels.
        listener: Called during training and search.
        store: Folder from which an interrupted call resumes.
    """
    began, work = time.perf_counter(), analysis.work
    space = space_of(recipe, analysis)
    images = split_images(recipe, work)
    epochs = sharing_epochs(recipe)
    shared = trained_shared(recipe, work, network, space, scores, images, epochs, listener, store)

    def losses(widths: Integers, batches: Sequence[Batch]) -> list[float]:
        return losses_at(shared, widths, batches, work.loss, amp=bool(recipe.amp))

    def loss_of(proportions: Proportions, generation: int) -> float:
        return losses(space.widths(proportions), [images.searched[generation % len(images.searched)]])[0]

    generations = _search(recipe, space, loss_of, listener, store)
    found = found_by(width_search(recipe), generations)
    own, uniform = (losses(widths, images.confirming) for widths in (space.widths(found), space.uniform))
    rule = space.rule(found) if is_less(own, uniform, recipe.width_confidence or CONFIDENCE) else "uniform"
    return Sharing(
        rule=rule,
        search=width_search(recipe),
        training=epochs,
        evaluations=sum(len(generation.losses) for generation in generations),
        images=len(images.searched[0][0]),
        epoch_images=count_batches(images.training) * len(next(iter(images.training))[0]),
        loss=fmean(own),
        uniform_loss=fmean(uniform),
        generations=tuple(generation.best for generation in generations),
        seconds=time.perf_counter() - began,
    )


def is_less(losses: Sequence[float], others: Sequence[float], confidence: float) -> bool:
    """Return whether losses are less than others on the same batches, by a one-sided t test.

    A confidence of 0.5 compares the means.
    """
    pairs = (dict(zip(map(str, range(len(values))), values, strict=True)) for values in (losses, others))
    difference = paired_difference(*pairs)
    return difference is not None and difference.interval(2 * confidence - 1)[1] < 0


def space_of(recipe: ResolvedRecipe, analysis: Analysis) -> WidthSpace:
    """Return the widths at the recipe's budget that can share weights."""
    return WidthSpace.of(
        analysis.groups,
        budget_of(recipe),
        analysis.costs,
        floor=recipe.floor,
        round_to=multiple(recipe),
        cap=width_cap(recipe),
    )


@dataclass(frozen=True, eq=False)
class Images:
    """Training images in three parts.

    Attributes:
        training: Batches that the shared weights are trained on.
        searched: Batches by which widths are searched, one for each generation in turn.
        confirming: Batches on which the widths found are compared with uniform ones.
    """

    training: Iterable[Batch]
    searched: Sequence[Batch]
    confirming: Sequence[Batch]


def split_images(recipe: ResolvedRecipe, work: Workload) -> Images:
    """Return the training images of a run in three parts, of which the last two are of equal size.

    Where fewer than `HELD_OUT` can be held out, others that are trained on join these: what few images say about widths
    is mostly noise, while all widths share the same weights and the images that these have seen. For batches that were
    passed as objects, these are the first ones.
    """
    if work.data is None:
        first: list[Batch] = list(islice(work.train_batches, 2 * max(1, HELD_OUT // _length(work.train_batches) // 2)))
        half = max(1, len(first) // 2)
        return Images(work.train_batches, first[:half], first[half:] or first[:half])
    data, device = work.data, work.device
    held_out = 2 * (min(HELD_OUT, int(HELD_OUT_SHARE * data.train_size)) // 2)
    order = torch.randperm(data.train_size, generator=torch.Generator().manual_seed(recipe.seed))
    held, rest = order[:held_out], order[held_out:]
    training = data.with_training_part(rest.sort().values).train_batches(
        recipe.named().batch_size, seed=recipe.seed, device=device, random_resized_crop=recipe.resized_crop
    )
    half, joining = held_out // 2, rest[: 2 * ((HELD_OUT - held_out) // 2)]
    parts = torch.cat([held[:half], joining[0::2]]), torch.cat([held[half:], joining[1::2]])
    sizes = max(1, min(EVALUATION_BATCH, half)), max(1, len(parts[1]) // CONFIRMING_BATCHES)
    batches = (
        list(
            data.with_training_part(part.sort().values).train_batches(
                size, seed=recipe.seed, device=device, augment=False
            )
        )
        for part, size in zip(parts, sizes, strict=True)
    )
    return Images(training, *batches)


def _length(batches: Iterable[Batch]) -> int:
    """Return the number of samples of the first batch."""
    return len(next(iter(batches))[0])


def _ranks(scores: Scores | None) -> Mapping[str, Tensor]:
    """Return the rank of each channel in its group, 0 for the best score, equal ones in their order."""
    if scores is None:
        return {}
    return {group: values.argsort(descending=True, stable=True).argsort() for group, values in scores.by_group.items()}


def trained_shared(
    recipe: ResolvedRecipe,
    work: Workload,
    network: nn.Module,
    space: WidthSpace,
    scores: Scores | None,
    images: Images,
    epochs: int,
    listener: Listener,
    store: Path | None,
    *,
    spread: float | None = None,
) -> SharedNetwork:
    """Return a network of shared weights after its training, resumable in the folder `store`.

    `spread` is that of the random widths, by default as wide as the recipe's cap asks for.
    """
    drawn = spread_within(width_cap(recipe)) if spread is None else spread

    def draw() -> Integers:
        return space.widths(random_proportions(len(space.free), spread=drawn))

    shared = SharedNetwork(network, space.groups, space.limits.full, draw, _ranks(scores))
    train(
        shared,
        images.training,
        images.searched[:1],  # the training loop requires test batches; the result is ignored
        sharing_settings(recipe, work, epochs),
        loss=work.loss,
        metric=work.metric,
        progress=lambda _, done, total, note: listener(TRAIN_STAGE, done, total, note.partition(",")[0]),
        checkpoint=None if store is None else store / "shared",
    )
    return shared


def sharing_settings(recipe: ResolvedRecipe, work: Workload, epochs: int) -> TrainSettings:
    """Return the recipe's training, shorter, with a cosine schedule and without what is meant for one network."""
    settings = replace(
        training_settings(recipe, work), epochs=epochs, schedule="cosine", warm_up=None, fast=None, milestones=()
    )
    settings = replace(settings, ema=None, mixup=None, cutmix=None, patience=None, distill=None)
    # Strided 1x1 kernels over fewer than 8 channels, which a draw may have, corrupt memory in channels-last order.
    strided = any(
        isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and max(layer.stride) > 1
        for layer in work.model.modules()
    )
    captured = work.device.type == "cuda"  # widths that change cannot be captured in a graph
    return replace(settings, fast=False) if strided or captured else settings


def _search(
    recipe: ResolvedRecipe,
    space: WidthSpace,
    loss_of: Evaluation,
    listener: Listener,
    store: Path | None,
) -> list[Generation]:
    file = None if store is None else store / "generations.json"
    done = _stored(file)
    evaluated, total = POPULATION * len(done), POPULATION * GENERATIONS
    generator = torch.Generator().manual_seed(recipe.seed)
    groups = len(space.free)
    spread = spread_within(width_cap(recipe))
    known = [np.zeros(groups), *(space.proportions(rule) for rule in KNOWN)]
    first = [*known, *(random_proportions(groups, generator, spread=spread) for _ in range(POPULATION - len(known)))]

    def evaluate(proportions: Proportions, generation: int) -> float:
        nonlocal evaluated
        loss = loss_of(proportions, generation)
        evaluated += 1
        listener(SEARCH_STAGE, evaluated, total, "")
        return loss

    def keep(generations: Sequence[Generation]) -> None:
        if file is not None:
            write_atomically(file, adapter(list[Generation]).dump_json(list(generations)))

    return search(
        width_search(recipe),
        evaluate,
        first,
        generations=GENERATIONS,
        seed=recipe.seed,
        scaled=space.scaled,
        done=done,
        after=keep,
    )


def _stored(file: Path | None) -> list[Generation]:
    if file is None or not file.exists():
        return []
    return read_value(list[Generation], file.read_bytes(), f"generations {file}")
