import pytest
import torch

from slimprune.timing import count_kernels

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


def test_kernels_are_counted_and_copies_are_not():
    values = torch.rand(100, device="cuda")

    def call():
        values.mul_(2)
        values.add_(1)
        values.cpu()

    call()
    assert count_kernels(call, values.device) == 2
