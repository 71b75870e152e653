import torch

from slimprune.graph.in_double import InDouble


def test_conversions_of_doubles_to_other_floats_change_nothing():
    third = torch.tensor([1.0], dtype=torch.float64) / 3
    with InDouble():
        assert torch.equal(third.float(), third)
        assert torch.equal(third.to(torch.bfloat16), third)
        assert third.long().dtype == torch.int64
        assert torch.ones(1).half().dtype == torch.float16
