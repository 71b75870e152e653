"""Number of kernels that a call launches on a CUDA device."""

import torch
from torch.profiler import ProfilerActivity, profile

from slimprune.timing.sampling import Call

_TRANSFERS = ("Memcpy", "Memset")


def count_kernels(call: Call, device: torch.device) -> int:
    """Count the kernels that one call runs on the device, replayed graphs included, copies and fills excluded."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        call()
        torch.cuda.synchronize(device)
    return sum(
        event.device_type.name == "CUDA"
        and not event.name.startswith(_TRANSFERS)
        and not getattr(event, "is_user_annotation", False)
        for event in found.events() or ()
    )
