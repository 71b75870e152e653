"""One pass over test batches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from slimprune.errors import DataError, UnsupportedModelError
from slimprune.training.batches import Batches, on_device
from slimprune.training.metrics import Metric
from slimprune.training.replicas import sum_over_replicas, unwrap

Forward = Callable[[Tensor], Tensor]


def evaluate(
    model: nn.Module, batches: Batches, metric: Metric, *, device: str | torch.device, amp: bool = False
) -> float:
    """The metric over all batches, with the model in eval mode and without gradients.

    Args:
        model: Moved to the device if it is elsewhere; every submodule's mode is put back afterwards.
        batches: (inputs [N, ...], targets), at least one batch.
        metric: What is counted.
        device: Where it runs.
        amp: Forward passes under autocast in bfloat16.

    Returns:
        The metric's value, in [0, 1].

    Raises:
        DataError: If there is no batch.
        UnsupportedModelError: If the model does not return one tensor that the metric can read.
    """
    device = torch.device(device)
    return tested(model.to(device), eager_forward(model, amp), batches, metric, device)


def eager_forward(model: nn.Module, amp: bool) -> Forward:
    """The model's own forward pass, with `amp` under autocast in bfloat16; no wrapper's.

    Raises:
        UnsupportedModelError: When called, if the model does not return one tensor.
    """

    def forward(inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=amp):
            return as_tensor(unwrap(model)(inputs))

    return forward


def tested(model: nn.Module, forward: Forward, batches: Batches, metric: Metric, device: torch.device) -> float:
    """The metric over all batches, as `evaluate`, of a model on the device by a forward pass of choice.

    Raises:
        DataError: If there is no batch.
        UnsupportedModelError: If the metric cannot read the output.
    """
    totals: tuple[Tensor, Tensor] | None = None
    # Not inference_mode: a tensor that a model caches there could not be trained with afterwards.
    with _eval_mode(model), torch.no_grad():
        for inputs, targets in on_device(batches, device):
            counts = metric(forward(inputs), targets)
            totals = counts if totals is None else (totals[0] + counts[0], totals[1] + counts[1])
    if totals is None:
        raise DataError("expected at least one test batch, got none")
    return metric.value(sum_over_replicas(model, totals[0]), sum_over_replicas(model, totals[1]))


def as_tensor(output: object) -> Tensor:
    """The model's output if it is one tensor.

    Raises:
        UnsupportedModelError: If it is anything else.
    """
    if not isinstance(output, Tensor):
        raise UnsupportedModelError(f"expected the model to return one tensor, got {type(output).__name__}")
    return output


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
