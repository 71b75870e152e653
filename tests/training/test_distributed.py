from torch import nn

from slimprune.training.distributed import rank, unwrap


def test_one_process_is_rank_0():
    model = nn.Linear(2, 2)
    assert rank() == 0
    assert unwrap(model) is model
