"""Small detectors of torchvision with features of one size."""

import torch
from torchvision.models import detection

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
