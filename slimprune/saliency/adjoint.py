"""Meta-gradient through inner training: the derivative of the final loss with respect to the initial weights."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from slimprune.errors import UsageError
from slimprune.saliency.problem import Problem
from slimprune.saliency.reversal import in_reverse


@dataclass(frozen=True)
class InnerTraining:
    """The first training steps, in the convention of `torch.optim.SGD`.

    With gradient g_t = grad L_t(w_t) + weight_decay * w_t:
    v_{t+1} = momentum * v_t + (1 - dampening) * g_t (v_1 = g_0), w_{t+1} = w_t - lr * v_{t+1}, and with `nesterov`
    w_{t+1} = w_t - lr * (g_t + momentum * v_{t+1}).
    """

    steps: int = 3
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    dampening: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise UsageError(f"expected steps >= 0, got {self.steps}")
        if not self.lr > 0:
            raise UsageError(f"expected inner_lr > 0, got {self.lr}")
        if not 0 <= self.momentum < 1:
            raise UsageError(f"expected inner_momentum in [0, 1), got {self.momentum}")


Gradient = Callable[[Tensor, int], Tensor]


class State(NamedTuple):
    """What an inner step depends on, besides its batch.

    Attributes:
        weights: [P].
        velocity: [P]; None where it is zero or there is no momentum.
    """

    weights: Tensor
    velocity: Tensor | None

    def to(self, device: torch.device) -> "State":
        """Return the state on a device."""
        return State(self.weights.to(device), None if self.velocity is None else self.velocity.to(device))


def after_step(problem: Problem, training: InnerTraining, gradient_at: Gradient, state: State, step: int) -> State:
    """Return the state after one step of the inner training."""
    weights, velocity = state
    gradient = problem.trainable * (gradient_at(weights, step) + training.weight_decay * weights)
    blend = 1.0 if step == 0 else 1.0 - training.dampening
    before = 0.0 if velocity is None else training.momentum * velocity
    velocity = before + blend * gradient
    direction = gradient + training.momentum * velocity if training.nesterov else velocity
    return State(weights - training.lr * direction, velocity if training.momentum else None)


def trajectory(problem: Problem, training: InnerTraining) -> Iterator[Tensor]:
    """Yield the weights w_0 ... w_M of the inner training one after the other, each [P].

    No weights are kept after they are yielded, and batch t is requested only when w_{t+1} is, so that hundreds of steps
    need the memory of one.

    Args:
        problem: Network, batches and loss.
        training: The inner training of M steps.
    """
    state = State(problem.initial, None)
    yield state.weights
    for step in range(training.steps):
        state = after_step(problem, training, problem.gradient, state, step)
        yield state.weights


def final_weights(problem: Problem, training: InnerTraining) -> Tensor:
    """Return the weights w_M [P] at the end of the inner training."""
    return deque(trajectory(problem, training), maxlen=1).pop()


def meta_gradient(
    problem: Problem, training: InnerTraining, *, on_host: bool = False, steps_stored: int | None = None
) -> Tensor:
    """Return the exact derivative d L_M(w_M) / d w_0, [P], by the adjoint recursion.

    The inner training is traversed backwards with one Hessian-vector product per step. Only the weights of all steps
    and the activations of one step are in memory; those of the last step are kept from the forward traversal.

    With `steps_stored` there are fewer weights in memory, and the steps between are computed again from stored ones, in
    the same way: where equal operations give equal bits, as on the CPU, so do all values of `steps_stored`.

    Args:
        problem: Network, batches 0 ... M and loss.
        training: The inner training of M steps.
        on_host: Whether to keep the weights of the steps in host memory.
        steps_stored: Most vectors [P] that are stored at once, at least 1; M, which is the default, stores all steps. A
            step that others are computed from takes one for its weights and, with momentum, one for its velocity.

    Raises:
        UsageError: If `steps_stored` is below 1.

    Source: reverse accumulation through the optimizer's update; the quantity is that of Alizadeh et al., Prospect
    Pruning (ICLR 2022), equation 3, where it is found by unrolling the graph.
    """
    last_product: list[Callable[[Tensor], Tensor]] = []

    def gradient_at(weights: Tensor, step: int) -> Tensor:
        if step < training.steps - 1:
            return problem.gradient(weights, step)
        gradient, product = problem.curvature(weights, step)
        last_product.append(product)
        return gradient

    visited = _backwards(problem, training, gradient_at, on_host, steps_stored)
    device = problem.initial.device
    weights_bar = problem.gradient(next(visited).to(device), training.steps)
    velocity_bar = torch.zeros_like(weights_bar)
    lr, momentum, decay = training.lr, training.momentum, training.weight_decay
    for step in reversed(range(training.steps)):
        blend = 1.0 if step == 0 else 1.0 - training.dampening
        if training.nesterov:
            velocity_bar = velocity_bar - lr * momentum * weights_bar
            direction = blend * velocity_bar - lr * weights_bar
        else:
            velocity_bar = velocity_bar - lr * weights_bar
            direction = blend * velocity_bar
        direction = problem.trainable * direction
        if last_product:
            curved = last_product.pop()(direction)
            next(visited)  # the weights at which that product was taken
        else:
            curved = problem.hessian_product(next(visited).to(device), step, direction)
        weights_bar = weights_bar + decay * direction + curved
        velocity_bar = momentum * velocity_bar
        del direction, curved  # lest they stay in memory while steps are computed again
    return weights_bar


def _backwards(
    problem: Problem, training: InnerTraining, gradient_at: Gradient, on_host: bool, steps_stored: int | None
) -> Iterator[Tensor]:
    """Return the weights w_M ... w_0 of the inner training, each [P], where they are stored."""
    if steps_stored is not None and steps_stored < 1:
        raise UsageError(f"expected steps_stored >= 1, got {steps_stored}")
    device = problem.initial.device
    place = torch.device("cpu") if on_host else device
    step_on = partial(after_step, problem, training, gradient_at)
    return in_reverse(
        State(problem.initial, None),
        training.steps,
        lambda state, step: step_on(state.to(device), step),
        value=lambda state: state.weights.to(place),
        kept=lambda state: state.to(place),
        room=max(1, training.steps) if steps_stored is None else steps_stored,
        size=2 if training.momentum else 1,
    )
