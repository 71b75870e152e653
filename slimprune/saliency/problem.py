"""A scoring problem: the network as a function of one weight vector, its batches, and its gates."""

import copy
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map_only

from slimprune.errors import UnsupportedModelError, first_line
from slimprune.forward import ForwardFn, Loss, bind_forward, loss_of, split_batch
from slimprune.graph import ChannelGroup, Role, Slot
from slimprune.measure import in_steps
from slimprune.ranks.gradients import mean_over_ranks, replicated
from slimprune.ranks.group import ALONE, Ranks
from slimprune.ranks.norms import synchronised_norms
from slimprune.saliency.second_order import SecondOrder
from slimprune.saliency.target import Target

AnyBatch = Any
"""(inputs, targets), several inputs in a tuple or list; with a `forward_fn` whatever it takes."""
Gate = Literal["consumer", "norm", "producer"]

_GATED_ROLES: Mapping[str, tuple[Role, ...]] = {
    "consumer": ("consumer",),
    "norm": ("norm", "cross-channel-norm"),
    "producer": ("producer",),
}
GATES: tuple[str, ...] = tuple(_GATED_ROLES)


@dataclass(frozen=True, eq=False)
class Problem:
    """What a criterion sees in one draw.

    Attributes:
        network: Private copy of the model in training mode and in the dtype of the scoring.
        groups: The groups to score.
        batches: `batches[t]` is the batch of step t, the same on every access.
        loss: (output, target) -> scalar; (output, batch) with a `forward_fn`.
        gate: What the gates multiply; see `gate_gradient`.
        seed: Seed of dropout and of criteria that draw random numbers.
        target: Target of criteria that prune iteratively.
        forward_fn: (model, batch) -> output, for a network that is not called with its inputs.
        ranks: Ranks that divide every batch among them, so that the loss is the mean over all of them.
        unit: What one gate stands for, in words.
    """

    unit: ClassVar[str] = "channel"
    network: nn.Module
    groups: Sequence[ChannelGroup]
    batches: Sequence[AnyBatch]
    loss: Loss
    gate: Gate
    seed: int
    target: Target | None = None
    forward_fn: ForwardFn | None = None
    ranks: Ranks = ALONE

    @classmethod
    def prepare(
        cls,
        model: nn.Module,
        groups: Sequence[ChannelGroup],
        loss: Loss,
        gate: Gate,
        dtype: torch.dtype,
        forward_fn: ForwardFn | None = None,
    ) -> Self:
        """Return a problem without batches on a copy of `model`.

        Raises:
            UnsupportedModelError: If every parameter is frozen.
        """
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise UnsupportedModelError("expected at least one trainable parameter, got a fully frozen model")
        network, _ = bind_forward(model, None, forward_fn)
        return cls(in_steps(copy.deepcopy(network)).to(dtype).train(), groups, (), loss, gate, 0, forward_fn=forward_fn)

    @cached_property
    def initial(self) -> Tensor:
        """The initial weights as one vector [P]."""
        return torch.cat([parameter.detach().flatten() for parameter in self.network.parameters()])

    @cached_property
    def trainable(self) -> Tensor:
        """Mask of the weights that are trained, not frozen, bool [P]."""
        masks = [torch.full_like(p, p.requires_grad, dtype=torch.bool).flatten() for p in self.network.parameters()]
        return torch.cat(masks)

    def named(self, weights: Tensor) -> dict[str, Tensor]:
        """Split the vector [P] into the network's parameters."""
        shapes = {name: parameter.shape for name, parameter in self.network.named_parameters()}
        pieces = weights.split([shape.numel() for shape in shapes.values()])
        return {name: piece.view(shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}

    def gradient(self, weights: Tensor, step: int) -> Tensor:
        """Return the gradient [P] of the loss on batch `step` at `weights` [P]."""
        weights = weights.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.loss_at(weights, step), weights)
        return gradient

    def hessian_product(self, weights: Tensor, step: int, direction: Tensor) -> Tensor:
        """Return the Hessian of the loss on batch `step` at `weights`, times `direction` [P], by double backward."""
        _, product = self._differentiated(weights, step, gradient_read=False)
        return product(direction)

    def curvature(self, weights: Tensor, step: int) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the gradient [P] of the loss on batch `step` at `weights`, and its Hessian as a function.

        The function multiplies the Hessian by a vector [P]. Both results share one graph, which is kept until the
        function is called; it can be called only once.
        """
        return self._differentiated(weights, step, gradient_read=True)

    def _differentiated(
        self, weights: Tensor, step: int, *, gradient_read: bool
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        weights = weights.detach().requires_grad_()
        with SecondOrder(weights, gradient_read=gradient_read):
            loss = self.loss_at(weights, step)
        (gradient,) = torch.autograd.grad(loss, weights, create_graph=True)
        with twice_differentiable():
            _check_connected(gradient)

        def product(direction: Tensor) -> Tensor:
            with twice_differentiable():
                return torch.autograd.grad(gradient, weights, direction, materialize_grads=True)[0]

        return gradient.detach(), product

    def loss_at(self, weights: Tensor, step: int) -> Tensor:
        """Return the loss with `weights` on batch `step`; equal arguments give equal values, dropout included."""
        arguments, target = self.batch(step)
        buffers = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        weights = replicated(weights) if self.ranks.several else weights
        with torch.random.fork_rng(devices=_cuda_devices(weights)), synchronised_norms(self.network, self.ranks):
            torch.manual_seed((self.seed * 1_000_003 + step) % 2**63)
            output = functional_call(self.network, {**self.named(weights), **buffers}, arguments)
            loss = loss_of(self.loss, output, target)
        return mean_over_ranks(loss) if self.ranks.several else loss

    def batch(self, step: int) -> tuple[tuple[Any, ...], Any]:
        """Return the arguments of the forward call on batch `step`, and its target, on the device of the network."""
        parts = split_batch(self.batches[step], self.forward_fn)
        placed: tuple[tuple[Any, ...], Any] = tree_map_only(Tensor, self._placed, parts)
        return placed

    def gate_gradient(self, adjoint: Tensor) -> dict[str, Tensor]:
        """Return the derivative for every gate: sum of adjoint * initial weight over what the gate multiplies.

        Gates multiply the initial weights once: the columns that read a channel (`consumer`, equivalent to the
        removal), the affine pair of the norms on it (`norm`; groups without a norm use their consumers), or the rows
        that produce it (`producer`, as in the code of the ProsPr paper; before a batch norm such a gate measures no
        more than an effective learning rate).

        Args:
            adjoint: Derivative of the loss with respect to the initial weights, [P].

        Returns:
            Group id -> signed [width].
        """
        products = self.named(adjoint * self.initial)
        return {group.id: _gathered(products, group, self.gate) for group in self.groups}

    def magnitudes(self) -> dict[str, Tensor]:
        """Return the size of what each gate stands for: the root mean square of the weights of a channel's producers.

        Returns:
            Group id -> [width].
        """
        weights = self.named(self.initial)
        return {group.id: _root_mean_square(weights, group) for group in self.groups}

    def gated(self, gates: Mapping[str, Tensor]) -> Tensor:
        """Return the initial weights [P] with each gate multiplied once into exactly what `gate_gradient` sums over.

        Args:
            gates: Group id -> [width]; groups that are left out keep all their channels.
        """
        weights = self.named(self.initial)
        for group in self.groups:
            if group.id in gates:
                for slot in _gated_slots(group, self.gate, weights):
                    weights[slot.name] = weights[slot.name] * _spread(gates[group.id], slot, weights[slot.name])
        return torch.cat([weight.flatten() for weight in weights.values()])

    def _placed(self, tensor: Tensor) -> Tensor:
        dtype = self.initial.dtype if tensor.is_floating_point() else tensor.dtype
        return self.ranks.rows(tensor).to(self.initial.device, dtype)


def _gated_slots(group: ChannelGroup, gate: str, parameters: Container[str]) -> list[Slot]:
    """Return the slots that the gates of a group multiply; buffers are never gated."""
    slots = [slot for slot in group.slots_of(*_GATED_ROLES[gate]) if slot.name in parameters]
    slots = slots or [slot for slot in group.slots_of("consumer") if slot.name in parameters]
    # Tied weights may be both consumer and producer; they then count as producers.
    return slots or [slot for slot in group.slots if slot.name in parameters]


def _spread(gates: Tensor, slot: Slot, weight: Tensor) -> Tensor:
    """Return gates [width] as factors that broadcast against the weight of a slot, 1 for other channels."""
    factors = weight.new_ones(weight.shape[slot.dim])
    index = slot.index.to(weight.device).flatten()
    factors = factors.index_put((index,), gates.to(factors).repeat_interleave(slot.entries))
    return factors.view([-1 if dim == slot.dim else 1 for dim in range(weight.ndim)])


def _gathered(products: Mapping[str, Tensor], group: ChannelGroup, gate: str) -> Tensor:
    some = next(iter(products.values()))
    total = some.new_zeros(group.width)
    for slot in _gated_slots(group, gate, products):
        product = products[slot.name]
        others = [dim for dim in range(product.ndim) if dim != slot.dim]
        per_position = product.sum(others) if others else product
        total += per_position[slot.index.to(product.device)].sum(1)
    return total


def _root_mean_square(weights: Mapping[str, Tensor], group: ChannelGroup) -> Tensor:
    rows = []
    for slot in group.slots_of("producer", "depthwise"):
        weight = weights[slot.name]
        if weight.ndim > 1:
            rows.append(weight.movedim(slot.dim, 0)[slot.index.to(weight.device)].flatten(1))
    return torch.cat(rows, 1).square().mean(1).sqrt()


def _check_connected(gradient: Tensor) -> None:
    """Raise where torch would leave out a part of the second derivative: functions marked `once_differentiable`."""
    waiting, seen = [gradient.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name().rpartition(":")[2] == "Error":
            raise RuntimeError("a torch.autograd.Function that cannot be differentiated twice (once_differentiable)")
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]


_ONCE = re.compile(r"derivative for|double backward|differentiated? twice")
"""How torch, torchvision and functions of the user say that they have no second derivative."""


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Explain the alternatives if torch has only the first derivative of an operator, such as multi_margin_loss."""
    try:
        yield
    except RuntimeError as error:
        if not _ONCE.search(str(error)):
            raise
        raise UnsupportedModelError(
            f"expected operators with second derivatives, got {first_line(error)}: a criterion of first order, such as "
            "prospr-first-order or snip, needs none"
        ) from error


@contextmanager
def precise_arithmetic() -> Iterator[None]:
    """Disable TF32 and use deterministic cuDNN kernels: scores are differences that do not survive low precision.

    Attention is computed unfused, because fused kernels have no second derivatives.
    """
    matmul = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with (
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
            sdpa_kernel(SDPBackend.MATH),
        ):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = matmul


def _cuda_devices(tensor: Tensor) -> list[torch.device]:
    return [tensor.device] if tensor.is_cuda else []
