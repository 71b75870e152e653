from concurrent.futures import ThreadPoolExecutor

import torch

from slimprune.export.full_precision import without_autocast


def product():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return torch.ones(2, 2) @ torch.ones(2, 2)


@torch.autocast("cpu", dtype=torch.bfloat16)
def decorated():
    return torch.ones(2, 2) @ torch.ones(2, 2)


def test_regions_of_autocast_do_nothing_in_the_context():
    with without_autocast():
        assert (product().dtype, decorated().dtype) == (torch.float32, torch.float32)
    assert (product().dtype, decorated().dtype) == (torch.bfloat16, torch.bfloat16)


def test_other_threads_keep_it():
    with ThreadPoolExecutor(1) as threads, without_autocast():
        assert threads.submit(product).result().dtype == torch.bfloat16
        assert product().dtype == torch.float32
