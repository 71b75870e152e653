"""What the record of a cell holds of a training, and which errors concern one cell alone."""

from slimprune.budget import Cost, Plan
from slimprune.errors import BudgetError, SlimpruneError, UnsupportedModelError
from slimprune.files import CellOutcome, KeptShares
from slimprune.measure import environment
from slimprune.pipeline.stages import Start
from slimprune.pipeline.trained import dense_accuracy
from slimprune.pipeline.workload import Workload
from slimprune.recipe import ResolvedRecipe
from slimprune.results import further_to_json
from slimprune.training import FurtherMetric, TrainResult, evaluate


def failure_of_one(error: SlimpruneError) -> str:
    """Return the message of an error that affects one cell only; raise any other error again.

    A budget that cannot be met, a criterion that cannot score the network, and scores or losses that become non-finite
    affect one cell. An invalid recipe, unreadable data and a failed proof affect more.
    """
    if isinstance(error, BudgetError | UnsupportedModelError) or type(error) is SlimpruneError:
        return str(error)
    raise error


def as_given(recipe: ResolvedRecipe, work: Workload, start: Start) -> TrainResult:
    """Return the accuracy of a dense network with given weights as the result of a training without epochs."""
    accuracy = dense_accuracy(recipe, work, start) or 0.0
    device = work.device
    further = tuple(
        FurtherMetric(
            one.name,
            evaluate(start.scored, work.test_batches, one, device=device, forward_fn=work.forward_fn),
            one.scale,
        )
        for one in work.further
    )
    return TrainResult(work.metric.name, accuracy, accuracy, 0, 0.0, (), scale=work.metric.scale, further=further)


def outcome_of(result: TrainResult, work: Workload) -> CellOutcome:
    """Return the results of a training; the metric in [0, 1], wall-clock seconds."""
    outcome: CellOutcome = {
        "final": result.final,
        "best": result.best,
        "validation": result.validation,
        "train_loss": result.history[-1].train_loss if result.history else None,
        "training_seconds": result.seconds,
        "environment": environment(work.device),
    }
    if result.further:
        outcome["further"] = further_to_json(result)
    return outcome


def costs_of(cost: Cost) -> CellOutcome:
    """Return what a network costs."""
    return {"params": cost.params, "macs": cost.macs, "channels": cost.channels}


def kept_shares(plan: Plan) -> KeptShares:
    """Return the shares of the dense network that a plan keeps."""
    return {
        "channels": plan.slim.channels / plan.dense.channels,
        "params": plan.slim.params / plan.dense.params,
        "macs": plan.slim.macs / plan.dense.macs,
    }


def kept_by_layer(plan: Plan) -> dict[str, float]:
    """Return the share of the channels that is kept of every group that may lose some."""
    widths = plan.widths
    return {group.id: widths[group.id] / group.width for group in plan.groups if group.protected_reason is None}
