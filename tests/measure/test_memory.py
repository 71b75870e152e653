import platform
import time

import pytest
import torch

from slimprune.measure import PeakMemory, memory

MEGABYTE = 1_000_000


def test_the_peak_is_seen_although_it_is_over_at_the_end():
    with PeakMemory("cpu") as peak:
        block = torch.ones(50 * MEGABYTE)
        time.sleep(0.05)
        del block
    # 50e6 float32 are 200 MB
    assert 190 * MEGABYTE < peak.peak_bytes < 260 * MEGABYTE


def test_a_block_that_allocates_nothing_has_a_peak_near_zero():
    with PeakMemory() as peak:
        pass
    assert 0 <= peak.peak_bytes < 10 * MEGABYTE


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library may keep freed memory")
def test_the_second_of_two_equal_blocks_has_the_peak_of_the_first():
    peaks = []
    for _ in range(2):
        with PeakMemory() as peak:
            blocks = [torch.ones(25_000) for _ in range(1000)]  # 100 kB each: small enough for the heap, which is kept
            time.sleep(0.02)
            del blocks
        peaks.append(peak.peak_bytes)
    assert all(90 * MEGABYTE < peak < 130 * MEGABYTE for peak in peaks)


def test_an_error_passes_through_and_the_sampling_ends():
    with pytest.raises(ValueError, match="mine"), PeakMemory() as peak:
        raise ValueError("mine")
    assert not peak._sampler.is_alive()


def test_without_proc_the_high_water_mark_is_read(monkeypatch, tmp_path):
    now = memory._resident_bytes()
    monkeypatch.setattr(memory, "_STATM", tmp_path / "absent")
    assert memory._resident_bytes() >= 0.9 * now


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_the_peak_is_that_of_tensors():
    kept = torch.ones(MEGABYTE, device="cuda")
    with PeakMemory("cuda") as peak:
        torch.ones(10 * MEGABYTE, device="cuda")
    assert 44 * MEGABYTE <= peak.peak_bytes < 60 * MEGABYTE
    assert len(kept) == MEGABYTE
