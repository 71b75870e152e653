"""Masks of single weights: which weights of convolutions and linear layers stay, the others being zero."""

from slimprune.masks.choice import MASK_RULES, check_sparsity, choose_masks, find_mask_rule, shuffled, weight_target
from slimprune.masks.layers import PrunableWeight, find_weights
from slimprune.masks.schedule import gradual_sparsity, pruning_steps
from slimprune.masks.sparsity import LayerSparsity, masked, sparsity_of

__all__ = [
    "MASK_RULES",
    "LayerSparsity",
    "PrunableWeight",
    "check_sparsity",
    "choose_masks",
    "find_mask_rule",
    "find_weights",
    "gradual_sparsity",
    "masked",
    "pruning_steps",
    "shuffled",
    "sparsity_of",
    "weight_target",
]
