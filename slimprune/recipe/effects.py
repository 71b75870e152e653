"""Options that have no effect beside others, which is said and never passed over."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from slimprune.recipe.defaults import CRITERION_OPTIONS
from slimprune.recipe.fields import ResolvedRecipe


@dataclass(frozen=True)
class Condition:
    """What a recipe has to hold for some of its fields to have an effect.

    Attributes:
        fields: Names of the fields.
        holds: Function of the recipe.
        reason: Why the fields have no effect where it does not hold.
    """

    fields: Sequence[str]
    holds: Callable[[ResolvedRecipe], bool]
    reason: str


def _longest_training(recipe: ResolvedRecipe) -> int:
    """Return the epochs of the longest training of a run."""
    dense = (recipe.dense_epochs or recipe.epochs) if recipe.trains_dense else 0
    return max(-(-recipe.epochs // recipe.pruning_rounds), dense)


CONDITIONS: Sequence[Condition] = (
    Condition(
        (
            "floor",
            "gate",
            "round_to",
            "reconstruct",
            "sharing_epochs",
            "width_cap",
            "width_confidence",
            "width_search",
            "engine",
            "bench_batch",
            "bench_threads",
        ),
        lambda recipe: not recipe.masks_weights,
        "single weights are masked, and no channel is removed",
    ),
    Condition(("int8", "fp16"), lambda recipe: recipe.out is None or recipe.writes_onnx, "no ONNX file is written"),
    Condition(("max_loss",), lambda recipe: recipe.int8 or recipe.fp16, "no file of lower precision is written"),
    Condition(("rewind_step",), lambda recipe: recipe.when == "rewind", "nothing is rewound without --when rewind"),
    Condition(
        ("prune_epoch",),
        lambda recipe: recipe.when == "during-training",
        "nothing is pruned after an epoch without --when during-training",
    ),
    Condition(
        ("prune_from", "prune_until"),
        lambda recipe: recipe.when == "gradual",
        "weights are not masked in the course of the training without --when gradual",
    ),
    Condition(
        ("mask_distance",),
        lambda recipe: recipe.when == "early-bird",
        "channels of epochs are not compared without --when early-bird",
    ),
    Condition(
        (
            "draws",
            "average",
            "score_batch",
            "score_balanced",
            "dtype",
            *(name for name in CRITERION_OPTIONS if name != "rounds"),
        ),
        lambda recipe: recipe.when != "gradual",
        "the sizes of the weights decide, without batches",
    ),
    Condition(
        ("dense_epochs", "train_dense"),
        lambda recipe: recipe.when != "trained",
        "the given network is trained already",
    ),
    Condition(
        ("dense_epochs",),
        lambda recipe: (
            recipe.when not in ("before-training", "during-training", "gradual", "early-bird") or recipe.train_dense
        ),
        "the dense network is not trained without --train-dense",
    ),
    Condition(
        ("reconstruct",),
        lambda recipe: recipe.inherits_training,
        "the slim network inherits no trained weights",
    ),
    Condition(
        ("patience",),
        lambda recipe: recipe.patience is None or recipe.patience < _longest_training(recipe) - 1,
        "no training has epochs left by then",
    ),
    Condition(
        ("sharing_epochs", "width_search", "width_cap", "width_confidence"),
        lambda recipe: recipe.rule == "learned",
        "the rule is not learned",
    ),
    Condition(("temperature",), lambda recipe: recipe.distill is not None, "nothing is distilled without --distill"),
    Condition(
        ("regularizer", "regularizer_strength"),
        lambda recipe: recipe.when in ("during-training", "after-training", "rewind", "early-bird"),
        "no dense network is trained before pruning",
    ),
    Condition(
        ("regularizer_strength",),
        lambda recipe: recipe.regularizer is not None,
        "nothing is penalised without --regularizer",
    ),
    Condition(("average",), lambda recipe: recipe.draws > 1, "one draw has no average"),
    Condition(
        ("gate", "draws", "average", "score_batch", "score_balanced", "dtype", "split_draws", *CRITERION_OPTIONS),
        lambda recipe: recipe.criterion is not None,
        "no channels are scored",
    ),
)


def without_effect(given: Collection[str], recipe: ResolvedRecipe) -> list[str]:
    """Return a sentence for every option that was given and has no effect.

    Args:
        given: Names of the fields that were given.
        recipe: The recipe with its defaults and its criterion filled in.
    """
    found: dict[str, str] = {}
    for condition in CONDITIONS:
        if not condition.holds(recipe):
            for name in condition.fields:
                if name in given and getattr(recipe, name) not in (None, False):
                    found.setdefault(name, condition.reason)
    return [f"--{name.replace('_', '-')} has no effect: {reason}" for name, reason in found.items()]
