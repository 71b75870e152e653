"""The proof of a removal: the slim model must equal the dense one with the removed channels silenced."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from slimprune.errors import first_line
from slimprune.graph.example import BATCH, FORWARD_ERRORS, Example, random_inputs
from slimprune.graph.groups import ChannelGroup, named_tensors
from slimprune.graph.removal import Kept, select, with_values

TOLERANCE = 1e-5
_CALIBRATION_BATCH = 8


@dataclass(frozen=True)
class Proof:
    """Outcome of comparing a slim model with the silenced dense one.

    Attributes:
        max_rel_diff: max |dense - slim| over the largest difference that two inputs make to the dense output, float64,
            the largest over all outputs; infinite where the slim model does not run.
        tolerance: largest accepted `max_rel_diff`.
        problem: what went wrong, or None.
        structural: ids of removed groups whose norms mix channels. Such norms work without their statistics (gain and
            offset only) in both models while they are compared; the slim model as it is was checked by its shapes and
            finite gradients.
    """

    max_rel_diff: float
    tolerance: float = TOLERANCE
    problem: str | None = None
    structural: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the slim model may be used."""
        return self.problem is None and self.max_rel_diff <= self.tolerance

    @property
    def reason(self) -> str:
        """One clause that says why the proof did not pass."""
        return self.problem or f"relative difference {self.max_rel_diff:.1e}, tolerance {self.tolerance:.0e}"


def prove_removal(
    dense: nn.Module, slim: nn.Module, groups: Iterable[ChannelGroup], kept: Kept, example: Example
) -> Proof:
    """Compares `slim` with `dense` whose removed channels are silenced on the producer side.

    Both run in float64 and eval mode on random inputs, with the same randomised biases, norm affine parameters and
    running statistics. Silencing sets to zero the rows, biases, norm entries and scales that *make* a removed channel,
    and never touches the columns that read it: a wrong column in the slim model therefore shows.

    Args:
        dense: the original model; untouched.
        slim: the smaller module under test; its structure is used, its weights are not.
        groups: channel groups of `dense`.
        kept: by group id, the channels that `slim` has.
        example: input that gives shapes and dtypes.

    Returns:
        The proof; it says what failed instead of raising.
    """
    groups = tuple(groups)
    return Trial.prepare(dense, example, groups).prove(slim, groups, kept)


@dataclass(frozen=True, eq=False)
class Trial:
    """A dense model made ready for proofs: random float64 tensors and inputs under which its output is lively."""

    dense: nn.Module
    state: Mapping[str, Tensor]
    inputs: tuple[Any, ...]
    untouched: list[Tensor] | str
    trains: bool
    mixing: frozenset[str]
    visible: frozenset[str]
    visible_in_training: frozenset[str]

    @classmethod
    def prepare(cls, dense: nn.Module, example: Example, groups: Sequence[ChannelGroup], seed: int = 0) -> "Trial":
        """Draws the tensors and inputs; `dense` itself is left untouched.

        Args:
            dense: the dense model.
            example: gives shapes and dtypes.
            groups: all its groups.
            seed: of the draw.
        """
        mixing = frozenset(slot.name for group in groups for slot in group.slots_of("mixing"))
        state = _random_state(dense, random_inputs(example, seed + 1, batch=_CALIBRATION_BATCH), seed, mixing)
        inputs = random_inputs(example, seed)
        trains = not isinstance(_outputs(_training_twin(dense, state), inputs, mixing), str)
        visible = _visible(_twin(dense, state), inputs, groups)
        others = [group for group in groups if trains and group.id not in visible]
        return cls(
            dense,
            state,
            inputs,
            untouched=_outputs(_twin(dense, state), inputs, mixing),
            trains=trains,
            mixing=mixing,
            visible=visible,
            visible_in_training=_visible(_training_twin(dense, state), inputs, others),
        )

    def prove(self, slim: nn.Module, groups: Iterable[ChannelGroup], kept: Kept) -> Proof:
        """The proof of one removal; see `prove_removal`."""
        groups = tuple(groups)
        shrunk = [group for group in groups if group.id in kept]
        values = {**self.state, **select(self.state, groups, kept)}
        silent = {**self.state, **silenced(self.state, groups, kept)}
        structural = tuple(group.id for group in shrunk if not group.exact)
        problem = _misfit(slim, values)
        if problem is None and self.trains:
            problem = _training_problem(_training_twin(slim, values), self.inputs, gradients=bool(structural))
        if problem is not None:
            return Proof(float("inf"), problem=problem, structural=structural)
        expected = self._run(_twin(self.dense, silent))
        proof = replace(_compare(expected, self._run(_twin(slim, values))), structural=structural)
        hidden = [group for group in shrunk if group.id not in self.visible]
        if any(group.id not in self.visible_in_training for group in hidden):
            return replace(proof, problem=proof.problem or _UNSEEN)
        if hidden and proof.passed:
            return self._prove_in_training(slim, values, silent, structural)
        if proof.passed and shrunk and _compare(self.untouched, expected).passed:
            return replace(proof, problem=_UNSEEN)
        return proof

    def _prove_in_training(
        self, slim: nn.Module, values: Mapping[str, Tensor], silent: Mapping[str, Tensor], structural: tuple[str, ...]
    ) -> Proof:
        """Comparison in training mode, for channels of auxiliary heads that run only there."""
        expected, found = self._run(_training_twin(self.dense, silent)), self._run(_training_twin(slim, values))
        return replace(_compare(expected, found), structural=structural)

    def _run(self, model: nn.Module) -> list[Tensor] | str:
        return _outputs(model, self.inputs, self.mixing)


_UNSEEN = "its removal does not show in the output: nothing can be proven"


def silenced(tensors: Mapping[str, Tensor], groups: Iterable[ChannelGroup], kept: Kept) -> dict[str, Tensor]:
    """The tensors that make removed channels, with zeros at those channels."""
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


def _random_state(
    model: nn.Module, inputs: tuple[Any, ...], seed: int, mixing: frozenset[str]
) -> dict[str, Tensor]:
    """float64 tensors of the model; vectors and norms random, since fresh ones are all zeros or ones and hide errors.

    Running statistics are those of `inputs`, then disturbed: without them a deep network's output fades to a constant.
    """
    generator = torch.Generator().manual_seed(seed + 1)

    def draw(like: Tensor, low: float, high: float) -> Tensor:
        return torch.empty(like.shape, dtype=torch.float64).uniform_(low, high, generator=generator).to(like.device)

    norms = [module for module in model.modules() if isinstance(module, _NormBase)]
    gains = {id(norm.weight) for norm in norms} | {id(norm.running_var) for norm in norms}
    state = {name: _double(tensor) for name, tensor in named_tensors(model).items()}
    for name, tensor in named_tensors(model).items():
        if tensor.is_floating_point() and id(tensor) in gains:
            state[name] = draw(tensor, 0.5, 1.5)
        elif tensor.is_floating_point() and (tensor.ndim <= 1 or not tensor.any()):
            state[name] = draw(tensor, -0.3, 0.3)
    twin = _twin(model, state)
    for mean, variance in _calibrated_statistics(twin, inputs, mixing):
        mean += variance.sqrt() * draw(mean, -0.3, 0.3)
        variance *= draw(variance, 0.5, 1.5)
    return {name: tensor.detach() for name, tensor in named_tensors(twin).items()}


def _calibrated_statistics(
    model: nn.Module, inputs: tuple[Any, ...], mixing: frozenset[str]
) -> list[tuple[Tensor, Tensor]]:
    """Running mean and variance of every norm, set to those of `inputs`; other modules stay in eval mode."""
    norms = [module for module in model.modules() if isinstance(module, _NormBase)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train(norm.running_mean is not None)
    _outputs(model, inputs, mixing)
    return [(n.running_mean, n.running_var) for n in norms if n.running_mean is not None and n.running_var is not None]


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float64) if tensor.is_floating_point() else tensor.detach().clone()


def _twin(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    return with_values(model, tensors).eval()


def _training_twin(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Has buffers of its own, since training mode writes to running statistics."""
    buffers = dict(model.named_buffers())
    values = {name: tensor.clone() if name in buffers else tensor for name, tensor in tensors.items()}
    return with_values(model, values).train()


def _misfit(slim: nn.Module, expected: Mapping[str, Tensor]) -> str | None:
    """The first tensor of the slim model whose shape is not the planned one, in a clause."""
    found = named_tensors(slim)
    for name, tensor in expected.items():
        shape = tuple(found[name].shape) if name in found else None
        if shape != tuple(tensor.shape):
            return f"{name} has shape {shape}, the plan says {tuple(tensor.shape)}"
    return None


class _WithoutStatistics(TorchFunctionMode):
    """Norms over channels keep their gain and offset only: what is left acts on every channel by itself.

    Group norms that lose whole groups stay as they are. Dropout is off, since it draws by shape.
    """

    def __init__(self, model: nn.Module, mixing: frozenset[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._mixing = {id(tensor) for name, tensor in named_tensors(model).items() if name in mixing}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.layer_norm:
            return _gain_and_offset(*args, **kwargs)
        if func is F.group_norm and id(kwargs.get("weight", args[2] if len(args) > 2 else None)) in self._mixing:
            return _gain_and_offset_of_images(*args, **kwargs)
        if func in _DROPOUTS:
            return args[0] if args else kwargs["input"]
        return func(*args, **kwargs)


_DROPOUTS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout)


def _gain_and_offset(
    input: Tensor,  # noqa: A002 the name under which torch's modules may pass it
    normalized_shape: object,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 0.0,
) -> Tensor:
    scaled = input if weight is None else input * weight
    return scaled if bias is None else scaled + bias


def _gain_and_offset_of_images(
    input: Tensor,  # noqa: A002 the name under which torch's modules may pass it
    num_groups: object,
    weight: Tensor,
    bias: Tensor,
    eps: float = 0.0,
) -> Tensor:
    shape = (-1, *[1] * (input.ndim - 2))
    return input * weight.view(shape) + bias.view(shape)


def _outputs(model: nn.Module, inputs: tuple[Any, ...], mixing: frozenset[str]) -> list[Tensor] | str:
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), _WithoutStatistics(model, mixing):
            return [leaf for leaf in tree_leaves(model(*inputs)) if isinstance(leaf, Tensor)]
    except FORWARD_ERRORS as error:
        return first_line(error)


def _visible(model: nn.Module, inputs: tuple[Any, ...], groups: Sequence[ChannelGroup]) -> frozenset[str]:
    """Ids of the groups on which an output depends: the gradient of what makes their channels is not zero."""
    parameters = dict(model.requires_grad_(False).named_parameters())
    makers: dict[str, list[nn.Parameter]] = {}
    for group in groups:
        made = [parameters[s.name] for s in group.slots if s.role != "consumer" and s.name in parameters]
        # Vectors tell as much as matrices and cost less memory.
        makers[group.id] = [tensor for tensor in made if tensor.ndim == 1] or made
    wanted = {id(tensor): tensor.requires_grad_() for several in makers.values() for tensor in several}
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            leaves = [leaf for leaf in tree_leaves(model(*inputs)) if isinstance(leaf, Tensor) and leaf.requires_grad]
            found = torch.autograd.grad([leaf.square().sum() for leaf in leaves], list(wanted.values()), allow_unused=True)
    except FORWARD_ERRORS:
        return frozenset(makers)  # no gradients here: the comparison of outputs has to do
    seen = {number for number, gradient in zip(wanted, found, strict=True) if gradient is not None and gradient.any()}
    return frozenset(name for name, several in makers.items() if any(id(tensor) in seen for tensor in several))


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
        return Proof(float("inf"), problem="the output is not finite")
    if not any(_spread(a) > 0 for a, _ in pairs):
        return Proof(float("inf"), problem="the output does not depend on the input: nothing can be proven")
    return Proof(max(_relative(a, b) for a, b in pairs))


def _relative(expected: Tensor, found: Tensor) -> float:
    difference = float((expected - found).abs().max())
    scale = _spread(expected) or float(expected.abs().max())
    return difference / scale if scale > 0 else difference


def _spread(output: Tensor) -> float:
    """Largest difference that two samples make; 0 for an output without a batch."""
    return float((output[0] - output[1]).abs().max()) if output.ndim > 0 and len(output) == BATCH else 0.0


def _training_problem(model: nn.Module, inputs: tuple[Any, ...], gradients: bool) -> str | None:
    """What goes wrong when the slim model runs in training mode, in a clause."""
    try:
        with torch.set_grad_enabled(gradients), torch.random.fork_rng(devices=[]):
            leaves = [leaf for leaf in tree_leaves(model(*inputs)) if isinstance(leaf, Tensor) and leaf.requires_grad]
            if gradients:
                torch.stack([leaf.square().mean() for leaf in leaves]).sum().backward()
    except FORWARD_ERRORS as error:
        return f"the slim model fails in training mode: {first_line(error)}"
    wrong = [n for n, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    return f"the gradient of {wrong[0]} is not finite" if wrong else None
