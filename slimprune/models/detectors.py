"""Detectors as modules with one input: images alone, or images with the boxes that are in them."""

from types import ModuleType

from torch import nn

from slimprune.forward import ForwardAdapter
from slimprune.models import torchvision_detectors, ultralytics_detectors

LIBRARIES: tuple[ModuleType, ...] = (torchvision_detectors, ultralytics_detectors)
"""Modules that know the detectors of one library: `is_detector`, `check`, `class_branches` and `detect`."""


def is_detector(model: nn.Module) -> bool:
    """Return whether a model is a detector of a library that is known here."""
    return bool(_libraries(model))


def with_one_input(model: nn.Module, height: int, width: int) -> nn.Module:
    """Return a detector as a module of one input; its layers keep their names.

    It takes images [N, 3, H, W] with pixels in 0..1. In eval mode it returns [N, A, 4 + K] for A anchors: boxes x1, y1,
    x2, y2 in pixels, and the scores of K classes in 0..1, before any non-maximum suppression. In training mode it
    returns what its heads give, before any of that is computed. A detector of two stages does so in both modes.

    It also takes a pair of images and boxes [N, M, 5], each a class from 0 or -1 for none, and x1, y1, x2, y2 in
    pixels. In training mode it then returns the losses that the detector computes itself, [L], and in eval mode what
    it detects: a list of mappings with `boxes` [D, 4], `scores` [D] and `labels` [D] for the images, the labels
    counted from 0.

    Args:
        model: A detector, see `is_detector`.
        height: Height of the images in pixels.
        width: Width of the images in pixels.

    Raises:
        UnsupportedModelError: If it needs more than boxes, or cannot take such images as they are.
    """
    (library,) = _libraries(model)
    library.check(model, height, width)
    return ForwardAdapter(model, library.detect)


def class_branches(model: nn.Module) -> tuple[str, ...]:
    """Return the beginnings of the names of layers whose widths, not only outputs, depend on the number of classes."""
    found: tuple[str, ...] = tuple(name for library in _libraries(model) for name in library.class_branches(model))
    return found


def _libraries(model: nn.Module) -> list[ModuleType]:
    """Return the library of a detector; none for another model."""
    return [library for library in LIBRARIES if library.is_detector(model)]
