"""Two processes compute what one does: training, scores, plans."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from slimprune.ranks.group import ALONE
from tests.ranks import work

PARTS = [
    "plain",
    "norm",
    "ema",
    "torchmetrics",
    "prospr",
    "grasp",
    "random",
    "prospr split",
    "prospr stored split",
    "grasp split",
    "taylor split",
]

pytestmark = pytest.mark.xdist_group("ranks")


@pytest.fixture(scope="module")
def alone() -> dict[str, Tensor]:
    return work.everything(ALONE)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    folder = tmp_path_factory.mktemp("ranks")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run = subprocess.run([*launch, "-m", "tests.ranks.work", str(folder)], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return [load_file(folder / f"{rank}.safetensors") for rank in range(2)]


def part_of(found: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in found.items() if name.startswith(f"{part}/")}


@pytest.mark.parametrize("part", PARTS)
def test_two_ranks_equal_one_with_the_whole_batch(
    part: str, alone: dict[str, Tensor], together: list[dict[str, Tensor]]
) -> None:
    expected = part_of(alone, part)
    for found in together:
        assert part_of(found, part).keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-9, atol=1e-10, msg=name)


@pytest.mark.parametrize("part", ["prospr", "grasp", "random"])
def test_draws_that_ranks_share_out_are_equal_to_the_last_bit(
    part: str, alone: dict[str, Tensor], together: list[dict[str, Tensor]]
) -> None:
    for name, tensor in part_of(alone, part).items():
        assert all(torch.equal(found[name], tensor) for found in together)


def test_a_signal_to_one_rank_stops_all_at_the_same_step(together: list[dict[str, Tensor]]) -> None:
    """Dropout and running statistics, which each rank has for itself, go on where they were."""
    for found in together:
        whole = part_of(found, "whole")
        assert whole
        assert all(torch.equal(found[f"resumed{name.removeprefix('whole')}"], whole[name]) for name in whole)


def test_ranks_end_with_the_same_bits(together: list[dict[str, Tensor]]) -> None:
    first, second = together
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
