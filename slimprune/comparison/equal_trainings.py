"""Cells that train equal networks in the same way, such as two rules that give the same widths: one of them does."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from slimprune.files import CellOutcome
from slimprune.measure import environment
from slimprune.pipeline.workload import Workload
from slimprune.training import TrainSettings

_OF_TRAINING = ("final", "best", "validation", "further", "train_loss", "training_seconds", "environment")
"""Fields of a record that follow from the training alone."""


def training_digest(module: nn.Module, settings: TrainSettings, work: Workload, data: str) -> str:
    """Return the SHA-256 of all that the result of a training depends on.

    Args:
        module: Network before the training.
        settings: Settings of the training.
        work: Workload with the device.
        data: Key of the data, the loss and the metric.
    """
    facts = {"module": str(module), "settings": asdict(settings), "data": data, "machine": environment(work.device)}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def equal_training(records: Iterable[Path], digest: str) -> CellOutcome | None:
    """Return what the training with a digest has given, if one of the records is of it.

    Args:
        records: Files of finished cells.
        digest: See `training_digest`.
    """
    for file in records:
        record: dict[str, Any] = json.loads(file.read_bytes())
        if record.get("training") == digest:
            return cast(CellOutcome, {name: record[name] for name in _OF_TRAINING if name in record})
    return None
