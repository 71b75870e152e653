import math

import pytest
import torch
from torch import nn

from slimprune.errors import UnsupportedModelError
from slimprune.training.distillation import Distillation, divergence


def kl(wanted, found):
    return sum(p * math.log(p / q) for p, q in zip(wanted, found, strict=True))


def test_the_divergence_of_classes_at_a_temperature():
    """Logits 2 log(3) and 0 are 3/4 and 1/4 at temperature 2; equal ones are 1/2 and 1/2."""
    student, teacher = torch.zeros(5, 2), torch.tensor([[2 * math.log(3), 0.0]]).expand(5, 2)
    assert float(divergence(student, teacher, 2.0)) == pytest.approx(kl((3 / 4, 1 / 4), (1 / 2, 1 / 2)))


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (2, 4, 4), (2, 1)])
def test_the_divergence_of_one_logit_is_that_of_a_coin(shape):
    student, teacher = torch.zeros(shape), torch.full(shape, 2 * math.log(3))
    assert float(divergence(student, teacher, 2.0)) == pytest.approx(kl((3 / 4, 1 / 4), (1 / 2, 1 / 2)))


def test_two_logits_for_each_pixel_agree_with_their_difference():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 3, 3), torch.randn(2, 2, 3, 3)
    both = divergence(student, teacher, 3.0)
    one = divergence(student[:, 1] - student[:, 0], teacher[:, 1] - teacher[:, 0], 3.0)
    assert float(both) == pytest.approx(float(one), rel=1e-4)


def test_the_loss_is_weighted_and_only_the_student_learns():
    teacher, inputs = nn.Linear(3, 4), torch.rand(2, 3)
    output = torch.zeros(2, 4, requires_grad=True)
    whole = Distillation(teacher, 0.25, 2.0)(torch.tensor(8.0), output, inputs)
    expected = 0.75 * 8 + 0.25 * 2**2 * divergence(output, teacher(inputs), 2.0)
    assert float(whole) == pytest.approx(float(expected))
    whole.backward()
    assert output.grad is not None
    assert teacher.weight.grad is None


def test_outputs_that_do_not_fit_are_refused():
    with pytest.raises(UnsupportedModelError, match=r"teacher and student, got \[2, 3\] and \[2, 4\]"):
        divergence(torch.rand(2, 4), torch.rand(2, 3), 4.0)
    with pytest.raises(UnsupportedModelError, match="got dict"):
        divergence({"out": torch.rand(2, 4)}, torch.rand(2, 3), 4.0)
