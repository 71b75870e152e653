"""Saliency of channels: one criterion per file in `criteria`, all behind `registry.Criterion`."""

import slimprune.saliency.criteria  # noqa: F401  (registers every criterion)
from slimprune.saliency.adjoint import InnerTraining, final_weights, meta_gradient, trajectory
from slimprune.saliency.averaging import AVERAGES, Average, Signed, average_of
from slimprune.saliency.iterative import IterativePruning, exponential
from slimprune.saliency.problem import GATES, Gate, Problem, twice_differentiable
from slimprune.saliency.ranks import ranks, spearman
from slimprune.saliency.registry import (
    CRITERIA,
    Criterion,
    KnownCriterion,
    check_gate,
    check_unit,
    criteria,
    find_criterion,
    make_criterion,
    register,
)
from slimprune.saliency.score import check_divisible, score
from slimprune.saliency.scores import Scores
from slimprune.saliency.target import Target, channel_target
from slimprune.saliency.weights import WeightProblem, score_weights

__all__ = [
    "AVERAGES",
    "CRITERIA",
    "GATES",
    "Average",
    "Criterion",
    "Gate",
    "InnerTraining",
    "IterativePruning",
    "KnownCriterion",
    "Problem",
    "Scores",
    "Signed",
    "Target",
    "WeightProblem",
    "average_of",
    "channel_target",
    "check_divisible",
    "check_gate",
    "check_unit",
    "criteria",
    "exponential",
    "final_weights",
    "find_criterion",
    "make_criterion",
    "meta_gradient",
    "ranks",
    "register",
    "score",
    "score_weights",
    "spearman",
    "trajectory",
    "twice_differentiable",
]
