"""Pictures of masks: image, truth and predictions side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

Pixels = npt.NDArray[np.uint8]

RIGHT, TOO_MUCH, MISSED, NOTHING = (255, 255, 255), (213, 94, 0), (0, 114, 178), (0, 0, 0)
LEGEND = "white: right, orange: too much, blue: missed"
_RGB = 3


def draw_masks(image: Tensor, truth: Tensor, predictions: Mapping[str, Tensor], path: Path) -> None:
    """Write a PNG of image, truth and one panel per prediction, whose colours show what is right and wrong.

    Args:
        image: Image, uint8 [C, H, W]; its first three channels are shown, or only the first if there are fewer.
        truth: True mask, bool [H, W].
        predictions: Predicted masks by panel title, bool [H, W].
        path: File to write.
    """
    from matplotlib.figure import Figure

    panels = {"image": as_rgb(image), "truth": against_truth(truth, truth)}
    panels |= {name: against_truth(mask, truth) for name, mask in predictions.items()}
    height, width = truth.shape
    side = 2.8
    figure = Figure(figsize=(side * len(panels), side * min(max(height / width, 0.4), 2.5) + 0.5), layout="constrained")
    for axes, (name, pixels) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        axes.imshow(pixels, interpolation="nearest")
        axes.set_title(name, fontsize=9)
        axes.set_axis_off()
    figure.supxlabel(LEGEND, fontsize=8)
    figure.savefig(path, format="png", dpi=110, metadata={"Software": None})


def as_rgb(image: Tensor) -> Pixels:
    """Return the pixels, uint8 [H, W, 3], of an image, uint8 [C, H, W]."""
    channels = image[:_RGB] if len(image) >= _RGB else image[:1].expand(_RGB, -1, -1)
    pixels: Pixels = channels.permute(1, 2, 0).contiguous().numpy()
    return pixels


def against_truth(mask: Tensor, truth: Tensor) -> Pixels:
    """Return pixels, uint8 [H, W, 3], that show what of a mask, bool [H, W], is right, too much or missed."""
    colours = np.array([NOTHING, TOO_MUCH, MISSED, RIGHT], dtype=np.uint8)
    pixels: Pixels = colours[(mask.int() + 2 * truth.int()).numpy()]
    return pixels
