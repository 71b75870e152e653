"""From a model and a plan to a slim model, and the proof that the removal was correct."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from slimprune.budget import Plan
from slimprune.errors import VerificationError
from slimprune.forward import ForwardFn, bind_forward, unwrap
from slimprune.graph import Example, Proof, keep_channels, named_tensors, prove_removal


@dataclass(frozen=True, eq=False)
class SlimModel:
    """A physically smaller model.

    Attributes:
        module: The slim module, ready for training.
        plan: The channels of the dense model that it has.
        proof: Outcome of the proof; None before the proof has run.
    """

    module: nn.Module
    plan: Plan
    proof: Proof | None = None

    def with_proof(self, proof: Proof) -> "SlimModel":
        """Return the same slim model with its proof.

        Raises:
            VerificationError: If the proof did not pass.
        """
        if not proof.passed:
            raise VerificationError(f"the slim model is not proven equal to the silenced dense one: {proof.reason}")
        return replace(self, proof=proof)


def slim(model: nn.Module, plan: Plan) -> SlimModel:
    """Return a new module that has only the channels of the plan, with their initial weights.

    Args:
        model: The dense model; it is not modified.
        plan: A plan for the channel groups of this model.

    Returns:
        The slim model, not proven yet, without `torch.compile` or `DataParallel` around it.
    """
    return SlimModel(keep_channels(unwrap(model), plan.groups, plan.kept), plan)


def prove(
    dense: nn.Module,
    slim_model: SlimModel,
    example: Example,
    *,
    trained: bool = False,
    forward_fn: ForwardFn | None = None,
) -> Proof:
    """Prove that the slim model equals the dense one with the removed channels silenced; see `graph.prove_removal`.

    Args:
        dense: The dense model; it is not modified.
        slim_model: The result of `slim`; its structure and plan are tested under random weights.
        example: One input batch.
        trained: Whether its weights have been trained since; otherwise they must be those of the kept channels.
        forward_fn: (model, batch) -> outputs; see `find_groups`.

    Returns:
        The proof. Check `proof.passed`, or call `slim_model.with_proof(proof)`, which raises if it did not pass.
    """
    dense = unwrap(dense)
    wrong = None if trained else _foreign_weights(dense, slim_model)
    if wrong is not None:
        return Proof(float("inf"), problem=f"{wrong} does not hold the weights of the kept channels")
    plan = slim_model.plan
    shrunk = {group.id: plan.kept[group.id] for group in plan.groups if len(plan.kept[group.id]) < group.width}
    module, _ = bind_forward(slim_model.module, example, forward_fn)
    dense, example = bind_forward(dense, example, forward_fn)
    return prove_removal(dense, module, plan.groups, shrunk, example)


def _foreign_weights(dense: nn.Module, slim_model: SlimModel) -> str | None:
    """Return the name of the first tensor of an untrained slim model that differs from the dense one."""
    found = named_tensors(slim_model.module)
    expected = named_tensors(keep_channels(dense, slim_model.plan.groups, slim_model.plan.kept))
    return next((name for name, tensor in expected.items() if not torch.equal(tensor, found[name])), None)
