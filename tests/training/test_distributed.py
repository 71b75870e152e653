import torch
from torch import nn

from slimprune.training.distributed import rank, sum_over_replicas, unwrap


def test_one_process_is_rank_0_and_needs_no_sums():
    model, counts = nn.Linear(2, 2), torch.tensor([3, 4])
    assert rank() == 0
    assert unwrap(model) is model
    assert sum_over_replicas(model, counts) is counts
