"""Meta-gradient through inner training: the derivative of the final loss with respect to the initial weights."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from slimprune.errors import UsageError
from slimprune.saliency.problem import Problem


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


def trajectory(problem: Problem, training: InnerTraining, gradient_at: Gradient | None = None) -> Iterator[Tensor]:
    """Yield the weights w_0 ... w_M of the inner training one after the other, each [P].

    No weights are kept after they are yielded, and batch t is requested only when w_{t+1} is, so that hundreds of steps
    need the memory of one.

    Args:
        problem: Network, batches and loss.
        training: The inner training of M steps.
        gradient_at: (weights [P], step) -> gradient [P]; by default `problem.gradient`.
    """
    gradient_at = gradient_at or problem.gradient
    weights, velocity = problem.initial, torch.zeros_like(problem.initial)
    yield weights
    for step in range(training.steps):
        gradient = problem.trainable * (gradient_at(weights, step) + training.weight_decay * weights)
        blend = 1.0 if step == 0 else 1.0 - training.dampening
        velocity = training.momentum * velocity + blend * gradient
        direction = gradient + training.momentum * velocity if training.nesterov else velocity
        weights = weights - training.lr * direction
        yield weights


def final_weights(problem: Problem, training: InnerTraining) -> Tensor:
    """Return the weights w_M [P] at the end of the inner training."""
    return deque(trajectory(problem, training), maxlen=1).pop()


def meta_gradient(problem: Problem, training: InnerTraining, *, on_host: bool = False) -> Tensor:
    """Return the exact derivative d L_M(w_M) / d w_0, [P], by the adjoint recursion.

    The inner training is traversed backwards with one Hessian-vector product per step. Only the weights of all steps
    and the activations of one step are in memory; those of the last step are kept from the forward traversal.

    Args:
        problem: Network, batches 0 ... M and loss.
        training: The inner training of M steps.
        on_host: Whether to keep the weights of the steps in host memory.

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

    visited = [weights.cpu() if on_host else weights for weights in trajectory(problem, training, gradient_at)]
    final = visited.pop().to(problem.initial.device)
    weights_bar = problem.gradient(final, training.steps)
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
        weights = visited.pop().to(final.device)
        curved = last_product.pop()(direction) if last_product else problem.hessian_product(weights, step, direction)
        weights_bar = weights_bar + decay * direction + curved
        velocity_bar = momentum * velocity_bar
    return weights_bar
