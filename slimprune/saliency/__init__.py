"""Saliency of channels: one criterion per file in `criteria`, all behind `registry.Criterion`."""

import slimprune.saliency.criteria  # noqa: F401  (registers every criterion)
from slimprune.saliency.adjoint import InnerTraining, meta_gradient, trajectory
from slimprune.saliency.problem import GATES, Gate, Loss, Problem
from slimprune.saliency.registry import Criterion, Entry, criteria, make_criterion, register
from slimprune.saliency.score import score
from slimprune.saliency.scores import Scores, spearman

__all__ = [
    "GATES",
    "Criterion",
    "Entry",
    "Gate",
    "InnerTraining",
    "Loss",
    "Problem",
    "Scores",
    "criteria",
    "make_criterion",
    "meta_gradient",
    "register",
    "score",
    "spearman",
    "trajectory",
]
