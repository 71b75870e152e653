"""From a model and a plan to a slim model, and the proof that the removal was correct."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from slimprune.budget import Plan
from slimprune.errors import UsageError, VerificationError
from slimprune.forward import ForwardFn, bind_forward, unwrap
from slimprune.graph import Example, Proof, keep_channels, named_tensors, prove_removal
from slimprune.models import note_narrowed
from slimprune.preprocessing import Preprocessing
from slimprune.surgery.bundle import Bundle, Origin, is_bundle, module_widths, save


@dataclass(frozen=True, eq=False)
class SlimModel:
    """A physically smaller model.

    Attributes:
        module: The slim module, ready for training.
        plan: The channels of the dense model that it has.
        proof: Outcome of the proof; None before the proof has run.
        origin: What the dense model takes, recorded by `save`.
        recipe: The settings of the pruning as plain values, recorded by `save`.
    """

    module: nn.Module
    plan: Plan
    proof: Proof | None = None
    origin: Origin = field(default_factory=lambda: Origin(None))
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return what was removed and how it was proven, in a few lines."""
        dense, slim, budget = self.plan.dense, self.plan.slim, self.plan.budget
        proof = "none yet" if self.proof is None else f"relative difference {self.proof.max_rel_diff:.1e}"
        if self.proof is not None and self.proof.constants:
            proof += f", apart from the values at zero of {', '.join(self.proof.constants)}"
        if self.proof is not None and self.proof.statistics:
            proof += f", apart from statistics of weights or channels ({', '.join(self.proof.statistics)})"
        rows = {
            "removed": f"{self.plan.achieved:.2%} of {budget.of} ({budget.ratio:.4g} asked), rule {self.plan.rule}",
            "channels": f"{dense.channels:,} -> {slim.channels:,}",
            "parameters": f"{dense.params:,} -> {slim.params:,}",
            "MACs": f"{dense.macs:,} -> {slim.macs:,}",
            "proof": proof,
        }
        return "\n".join(f"{name:<12}{text}" for name, text in rows.items())

    def save(
        self,
        folder: str | Path,
        *,
        module: nn.Module | None = None,
        preprocessing: Preprocessing | None = None,
        results: Mapping[str, Any] | None = None,
    ) -> Bundle:
        """Write the slim model with its current weights to a folder; `slimprune.load(folder, model=...)` reads it.

        Args:
            folder: A new or empty folder, or a bundle, which is replaced.
            module: The trained module if that is not `module` itself, such as an average of its weights.
            preprocessing: How images become the model's input; ONNX files of the bundle then normalise themselves.
            results: What was measured, as plain values.

        Returns:
            The bundle.

        Raises:
            UsageError: If the folder holds other files or cannot be written, the module has other tensors, or the
                preprocessing is for images of another number of channels.
        """
        folder, module = Path(folder), unwrap(self.module if module is None else module)
        _check_same_tensors(self.module, module)
        inputs = self.origin.inputs
        if preprocessing is not None and inputs is not None and preprocessing.channels != inputs.channels:
            wanted, found = inputs.channels, preprocessing.channels
            raise UsageError(f"expected a preprocessing of images with {wanted} channels, got one of {found}")
        try:
            if folder.exists() and not is_bundle(folder) and any(folder.iterdir()):
                raise UsageError(f"expected a new or empty folder, or one of a bundle, got {folder}")
            return save(
                module,
                self.plan,
                folder,
                origin=self.origin,
                recipe=self.recipe,
                results=results or {},
                preprocessing=preprocessing,
            )
        except OSError as error:
            raise UsageError(f"cannot write {folder}: {error.strerror}") from error

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
        The slim model, not proven yet, without `torch.compile` or `DataParallel` around it. If it is one of
        transformers, its configuration says which layers are narrower than it describes.
    """
    model = unwrap(model)
    module = keep_channels(model, plan.groups, plan.kept)
    note_narrowed(module, module_widths(model), module_widths(module))
    return SlimModel(module, plan)


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


def _check_same_tensors(slim_module: nn.Module, module: nn.Module) -> None:
    """Check that a module has the tensors of the slim one, whatever their values."""
    expected, found = named_tensors(unwrap(slim_module)), named_tensors(module)
    for name in {**expected, **found}:
        shape, other = (tuple(tensors[name].shape) if name in tensors else None for tensors in (expected, found))
        if shape != other:
            raise UsageError(f"expected the tensors of the slim module, {name} of shape {shape}, got {other}")
