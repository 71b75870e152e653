"""The task of batches whose targets leave no doubt."""

from typing import Any

import torch
from torch import Tensor


def guessed_task(targets: Any) -> str:
    """Return the task of targets: class numbers of pixels, if they are integers [N, H, W]; otherwise classification.

    Numbers with a decimal point may be values, labels that occur together or masks, so that these tasks are always
    named.

    >>> guessed_task(torch.zeros(2, 8, 8, dtype=torch.long)), guessed_task(torch.zeros(2, dtype=torch.long))
    ('semantic-segmentation', 'classification')
    """
    if not isinstance(targets, Tensor) or targets.is_floating_point() or targets.dtype == torch.bool:
        return "classification"
    maps = targets.ndim == 3 or (targets.ndim == 4 and targets.shape[1] == 1)
    return "semantic-segmentation" if maps else "classification"
