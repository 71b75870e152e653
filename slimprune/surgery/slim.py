"""Model and plan to slim model, and the proof that the removal was right."""

from dataclasses import dataclass, replace

from torch import nn

from slimprune.budget import Plan
from slimprune.errors import VerificationError
from slimprune.graph import Example, Proof, keep_channels, prove_removal


@dataclass(frozen=True, eq=False)
class SlimModel:
    """A physically smaller model.

    Attributes:
        module: the slim module, ready for training.
        plan: which channels of the dense model it has.
        proof: outcome of the proof, None before it ran.
    """

    module: nn.Module
    plan: Plan
    proof: Proof | None = None

    def proven(self, proof: Proof) -> "SlimModel":
        """The same slim model with its proof.

        Raises:
            VerificationError: the proof did not pass.
        """
        if not proof.passed:
            raise VerificationError(f"the slim model is not proven equal to the silenced dense one: {proof.reason}")
        return replace(self, proof=proof)


def slim(model: nn.Module, plan: Plan) -> SlimModel:
    """A new module that has only the channels of the plan, with their initial weights.

    Args:
        model: the dense model; left untouched.
        plan: made for the channel groups of this model.

    Returns:
        The slim model, not proven yet.
    """
    return SlimModel(keep_channels(model, plan.groups, plan.kept), plan)


def prove(dense: nn.Module, slim_model: SlimModel, example: Example) -> Proof:
    """Proof that the slim model equals the dense one with the removed channels silenced; see `graph.prove_removal`.

    Args:
        dense: the dense model; left untouched.
        slim_model: what `slim` made of it; its structure and plan are tested, its weights may be trained already.
        example: one input batch.

    Returns:
        The proof; ask `proof.passed`, or call `slim_model.proven(proof)` which raises.
    """
    shrunk = {group: kept for group, kept in slim_model.plan.kept.items() if len(kept) < _width(slim_model.plan, group)}
    return prove_removal(dense, slim_model.module, slim_model.plan.groups, shrunk, example)


def _width(plan: Plan, group_id: str) -> int:
    return next(group.width for group in plan.groups if group.id == group_id)
