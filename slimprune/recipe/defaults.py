"""The defaults that depend on the task, the data set or the budget."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from slimprune.recipe.settings import RecipeSettings
from slimprune.types import AUTO, Quantity

PAPER: RecipeSettings = {
    "epochs": 200, "batch_size": 256, "lr": 0.1, "schedule": "step", "draws": 16, "score_batch": 128,
}  # fmt: skip
SEGMENTATION: RecipeSettings = {
    "epochs": 100, "batch_size": 16, "lr": 0.1, "schedule": "cosine", "draws": 16, "score_batch": 16,
}  # fmt: skip
DENSE_TASKS = ("segmentation", "semantic-segmentation", "image-to-image")
"""Tasks with an output for every pixel, whose training has the defaults of segmentation."""
_SEGMENTATION_FAMILIES = ("deeplabv3_", "fcn_", "lraspp_")


def names_segmentation(arch: str) -> bool:
    """Return whether a name is that of a known segmentation architecture; false for a user's own architecture.

    >>> [names_segmentation(arch) for arch in ("unet:depth=3", "fcn_resnet50", "unet.py:build", "fcn_net:build")]
    [True, True, False, False]
    """
    name, _, rest = arch.partition(":")
    return name == "unet" or (name.startswith(_SEGMENTATION_FAMILIES) and not rest)


DETECTION: RecipeSettings = {
    "epochs": 100, "batch_size": 16, "lr": 0.01, "schedule": "step", "draws": 16, "score_batch": 16,
}  # fmt: skip
BY_DATA: Mapping[str, RecipeSettings] = {
    "digits": {
        "epochs": 12, "batch_size": 64, "lr": 0.05, "schedule": "cosine", "draws": 8, "score_batch": 64,
    },
    "coco": DETECTION, "yolo": DETECTION,
}  # fmt: skip
BENCH_BATCH = 8
BY_MACHINE: Mapping[str, str] = {
    "round_to": f"{AUTO} for latency, 1 otherwise",
    "engine": "onnxruntime on the CPU, torch on CUDA",
    "bench_batch": str(BENCH_BATCH),
    "bench_threads": "all cores",
    "input": "unit; normalized for own batches",
}
FINE_TUNING_EPOCHS, FINE_TUNING_LR = 0.2, 0.1
"""Epochs and peak learning rate of the fine-tuning of a trained network, as shares of those of a whole training."""
ADAMW_LR = 1e-3
"""Peak learning rate of AdamW, as in torch."""
TRAINED_DRAWS = 16
"""Least number of draws for a trained network, whose criteria take one batch each and no inner training."""
FINE_TUNING: Mapping[str, str] = {
    "epochs": "a fifth of that", "lr": "a tenth of that", "schedule": "cosine", "draws": str(TRAINED_DRAWS),
}  # fmt: skip
DEFAULT_CRITERIA: Mapping[bool, str] = {False: "prospr", True: "taylor"}
"""Default criteria for untrained and for trained networks."""
OF_WEIGHTS: RecipeSettings = {"draws": 1, "rule": "global", "round_to": 1}
"""Defaults for masks of single weights: the papers on them score once, and take one threshold over all layers."""
GRADUAL_ROUNDS = 20
"""How often weights are masked on the way of gradual pruning."""
EARLY_BIRD_CRITERION = "bn-scale"
"""Default criterion of Early-Bird tickets, as in their paper."""
MASK_DISTANCE = 0.1
"""Distance below which the channels to keep count as the same, as in that paper."""
WEIGHT_CRITERIA: Mapping[bool, str] = {False: "prospr", True: "magnitude"}
"""Default criteria for the weights of untrained and of trained networks."""
CRITERION_OPTIONS: Mapping[str, str] = {
    "steps": "steps", "inner_lr": "lr", "inner_momentum": "momentum", "inner_weight_decay": "weight_decay",
    "on_host": "on_host", "steps_stored": "steps_stored", "rounds": "rounds", "score_temperature": "temperature",
    "by_magnitude": "by_magnitude",
}  # fmt: skip
"""Names of the criteria's options by field of the recipe."""
DEFAULT_RULES: Mapping[Quantity, str] = {
    "params": "global", "macs": "uniform", "channels": "global", "latency": "uniform",
}  # fmt: skip
"""Default rules, chosen by measurement (docs/results.md); top-1 in %, short trainings on CIFAR-10:

    removed                     global   tempered   uses ** 0.2   uniform
    VGG-19, 95 % of params       65.06      57.16                   58.58
    VGG-19, 95 % of MACs         41.01      57.93                   59.47
    ResNet-20, 80 % of params    63.49      63.45                   63.14
    ResNet-20, 80 % of MACs      33.75      53.19         54.86     56.84   (another recipe than the rows above)

At equal MACs and in longer trainings `early` differs from uniform by +0.9 points on VGG-19, +1.2 on U-Net and -1.7 on
ResNet-20. It is better on some networks only, so uniform stays the default.
"""


SCORED_RULES: Mapping[Quantity, str] = {**DEFAULT_RULES, "macs": "tempered", "latency": "tempered"}
"""Best rules that use scores, for comparisons of criteria."""


def find_defaults(
    data: str, limited: Sequence[Quantity], *, segmentation: bool, fine_tuning: bool = False, adamw: bool = False
) -> RecipeSettings:
    """Return the defaults by field.

    Args:
        data: Name of the data set; what follows a colon does not matter.
        limited: Quantities that the budget limits; the first one decides the rule.
        segmentation: Whether the task is segmentation.
        fine_tuning: Whether the network is trained already.
        adamw: Whether the optimizer is AdamW.
    """
    of_task = SEGMENTATION if segmentation else PAPER
    round_to: Literal["auto"] | int = "auto" if "latency" in limited else 1
    of_budget: RecipeSettings = {"rule": DEFAULT_RULES[limited[0]], "round_to": round_to}
    found: RecipeSettings = {**PAPER, **of_task, **BY_DATA.get(data.partition(":")[0], of_task), **of_budget}
    if adamw:
        found["lr"] = ADAMW_LR
    return _gentle(found) if fine_tuning else found


def gradual_defaults(epochs: int | None) -> RecipeSettings:
    """Return the defaults of gradual pruning: over the first half of the epochs, where the learning rate is high."""
    return {"prune_from": 0, "prune_until": max(1, (epochs or 1) // 2), "rounds": GRADUAL_ROUNDS}


def _gentle(training: RecipeSettings) -> RecipeSettings:
    """Return the defaults for fine-tuning, made from those of a whole training."""
    epochs = math.ceil((training["epochs"] or 1) * FINE_TUNING_EPOCHS)
    lr = round((training["lr"] or 0.1) * FINE_TUNING_LR, 10)
    draws = max(training["draws"] or 1, TRAINED_DRAWS)
    return {**training, "epochs": epochs, "lr": lr, "schedule": "cosine", "draws": draws}
