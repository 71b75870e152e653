"""Torchvision's detectors under torchvision's names, and a small one for experiments on a CPU."""

import importlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from slimprune.errors import UnsupportedModelError
from slimprune.models.architecture import DETECTION, Architecture, Family, InputSpec, refuse_options
from slimprune.models.torchvision_zoo import zoo_model

BACKGROUND = 1
"""Classes that a detector has beside those of the data: class 0."""

TINY = "ssd_tiny"

WIDTHS = (16, 32, 64, 96, 128)
"""Channels of the stages of the small detector, each of which halves height and width."""

MAPS = 3
"""Number of last stages whose features are looked at for boxes."""

SCALES = (0.15, 0.35, 0.6, 0.9)
"""Sides of the anchors of each feature map of the small detector in shares of the image, and a last one."""


def _resizing(name: str, inputs: InputSpec) -> nn.Module:
    """Build a detector whose transform leaves images of this size as they are."""
    sides = {"min_size": min(inputs.height, inputs.width), "max_size": max(inputs.height, inputs.width)}
    return zoo_model(name, weights_backbone=None, num_classes=inputs.classes + BACKGROUND, **sides)


def _fixed(name: str, inputs: InputSpec) -> nn.Module:
    model: Any = zoo_model(name, weights_backbone=None, num_classes=inputs.classes + BACKGROUND)
    model.transform.fixed_size = (inputs.width, inputs.height)
    built: nn.Module = model
    return built


class TinyBackbone(nn.Module):
    """Five stages of two convolutions with batch norm; the last three of them are feature maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        width = 3
        for wider in WIDTHS:
            self.stages.append(nn.Sequential(*_block(width, wider, stride=2), *_block(wider, wider, stride=1)))
            width = wider
        self.out_channels = list(WIDTHS[-MAPS:])

    def forward(self, images: Tensor) -> Mapping[str, Tensor]:
        """Compute features of an eighth, a sixteenth and a thirty-second of the height and width of the images."""
        found: OrderedDict[str, Tensor] = OrderedDict()
        features = images
        for number, stage in enumerate(self.stages):
            features = stage(features)
            if number >= len(WIDTHS) - MAPS:
                found[str(number)] = features
        return found


def _block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def _tiny(name: str, inputs: InputSpec) -> nn.Module:
    detection: Any = importlib.import_module("torchvision.models.detection")
    anchors = detection.anchor_utils.DefaultBoxGenerator([[2]] * MAPS, scales=list(SCALES))
    model: nn.Module = detection.ssd.SSD(
        TinyBackbone(), anchors, (inputs.width, inputs.height), inputs.classes + BACKGROUND
    )
    return model


BUILDERS: Mapping[str, tuple[Callable[[str, InputSpec], nn.Module], str]] = {
    TINY: (_tiny, "torchvision's SSD on ten convolutions, for experiments"),
    "ssdlite320_mobilenet_v3_large": (_fixed, "torchvision, one stage"),
    "retinanet_resnet50_fpn": (_resizing, "torchvision, one stage"),
    "fcos_resnet50_fpn": (_resizing, "torchvision, one stage without anchors"),
    "fasterrcnn_resnet50_fpn": (_resizing, "torchvision, two stages"),
}
"""Function that builds a detector, and its description, by name."""


def build(name: str, options: str, inputs: InputSpec) -> nn.Module:
    """Build a detector with random weights, for images of this size and classes from 1; class 0 is the background.

    Raises:
        UsageError: If options are given.
        UnsupportedModelError: If the images do not have three channels.
    """
    refuse_options(name, options)
    if inputs.channels != 3:
        raise UnsupportedModelError(f"expected images of three channels for {name}, got {inputs.channels}")
    return BUILDERS[name][0](name, inputs)


FAMILY = Family(tuple(Architecture(name, DETECTION, description) for name, (_, description) in BUILDERS.items()), build)
