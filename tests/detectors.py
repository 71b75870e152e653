"""Small detectors: of torchvision with features of one size, of ultralytics with features of two."""

import importlib

import pytest
import torch
from torchvision.models import detection

from slimprune.models import InputSpec, build
from slimprune.models.torchvision_detection import TinyBackbone


class OneMap(TinyBackbone):
    """The features of a thirty-second of the size, under torchvision's name of a single map."""

    def __init__(self):
        super().__init__()
        self.out_channels = 128

    def forward(self, images):
        return {"0": super().forward(images)["4"]}


def two_stages(classes: int, size: int) -> detection.FasterRCNN:
    """A Faster R-CNN for images of this side, with that many classes and the background."""
    torch.manual_seed(0)
    anchors = detection.anchor_utils.AnchorGenerator(((16, 32),), ((1.0,),))
    pool = detection.faster_rcnn.MultiScaleRoIAlign(["0"], 3, 2)
    sizes = {"min_size": size, "max_size": size}
    return detection.FasterRCNN(OneMap(), classes + 1, rpn_anchor_generator=anchors, box_roi_pool=pool, **sizes)


def tiny_yolo(classes: int, head: str = "Detect", *, end2end: bool = False) -> torch.nn.Module:
    """A YOLO of four stages, with features of an eighth and a sixteenth of the size.

    `end2end`: with a second head, which finds each box once, as in YOLO26.
    """
    pytest.importorskip("ultralytics", reason="needs the extra ultralytics")
    build("yolo:yolov8n", InputSpec(3, 32, 32, classes))  # imports the library as the program does
    described = {
        "nc": classes,
        "reg_max": 4,
        "end2end": end2end,
        "backbone": [
            [-1, 1, "Conv", [16, 3, 2]],
            [-1, 1, "Conv", [32, 3, 2]],
            [-1, 1, "Conv", [32, 3, 2]],
            [-1, 1, "C2f", [32, True]],
            [-1, 1, "Conv", [48, 3, 2]],
        ],
        "head": [
            [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
            [[-1, 3], 1, "Concat", [1]],
            [-1, 1, "C3k2", [32, False, 0.25]],
            [[7, 4], 1, head, ["nc"]],
        ],
    }
    torch.manual_seed(0)
    model = importlib.import_module("ultralytics.nn.tasks").DetectionModel(described, verbose=False)
    model.model[-1].end2end = end2end or head == "v10Detect"
    return model
