"""Torchvision's detectors as modules of one input."""

import pytest
import torch
from torchvision.models import detection

from slimprune.errors import UnsupportedModelError
from slimprune.graph import find_groups, free_groups
from slimprune.models import InputSpec, architectures, build, is_detector, with_one_input
from slimprune.models.torchvision_detection import FAMILY
from tests.detectors import OneMap, two_stages

SIZE = {"min_size": 64, "max_size": 64}
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
BOXES = torch.tensor([[[0.0, 4, 4, 40, 40], [1, 10, 30, 60, 60]], [[1, 0, 0, 32, 64], [-1, 0, 0, 0, 0]]])


def small(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if name == "ssd":
        return build("ssd_tiny", InputSpec(3, 64, 64, 2))
    if name == "faster":
        return two_stages(2, 64)
    anchors = detection.anchor_utils.AnchorGenerator(((16,) if name == "fcos" else (16, 32),), ((1.0,),))
    if name == "fcos":
        return detection.FCOS(OneMap(), 3, anchor_generator=anchors, score_thresh=0.0, **SIZE)
    return detection.RetinaNet(OneMap(), 3, anchor_generator=anchors, score_thresh=0.0, **SIZE)


@pytest.mark.parametrize("name", ["ssd", "fcos", "retinanet"])
def test_boxes_and_scores_are_those_of_which_torchvision_keeps_the_best(name):
    model = small(name).eval()
    with torch.no_grad():
        found, own = with_one_input(model, 64, 64)(IMAGES), model([*IMAGES])
    assert found.shape[2] == 4 + 2
    for rows, kept in zip(found, own, strict=True):
        assert len(kept["boxes"])
        for box, score, label in zip(*(kept[key][:20] for key in ("boxes", "scores", "labels")), strict=True):
            if label > 0:  # of FCOS and RetinaNet also the class 0, which no image has
                near = (rows[:, :4] - box).abs().amax(1) + (rows[:, 3 + label] - score).abs()
                assert near.min() < 1e-4


@pytest.mark.parametrize("name", ["ssd", "fcos", "retinanet", "faster"])
def test_losses_are_torchvisions_and_labels_are_counted_from_0(name):
    model = small(name)
    called = with_one_input(model, 64, 64)
    targets = [
        {"boxes": rows[:count, 1:], "labels": rows[:count, 0].long() + 1}
        for rows, count in zip(BOXES, (2, 1), strict=True)
    ]
    torch.manual_seed(1)
    expected = model.train()([*IMAGES], targets)
    torch.manual_seed(1)
    assert torch.equal(called((IMAGES, BOXES)), torch.stack([*expected.values()]))
    called.eval()
    assert not model.training
    with torch.no_grad():
        for ours, theirs in zip(called((IMAGES, BOXES)), model([*IMAGES]), strict=True):
            assert torch.equal(ours["labels"] + 1, theirs["labels"])
            assert torch.equal(ours["boxes"], theirs["boxes"])


def test_channels_of_both_stages_can_be_removed():
    groups = find_groups(with_one_input(small("faster"), 64, 64), IMAGES)
    free = {layer for group in free_groups(groups) for layer in group.layers}
    assert {"backbone.stages.0.0", "rpn.head.conv.0.0", "roi_heads.box_head.fc6", "roi_heads.box_head.fc7"} <= free
    whole = {group.protected_reason for group in groups if group not in free_groups(groups)}
    assert whole == {"model output"}


def test_a_detector_that_resizes_is_refused_with_the_sizes_that_fit():
    with pytest.raises(UnsupportedModelError, match=r"images of 64x96 .*min_size=64, max_size=96.* them to 42x64"):
        with_one_input(small("fcos"), 64, 96)


def test_names_are_listed_and_build_torchvisions_classes():
    assert {one.name for one in FAMILY.architectures} <= {
        one.name for one in architectures() if one.task == "detection"
    }
    model = build("ssdlite320_mobilenet_v3_large", InputSpec(3, 128, 96, 2))
    assert isinstance(model, detection.ssd.SSD)
    assert is_detector(model)
    with torch.no_grad():
        assert with_one_input(model, 128, 96).eval()(torch.rand(1, 3, 128, 96)).shape[2] == 4 + 2
    with pytest.raises(UnsupportedModelError, match="three channels for fcos_resnet50_fpn, got 1"):
        build("fcos_resnet50_fpn", InputSpec(1, 64, 64, 2))
