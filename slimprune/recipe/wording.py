"""Defaults and validation errors in words."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from slimprune.errors import expected_and_found
from slimprune.recipe.defaults import (
    ADAMW_LR,
    BY_DATA,
    BY_MACHINE,
    CRITERION_OPTIONS,
    DEFAULT_CRITERIA,
    DEFAULT_RULES,
    FINE_TUNING,
    GRADUAL_ROUNDS,
    OF_WEIGHTS,
    PAPER,
    SEGMENTATION,
    WEIGHT_CRITERIA,
)
from slimprune.recipe.fields import Recipe

PANELS: Mapping[str, tuple[str, ...]] = {
    "network": ("arch", "weights", "pretrained", "reset_head", "device", "seed"),
    "data": ("data", "task", "image_size", "train_size", "validation", "mean", "std", "class_names"),
    "budget": (
        "unit", "ratio", "of", "also", "rule", "sharing_epochs", "width_search", "width_cap", "width_confidence",
        "floor", "protect", "round_to", "engine", "bench_batch", "bench_threads",
    ),
    "scoring": (
        "when", "rewind_step", "prune_epoch", "prune_from", "prune_until", "mask_distance", "criterion", "gate",
        "steps", "draws", "average", "inner_lr", "inner_momentum", "inner_weight_decay", "on_host", "steps_stored",
        "rounds", "score_temperature", "by_magnitude", "score_batch", "score_balanced", "dtype", "twin",
    ),
    "training": (
        "epochs", "batch_size", "lr", "weight_decay", "schedule", "milestones", "loss", "metric", "further_metrics",
        "init", "reconstruct", "amp", "fast", "train_dense", "dense_epochs", "optimizer", "warm_up", "label_smoothing",
        "class_weights", "ema", "mixup", "cutmix", "resized_crop", "patience", "distill", "temperature", "regularizer",
        "regularizer_strength",
    ),
    "processes": ("sync_bn", "bf16_gradients", "split_draws"),
    "output": ("out", "input", "int8", "fp16", "max_loss", "log"),
}  # fmt: skip
"""Fields by topic: the panels in which the help of a command shows the flags, in this order."""


def default_text(name: str) -> str:
    """Return the default of a field in words; empty if there is none to show."""
    if name == "rule":
        return ", ".join(f"{rule} for {of}" for of, rule in (*DEFAULT_RULES.items(), ("--unit weights", "global")))
    if name == "when":
        return "before-training, with --weights or --pretrained trained"
    if name == "criterion":
        untrained, trained = DEFAULT_CRITERIA[False], DEFAULT_CRITERIA[True]
        of_weights = f"{WEIGHT_CRITERIA[True]} for their weights"
        return f"{untrained} where the rule needs scores, {trained} for trained networks, {of_weights}"
    if name in BY_MACHINE:
        return BY_MACHINE[name]
    if name == "rounds":
        return f"1 for trained networks and for rewinding, {GRADUAL_ROUNDS} for gradual, the criterion's own for others"
    if name == "warm_up":
        return "a tenth of the steps before cosine, none before step"
    if name in (*CRITERION_OPTIONS, "average"):
        return "the criterion's own"
    paper: Mapping[str, object] = dict(PAPER)
    if name in paper:
        others: dict[str, list[str]] = {}
        for what, own in (("segmentation", SEGMENTATION), *BY_DATA.items()):
            value = dict(own)[name]
            if value != paper[name]:
                others.setdefault(str(value), []).append(what)
        exceptions = [
            f", {value} for {' and '.join(where).replace(' and ', ', ', len(where) - 2)}"
            for value, where in others.items()
        ]
        adamw = f", {ADAMW_LR} with adamw" if name == "lr" else ""
        gentler = f"; {FINE_TUNING[name]} for trained networks" if name in FINE_TUNING else ""
        if name in OF_WEIGHTS:
            gentler += f"; {dict(OF_WEIGHTS)[name]} for --unit weights"
        return f"{paper[name]}{''.join(exceptions)}{adamw}{gentler}"
    default = Recipe.model_fields[name].default
    return "" if default is None or default is False or default in ((), {}) else str(default)


def sentence(problem: Mapping[str, Any], known: Sequence[str]) -> str:
    """Describe a problem found by pydantic as `field: expected X, got Y`; `known` holds the names of all fields."""
    if problem["type"] != "extra_forbidden":
        return expected_and_found(problem)
    name = ".".join(map(str, problem["loc"]))
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
    return f"unknown field {name!r} ({hint})"
