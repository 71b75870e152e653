"""Slim networks of ultralytics under that library's own interface."""

from pathlib import Path
from typing import Any

from torch import nn

from slimprune.models import as_yolo
from slimprune.surgery.bundle import read, restore


def load_yolo(folder: str | Path, *, model: nn.Module | None = None, trust_code: bool = False) -> Any:
    """Return the slim network of a bundle as a `YOLO` of ultralytics, which predicts, validates, exports and trains.

    Args:
        folder: The bundle.
        model: The dense network, for bundles of networks that were passed as objects; it is not modified.
        trust_code: Whether the bundle may name the code that builds its dense network.

    Raises:
        UsageError: As `load`.
        VerificationError: As `load`.
        UnsupportedModelError: If the network is no detector of ultralytics.
    """
    bundle = read(Path(folder))
    slim = restore(bundle, model=model, trust_code=trust_code)
    return as_yolo(slim, () if bundle.preprocessing is None else bundle.preprocessing.class_names)
