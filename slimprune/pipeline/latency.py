"""Latency budgets: plans from the times of single layers, corrected by timing whole slim networks against the dense.

The times of layers show how a plan's latency changes with its widths; the times of whole networks show the latency
itself. Therefore a plan is solved for and its network timed, the cost model is fitted to the measurement, and the plan
is solved for again, until the measured latency is the requested one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn

from slimprune.budget import (
    LATENCY,
    Candidate,
    Cost,
    CostModel,
    LatencyModel,
    Plan,
    Rounding,
    TimedNetwork,
    least_widths,
)
from slimprune.errors import BudgetError, UsageError
from slimprune.files import LatencyRow, latency_removed
from slimprune.graph import ChannelGroup, first_channels, keep_channels
from slimprune.pipeline.stages import Analysis, allocate_for, budget_of, multiple
from slimprune.pipeline.workload import Workload
from slimprune.recipe import BENCH_BATCH, ResolvedRecipe
from slimprune.results import misses_latency
from slimprune.saliency import Scores
from slimprune.surgery import SlimModel
from slimprune.timing import LayerTimes, traced_layers
from slimprune.timing.runtime import NetworkTimer, Runtime
from slimprune.types import AUTO, Listener, ignore

ROUNDINGS = (1, 2, 4, 8, 16, 32)
MOST_NETWORKS = 5
"""Maximum number of whole networks that are timed for one plan."""

CLOSE = 0.01
"""Relative error of a measured latency up to which no further plan is tried."""

USED = 0.95
"""Fraction of the best rounding's use of a non-latency budget that a rounding must reach to be considered."""

STAGE, TRAINED_STAGE = "latency", "latency again"
"""Names of the stages that listeners receive while networks and layers are timed, before and after the training."""


@dataclass(frozen=True, eq=False)
class TimedAnalysis(Analysis):
    """An analysis whose cost model includes measured times.

    Attributes:
        timer: Timer of whole networks.
        first: Time of the dense network in seconds per batch; None if only layers were timed.
    """

    timer: NetworkTimer
    first: float | None


def needs_times(recipe: ResolvedRecipe) -> bool:
    """Return whether a plan depends on measured times."""
    return LATENCY in budget_of(recipe).ratios or recipe.round_to == AUTO


def check_timing(recipe: ResolvedRecipe) -> None:
    """Check the settings for measured times.

    Raises:
        UsageError: If there are settings of measurements that are not needed or cannot be made on this machine.
    """
    if needs_times(recipe):
        runtime_of(recipe)
        return
    # Files of lower precision are timed beside the one of 32-bit floats.
    needless = ("engine",) if recipe.int8 or recipe.fp16 else ("engine", "bench_batch", "bench_threads")
    for name in needless:
        if (value := getattr(recipe, name)) is not None:
            flag = name.replace("_", "-")
            raise UsageError(f"expected {flag} beside a latency budget or round-to auto only, got {flag} {value}")


def runtime_of(recipe: ResolvedRecipe) -> Runtime:
    """Return engine, batch size, threads and device for timing the recipe's networks."""
    batch = BENCH_BATCH if recipe.bench_batch is None else recipe.bench_batch
    return Runtime.of(recipe.engine, batch, recipe.bench_threads, recipe.device)


def latency_model(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    example: Tensor,
    *,
    engine: str | None = None,
    batch: int = BENCH_BATCH,
    threads: int | None = None,
    device: str = "auto",
    listener: Listener = ignore,
) -> LatencyModel:
    """Return a cost model for latency budgets that times layers when their widths are first needed.

    Args:
        model: Any module that accepts `example`.
        groups: Channel groups of the model.
        example: Inputs [N, ...].
        engine: Name of an engine, optionally with the suffix -cpu or -cuda for where it runs; None for onnxruntime on
            the CPU and torch on CUDA.
        batch: Batch size.
        threads: Number of threads on the CPU; None for all cores.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        listener: Called while layers are timed.

    Returns:
        The cost model, fitted to the whole network at its dense and at its smallest widths.

    Raises:
        UsageError: If the engine is unknown or unavailable.
        UnsupportedModelError: If the network cannot be exported or run.

    Examples:
        >>> costs = latency_model(model, groups, example, engine="onnxruntime", batch=8)  # doctest: +SKIP
        >>> allocate(None, groups, Budget(0.5, "latency"), costs, rule="uniform", round_to=8)  # doctest: +SKIP
    """
    timer = NetworkTimer(Runtime.of(engine, batch, threads, device), model, example)
    costs = CostModel.of(model, groups, example)
    return _at_both_ends(_layered(costs, groups, timer, listener), groups, timer, listener)[0]


def with_latency_model(recipe: ResolvedRecipe, analysis: Analysis, listener: Listener) -> Analysis:
    """Return the analysis with a cost model that includes times, if the recipe needs them."""
    if not needs_times(recipe):
        return analysis
    work = analysis.work
    timer = NetworkTimer(runtime_of(recipe), work.model, work.plain_example)
    assert isinstance(analysis.costs, CostModel)
    costs, first = _layered(analysis.costs, analysis.groups, timer, listener), None
    if LATENCY in budget_of(recipe).ratios:
        costs, first = _at_both_ends(
            costs, analysis.groups, timer, listener, floor=recipe.floor, round_to=multiple(recipe)
        )
    return TimedAnalysis(work, analysis.groups, costs, timer, first)


def with_rounding(recipe: ResolvedRecipe, analysis: Analysis) -> ResolvedRecipe:
    """Return the recipe with the rounding that pays off most for uniform widths, if it is to be chosen by times."""
    if recipe.round_to != AUTO or not isinstance(analysis, TimedAnalysis):
        return recipe
    return _with(recipe, _rounding(recipe.model_copy(update={"rule": "uniform"}), analysis, None))


def corrected_at_uniform(recipe: ResolvedRecipe, analysis: TimedAnalysis, listener: Listener) -> TimedAnalysis:
    """Return the analysis with times corrected by the network of uniform widths that meets a latency budget.

    The times of layers mislead most far from the networks that were timed as a whole. Rules that search among many
    widths at the budget would otherwise find those whose time the layers underestimate.
    """
    if analysis.first is None:
        return analysis
    uniform = with_rounding(recipe.model_copy(update={"rule": "uniform"}), analysis)
    plan = allocate_for(uniform, analysis, None)
    return _trials(uniform, analysis, analysis.first, None, plan, listener)[0]


def plan_for_latency(
    recipe: ResolvedRecipe, analysis: TimedAnalysis, scores: Scores | None, listener: Listener
) -> Plan:
    """Return the plan whose measured latency comes closest to the request.

    For a budget without latency, return the plan with the rounding that pays off most by the times of the layers. A
    rounding that was chosen by these and misses the request is chosen once more, by the corrected times.

    Args:
        recipe: Recipe with budget, rule and rounding.
        analysis: Analysis of the dense network with measured times.
        scores: Scores for rules that need them.
        listener: Called before every network that is timed, and at the end.
    """
    rounding = _rounding(recipe, analysis, scores) if recipe.round_to == AUTO else None
    rounded = _with(recipe, rounding)
    timing = replace(analysis.timer.runtime.timing(), rounding=rounding)
    plan = allocate_for(rounded, analysis, scores)
    if analysis.first is None:
        listener(STAGE, MOST_NETWORKS, MOST_NETWORKS, f"widths in multiples of {multiple(rounded)}")
        return replace(plan, timing=timing)
    first = analysis.first
    analysis, plans, trials = _trials(rounded, analysis, first, scores, plan, listener)
    roundings = [rounding] * len(plans)
    if rounding is not None and all(misses_latency(plan.budget, trial.removed) for trial in trials):
        other = _other_rounding(recipe, analysis, scores, rounding)
        if other is not None:
            rounded = _with(recipe, other)
            _, more, timed = _trials(
                rounded, analysis, first, scores, allocate_for(rounded, analysis, scores), listener
            )
            plans, trials, roundings = plans + more, trials + timed, roundings + [other] * len(more)
    wanted = 1 - plan.budget.ratios[LATENCY]
    chosen = min(range(len(trials)), key=lambda number: _miss(trials[number], wanted))
    timing = replace(timing, rounding=roundings[chosen], trials=tuple(trials), chosen=chosen)
    return _as_measured(replace(plans[chosen], timing=timing))


def time_trained(recipe: ResolvedRecipe, work: Workload, slimmed: SlimModel, listener: Listener) -> LatencyRow | None:
    """Return the trained network's time beside that of the dense one; None if its plan was not timed as a whole.

    The times of a machine change from one minute to the next, so a plan that met its budget before the training may
    miss it afterwards.
    """
    if slimmed.plan.timing is None or slimmed.plan.timing.trial is None:
        return None
    listener(TRAINED_STAGE, 0, 1, "")
    known = [trial.row["dense_ms"] / 1e3 for trial in slimmed.plan.timing.trials]
    row = NetworkTimer(runtime_of(recipe), work.model, work.plain_example, known).row(slimmed.module)
    listener(TRAINED_STAGE, 1, 1, f"{100 * latency_removed(row['speedup']):.1f} % less")
    return row


def _trials(
    recipe: ResolvedRecipe,
    analysis: TimedAnalysis,
    first: float,
    scores: Scores | None,
    plan: Plan,
    listener: Listener,
) -> tuple[TimedAnalysis, list[Plan], list[TimedNetwork]]:
    """Return the corrected analysis, and plans with their measurements, each solved for by the former correction."""
    plans: list[Plan] = []
    trials: list[TimedNetwork] = []
    wanted = 1 - plan.budget.ratios[LATENCY]
    while len(trials) < MOST_NETWORKS and not any(plan.widths == former.widths for former in plans):
        listener(STAGE, len(trials), MOST_NETWORKS, "")
        row = analysis.timer.row(keep_channels(analysis.work.model, plan.groups, plan.kept))
        plans.append(plan)
        trials.append(TimedNetwork(1 - plan.slim.of(LATENCY) / plan.dense.of(LATENCY), row))
        assert isinstance(analysis.costs, LatencyModel)
        widths = np.array([plan.widths[group.id] for group in plan.groups], np.int64)
        costs = analysis.costs.corrected(widths, (1 - trials[-1].removed) * first)
        analysis = replace(analysis, costs=costs)
        if _miss(trials[-1], wanted) <= CLOSE:
            break
        plan = _next(recipe, analysis, scores) or plan
    listener(STAGE, MOST_NETWORKS, MOST_NETWORKS, f"{100 * trials[-1].removed:.1f} % less")
    return analysis, plans, trials


def _next(recipe: ResolvedRecipe, analysis: Analysis, scores: Scores | None) -> Plan | None:
    try:
        return allocate_for(recipe, analysis, scores)
    except BudgetError:  # by the corrected model even the least widths are too slow, unlike by their own measurement
        return None


def _miss(trial: TimedNetwork, wanted: float) -> float:
    return abs((1 - trial.removed) / wanted - 1)


def _as_measured(plan: Plan) -> Plan:
    """Return the plan with the measured latencies as its costs."""
    assert plan.timing is not None
    assert plan.timing.trial is not None
    dense = plan.timing.trial.row["dense_ms"] * 1e6
    slim = dense * (1 - plan.timing.trial.removed)
    return replace(plan, dense=replace(plan.dense, latency=round(dense)), slim=replace(plan.slim, latency=round(slim)))


def _rounding(recipe: ResolvedRecipe, analysis: Analysis, scores: Scores | None) -> Rounding:
    """Return the rounding that pays off most by the cost model.

    Under a latency budget, this is the rounding that keeps the most MACs. Under any other budget, it is the fastest of
    those that use the budget about as well as the best: dropping further channels would always be faster.

    Raises:
        BudgetError: If no rounding can meet the budget.
    """
    found: dict[int, tuple[Cost, float]] = {}
    problems = []
    for round_to in ROUNDINGS:
        try:
            plan = allocate_for(recipe.model_copy(update={"round_to": round_to}), analysis, scores)
            found[round_to] = (
                plan.slim,
                max(plan.slim.of(of) / plan.budget.allowed(of, plan.dense) for of in plan.budget.ratios),
            )
        except BudgetError as error:
            problems.append(error)
    if not found:
        raise problems[0]
    candidates = tuple(Candidate(step, cost.macs, cost.of(LATENCY)) for step, (cost, _) in found.items())
    if LATENCY in budget_of(recipe).ratios:
        best = max(candidates, key=lambda one: (one.macs, one.round_to))
        return Rounding(best.round_to, "keeps most MACs within the latency, by the times of the layers", candidates)
    most = max(used for _, used in found.values())
    using = [one for one in candidates if found[one.round_to][1] >= USED * most]
    best = min(using, key=lambda one: (one.latency, -one.round_to))
    return Rounding(
        best.round_to, f"is the quickest at this budget of {recipe.of}, by the times of the layers", candidates
    )


def _other_rounding(
    recipe: ResolvedRecipe, analysis: Analysis, scores: Scores | None, former: Rounding
) -> Rounding | None:
    """Return the rounding that pays off most by corrected times; None if it is the former one, or none is possible."""
    try:
        found = _rounding(recipe, analysis, scores)
    except BudgetError:
        return None
    return None if found.round_to == former.round_to else found


def _with(recipe: ResolvedRecipe, rounding: Rounding | None) -> ResolvedRecipe:
    """Return the recipe with a rounding that was chosen, if any."""
    return recipe if rounding is None else recipe.model_copy(update={"round_to": rounding.round_to})


def _layered(costs: CostModel, groups: Sequence[ChannelGroup], timer: NetworkTimer, listener: Listener) -> LatencyModel:
    """Return a latency model of the layers alone; their times are kept in the user's cache folder."""
    traced = traced_layers(timer.dense, timer.example)

    def progress(_: str, done: int, total: int, note: str) -> None:
        listener(STAGE, 0, MOST_NETWORKS, f"{done} of {total} layers timed")

    seconds = timer.runtime.layer_clock(progress)
    return LatencyModel.of(costs, groups, [name for name, _ in traced], LayerTimes([one for _, one in traced], seconds))


def _at_both_ends(
    costs: LatencyModel,
    groups: Sequence[ChannelGroup],
    timer: NetworkTimer,
    listener: Listener,
    *,
    floor: float = 0.0,
    round_to: int = 1,
) -> tuple[LatencyModel, float]:
    """Fit the model to the whole network at dense and least widths; return it and the dense time in seconds."""
    listener(STAGE, 0, MOST_NETWORKS, "the dense network and the narrowest")
    least = least_widths(groups, floor, round_to)
    row = timer.row(keep_channels(timer.dense, groups, first_channels(groups, least)))
    dense = row["dense_ms"] / 1e3
    return costs.through((least, dense / row["speedup"]), dense), dense
