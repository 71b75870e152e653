"""The proof of a removal: the slim model must equal the dense one with the removed channels silenced."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from slimprune.errors import FORWARD_ERRORS, first_line
from slimprune.graph.example import BATCH, Example, first_samples, on_device_of_proofs, random_inputs
from slimprune.graph.groups import ChannelGroup, named_tensors
from slimprune.graph.no_statistics import NoStatistics
from slimprune.graph.random_weights import eval_copy, in_double, outputs, random_state, training_copy, visible_groups
from slimprune.graph.removal import Kept, select
from slimprune.graph.zero_at_zero import ZeroAtZero

TOLERANCE = 1e-5
_CALIBRATION_BATCH = 8
_DRAWS = 3


@dataclass(frozen=True)
class Proof:
    """Outcome of comparing a slim model with the silenced dense one.

    Attributes:
        max_rel_diff: Max |dense - slim| divided by the largest difference that two inputs make to the dense output, in
            float64; the maximum over all outputs, infinite if the slim model does not run.
        tolerance: Largest accepted `max_rel_diff`.
        problem: What went wrong, or None.
        structural: Ids of removed groups whose norms mix channels. During the comparison such norms work without their
            statistics (gain and offset only) in both models; the slim model with its real norms is checked for its
            shapes and finite gradients.
        constants: Operators that make a constant of a silent channel (`sigmoid`, an added number) and were taken minus
            their value at zero in both models: there channels count as silent behind their activation. Empty if the
            models are equal without that.
        statistics: Operators that compute statistics of weights (weight standardisation, spectral norm) or means and
            deviations over channels (norms written by hand) and were left out in both models, because they change by
            nature when channels go.
    """

    max_rel_diff: float
    tolerance: float = TOLERANCE
    problem: str | None = None
    structural: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the slim model may be used."""
        return self.problem is None and self.max_rel_diff <= self.tolerance

    @property
    def inconclusive(self) -> bool:
        """Whether the comparison could not reveal an error, for example because all remaining channels are dead."""
        return self.problem in (_UNSEEN, _INERT)

    @property
    def reason(self) -> str:
        """One clause that says why the proof did not pass."""
        return self.problem or f"relative difference {self.max_rel_diff:.1e}, tolerance {self.tolerance:.0e}"


def prove_removal(
    dense: nn.Module, slim: nn.Module, groups: Iterable[ChannelGroup], kept: Kept, example: Example
) -> Proof:
    """Compare `slim` with `dense` whose removed channels are silenced where they are produced.

    Both run in float64 and eval mode on random inputs, with the same randomised biases, norm affine parameters and
    running statistics. Silencing sets to zero the rows, biases, norm entries and scales that *produce* a removed
    channel, and never touches the columns that read it, so that a wrong column in the slim model shows.

    Args:
        dense: The original model; it is not modified.
        slim: The smaller module under test; its structure is used, its weights are not.
        groups: Channel groups of `dense`.
        kept: By group id, the channels that `slim` has.
        example: Input that gives shapes and dtypes.

    Returns:
        The proof; it reports what failed instead of raising.
    """
    groups = tuple(groups)
    dense, example = on_device_of_proofs(dense, example)
    return prove_in(lambda seed: ProofTrial.prepare(dense, example, groups, seed), slim, groups, kept)


def prove_in(draw: Callable[[int], "ProofTrial"], slim: nn.Module, groups: Sequence[ChannelGroup], kept: Kept) -> Proof:
    """Return the proof of the first of a few trials that is conclusive.

    Several trials are needed because all channels that are left in a small network may be dead.

    Args:
        draw: Returns the trial for a seed.
        slim: The smaller module under test.
        groups: Channel groups of the dense model.
        kept: By group id, the channels that `slim` has.
    """
    for seed in range(_DRAWS):
        proof = draw(seed).prove(slim, groups, kept)
        if not proof.inconclusive:
            break
    return proof


@dataclass(frozen=True, eq=False)
class ProofTrial:
    """A dense model prepared for proofs, with random float64 tensors and inputs under which its output varies."""

    dense: nn.Module
    state: Mapping[str, Tensor]
    inputs: tuple[Any, ...]
    batch: tuple[Any, ...]
    untouched: list[Tensor] | str
    trains: bool
    cross_channel: frozenset[str]
    visible: frozenset[str]
    visible_in_training: frozenset[str]

    @classmethod
    def prepare(cls, dense: nn.Module, example: Example, groups: Sequence[ChannelGroup], seed: int = 0) -> "ProofTrial":
        """Draw the tensors and inputs of a trial.

        Args:
            dense: The dense model; it is not modified.
            example: Gives shapes and dtypes.
            groups: All channel groups of the dense model.
            seed: Seed of the random numbers.
        """
        cross_channel = frozenset(slot.name for group in groups for slot in group.slots_of("cross-channel-norm"))
        # The norms are calibrated on these inputs too: on others the activations of a deep network may explode.
        batch = random_inputs(example, seed, batch=_CALIBRATION_BATCH)
        inputs = first_samples(batch, BATCH)
        state = random_state(dense, batch, seed, cross_channel)
        trains = not isinstance(outputs(training_copy(dense, state), inputs, cross_channel), str)
        visible = visible_groups(eval_copy(dense, state), inputs, groups)
        others = [group for group in groups if trains and group.id not in visible]
        return cls(
            dense,
            state,
            inputs,
            batch,
            untouched=outputs(eval_copy(dense, state), inputs, cross_channel),
            trains=trains,
            cross_channel=cross_channel,
            visible=visible,
            visible_in_training=visible_groups(training_copy(dense, state), batch, others),
        )

    def prove(self, slim: nn.Module, groups: Iterable[ChannelGroup], kept: Kept) -> Proof:
        """Prove one removal; see `prove_removal`."""
        groups = tuple(groups)
        shrunk = [group for group in groups if group.id in kept]
        values = {**self.state, **select(self.state, groups, kept)}
        silent = {**self.state, **silenced(self.state, groups, kept)}
        structural = tuple(group.id for group in shrunk if not group.exact)
        problem = _misfit(slim, values)
        if problem is None and self.trains:
            problem = _training_problem(training_copy(slim, values), self.inputs, gradients=bool(structural))
        if problem is not None:
            return Proof(float("inf"), problem=problem, structural=structural)
        removal = _Removal(slim, values, silent, shrunk)
        proof = self._compared(removal)
        if proof.problem in (None, _INFINITE) and not proof.passed:
            proof = self._simplified(removal) or proof
        return replace(proof, structural=structural)

    def _simplified(self, removal: "_Removal") -> Proof | None:
        """Compare without what differs by nature, values at zero and statistics of weights; None if that fails too."""
        data = (self.inputs, self.batch)
        zero, plain = ZeroAtZero(data), NoStatistics(data)
        both = self._compared(removal, (zero, plain))
        if not (both.passed or both.inconclusive):
            return None
        if zero.changed and plain.changed and (alone := self._compared(removal, (NoStatistics(data),))).passed:
            return replace(alone, statistics=tuple(plain.changed))
        return replace(both, constants=tuple(zero.changed), statistics=tuple(plain.changed))

    def _compared(self, removal: "_Removal", modes: "_Modes" = ()) -> Proof:
        expected = self._run(eval_copy(self.dense, removal.silent), modes)
        proof = _compare(expected, self._run(eval_copy(removal.slim, removal.values), modes))
        hidden = [group for group in removal.shrunk if group.id not in self.visible]
        if any(group.id not in self.visible_in_training for group in hidden):
            return replace(proof, problem=proof.problem or _UNSEEN)
        if hidden and proof.passed:
            return self._compared_in_training(removal, modes)
        if proof.passed and removal.shrunk:
            untouched = self.untouched if not modes else self._run(eval_copy(self.dense, self.state), modes)
            if _compare(untouched, expected).passed:
                return replace(proof, problem=_UNSEEN)
        return proof

    def _compared_in_training(self, removal: "_Removal", modes: "_Modes") -> Proof:
        """Compare in training mode, for channels of auxiliary heads that run only there.

        The larger batch is used, because norms over two samples amplify rounding errors.
        """
        expected = outputs(training_copy(self.dense, removal.silent), self.batch, self.cross_channel, modes)
        found = outputs(training_copy(removal.slim, removal.values), self.batch, self.cross_channel, modes)
        return _compare(expected, found)

    def _run(self, model: nn.Module, modes: "_Modes") -> list[Tensor] | str:
        return outputs(model, self.inputs, self.cross_channel, modes)


@dataclass(frozen=True, eq=False)
class _Removal:
    """A slim model with its tensors, and those of the dense one whose removed channels are silenced."""

    slim: nn.Module
    values: Mapping[str, Tensor]
    silent: Mapping[str, Tensor]
    shrunk: list[ChannelGroup]


_Modes = tuple[ZeroAtZero | NoStatistics, ...]

_INFINITE = "the output is not finite"
_INERT = "the output does not depend on the input: nothing can be proven"
_UNSEEN = "its removal does not show in the output: nothing can be proven"


def silenced(tensors: Mapping[str, Tensor], groups: Iterable[ChannelGroup], kept: Kept) -> dict[str, Tensor]:
    """Return the tensors that produce removed channels, with zeros at those channels."""
    result: dict[str, Tensor] = {}
    for group in groups:
        if group.id not in kept:
            continue
        removed = group.without(kept[group.id])
        for slot in group.slots:
            if slot.role != "consumer":
                tensor = result.get(slot.name, tensors[slot.name])
                positions = slot.positions(removed).to(tensor.device)
                result[slot.name] = tensor.index_fill(slot.dim, positions, 0.0)
    return result


def _misfit(slim: nn.Module, expected: Mapping[str, Tensor]) -> str | None:
    """Describe, in a clause, the first tensor of the slim model whose shape is not the planned one."""
    found = named_tensors(slim)
    for name, tensor in expected.items():
        shape = tuple(found[name].shape) if name in found else None
        if shape != tuple(tensor.shape):
            return f"{name} has shape {shape}, the plan says {tuple(tensor.shape)}"
    return None


def _compare(expected: list[Tensor] | str, found: list[Tensor] | str) -> Proof:
    if isinstance(expected, str):
        return Proof(float("inf"), problem=f"the dense model fails in float64: {expected}")
    if isinstance(found, str):
        return Proof(float("inf"), problem=f"the slim model fails: {found}")
    shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (expected, found)]
    if shapes[0] != shapes[1]:
        return Proof(float("inf"), problem=f"output shapes {shapes[1]}, expected {shapes[0]}")
    pairs = [(a, b) for a, b in zip(expected, found, strict=True) if a.is_floating_point() and a.numel() > 0]
    if not all(bool(a.isfinite().all() and b.isfinite().all()) for a, b in pairs):
        return Proof(float("inf"), problem=_INFINITE)
    if not any(_spread(a) > 0 for a, _ in pairs):
        return Proof(float("inf"), problem=_INERT)
    return Proof(max(_relative(a, b) for a, b in pairs))


def _relative(expected: Tensor, found: Tensor) -> float:
    difference = float((expected - found).abs().max())
    scale = _spread(expected) or float(expected.abs().max())
    return difference / scale if scale > 0 else difference


def _spread(output: Tensor) -> float:
    """Return the largest difference between the first two samples; 0 for an output without a batch."""
    return float((output[0] - output[1]).abs().max()) if output.ndim > 0 and len(output) > 1 else 0.0


def _training_problem(model: nn.Module, inputs: tuple[Any, ...], gradients: bool) -> str | None:
    """Describe, in a clause, what goes wrong when the slim model runs in training mode."""
    try:
        with torch.set_grad_enabled(gradients), torch.random.fork_rng(devices=[]):
            leaves = [leaf for leaf in in_double(model, inputs) if leaf.requires_grad]
            if gradients:
                torch.stack([leaf.square().mean() for leaf in leaves]).sum().backward()
    except FORWARD_ERRORS as error:
        return f"the slim model fails in training mode: {first_line(error)}"
    wrong = [n for n, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    return f"the gradient of {wrong[0]} is not finite" if wrong else None
