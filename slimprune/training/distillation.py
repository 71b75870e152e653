"""Distillation: training towards the outputs of a teacher network."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slimprune.errors import UnsupportedModelError


@dataclass(frozen=True, eq=False)
class Distillation:
    """The loss of Hinton, Vinyals and Dean (Distilling the knowledge in a neural network, 2015).

    (1 - weight) * loss + weight * T^2 * KL(teacher || student), with both distributions at temperature T.

    Attributes:
        teacher: Network in eval mode whose outputs are imitated; called with the same inputs as the student.
        weight: Weight of the imitation, in (0, 1].
        temperature: Temperature T, above 0.
    """

    teacher: nn.Module
    weight: float
    temperature: float

    def __call__(self, loss: Tensor, output: Any, inputs: Any) -> Tensor:
        """Return the loss of a batch with the imitation of the teacher.

        Args:
            loss: Loss of the output with the targets, a scalar.
            output: Logits of the student; see `divergence`.
            inputs: Inputs of both networks.

        Raises:
            UnsupportedModelError: If an output is not a tensor, or the shapes of the two differ.
        """
        with torch.no_grad():
            wanted = self.teacher(inputs)
        imitation = divergence(output, wanted, self.temperature)
        return (1 - self.weight) * loss + self.weight * self.temperature**2 * imitation


def divergence(output: Any, wanted: Any, temperature: float) -> Tensor:
    """Return the mean Kullback-Leibler divergence KL(wanted || output) of the samples, or of the pixels of all samples.

    Args:
        output: Logits [N, K] of classes, [N, K, H, W] of the classes of pixels, or [N, 1], [N, 1, H, W] or [N, H, W] of
            one foreground, whose distributions are Bernoulli distributions.
        wanted: Logits of the same shape.
        temperature: Temperature by which logits are divided.

    Raises:
        UnsupportedModelError: If an output is not a tensor, or the shapes differ.
    """
    for logits in (output, wanted):
        if not isinstance(logits, Tensor):
            raise UnsupportedModelError(f"expected outputs of one tensor to distil, got {type(logits).__name__}")
    if output.shape != wanted.shape:
        shapes = f"{list(wanted.shape)} and {list(output.shape)}"
        raise UnsupportedModelError(f"expected outputs of one shape from teacher and student, got {shapes}")
    student, teacher = output.float() / temperature, wanted.float() / temperature
    if output.ndim == 3 or output.shape[1] == 1:
        shares = teacher.sigmoid()
        cross, own = (F.binary_cross_entropy_with_logits(logits, shares) for logits in (student, teacher))
        return cross - own
    shares = teacher.log_softmax(dim=1)
    return F.kl_div(student.log_softmax(dim=1), shares, reduction="none", log_target=True).sum(dim=1).mean()
