"""Networks of ultralytics as modules of one input."""

import importlib
import types

import pytest
import torch

from slimprune.errors import UnsupportedModelError
from slimprune.graph import find_groups, free_groups
from slimprune.models import is_detector, with_one_input
from tests.detectors import tiny_yolo

IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
BOXES = torch.tensor([[[0.0, 4, 4, 40, 40], [1, 10, 30, 90, 60]], [[1, 0, 0, 32, 64], [-1, 0, 0, 0, 0]]])
ANCHORS = 64 * 96 // 8**2 + 64 * 96 // 16**2


@pytest.fixture(params=["plain", "two heads", "v10"])
def network(request):
    plain = request.param == "plain"
    return tiny_yolo(2, "v10Detect" if request.param == "v10" else "Detect", end2end=not plain)


def test_boxes_and_scores_are_the_library_s(network):
    with torch.no_grad():
        found = with_one_input(network.eval(), 64, 96)(IMAGES)
        own = network(IMAGES)[0]
    assert found.shape == (2, ANCHORS, 4 + 2)
    if not network.model[-1].end2end:
        x, y, width, height, *scores = own.unbind(1)
        corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        inside = [corner.clamp(0, side) for corner, side in zip(corners, (96, 64, 96, 64), strict=True)]
        torch.testing.assert_close(found, torch.stack([*inside, *scores], dim=2), atol=1e-4, rtol=0)
        return
    for rows, best in zip(found, own, strict=True):  # the library keeps the best: x1, y1, x2, y2, score, class
        every = torch.cat([torch.cat([rows[:, :4], rows[:, 4 + c, None]], 1) for c in range(2)])
        expected = torch.cat([best[:, 0:4:2].clamp(0, 96), best[:, 1:4:2].clamp(0, 64)], 1)[:, [0, 2, 1, 3]]
        differences = torch.cat([expected, best[:, 4:5]], 1)[:, None] - every
        assert differences.abs().amax(2).amin(1).max() < 1e-3


def test_losses_are_the_library_s_for_each_image_and_leave_no_trace_on_the_network(network):
    network.args = {"box": 7.5, "cls": 2.0, "dfl": 1.5, "epochs": 1}
    called = with_one_input(network, 64, 96).train()
    before = set(vars(network))
    losses = called((IMAGES, BOXES))
    assert set(vars(network)) == before
    targets = {
        "batch_idx": torch.tensor([0.0, 0, 1]),
        "cls": torch.tensor([[0.0], [1], [1]]),
        "bboxes": torch.tensor(
            [
                [22 / 96, 22 / 64, 36 / 96, 36 / 64],  # centre and size of 4, 4, 40, 40
                [50 / 96, 45 / 64, 80 / 96, 30 / 64],
                [16 / 96, 32 / 64, 32 / 96, 64 / 64],
            ]
        ),
    }
    network.args = types.SimpleNamespace(**network.args)
    expected, _ = network({"img": IMAGES, **targets})
    torch.testing.assert_close(losses, expected / 2)
    assert losses.sum().requires_grad


def test_no_boxes_in_a_batch_give_a_loss(network):
    assert with_one_input(network, 64, 96).train()((IMAGES, torch.full((2, 1, 5), -1.0))).isfinite().all()


def test_the_found_boxes_are_those_that_the_library_keeps():
    network = tiny_yolo(2).eval()
    with torch.no_grad():
        network.model[-1].cv3[0][-1].bias.add_(3)  # so that scores are well above the least one
        found = with_one_input(network, 64, 96)((IMAGES, BOXES))
        kept = importlib.import_module("ultralytics.utils.nms").non_max_suppression(
            network(IMAGES)[0], conf_thres=0.001, iou_thres=0.7, multi_label=True, max_det=300
        )
    for ours, theirs in zip(found, kept, strict=True):
        assert 0 < len(theirs) == len(ours["scores"])
        torch.testing.assert_close(ours["scores"], theirs[:, 4], atol=1e-5, rtol=0)


def test_channels_of_the_backbone_and_of_both_heads_can_be_removed():
    groups = find_groups(with_one_input(tiny_yolo(2, end2end=True), 64, 96), IMAGES)
    free = {layer for group in free_groups(groups) for layer in group.layers}
    assert {"model.0.conv", "model.3.m.0.cv1.conv", "model.8.cv3.0.0.1.conv", "model.8.one2one_cv2.1.0.conv"} <= free
    whole = {layer for group in groups if group not in free_groups(groups) for layer in group.layers}
    assert {layer.split(".")[2] for layer in whole} == {"cv2", "cv3", "one2one_cv2", "one2one_cv3", "dfl"}


@pytest.mark.parametrize(
    ("height", "width", "fuse", "told"),
    [
        (64, 72, False, "a multiple of 16 pixels a side for this YOLO, got 64x72"),
        (64, 96, True, r"got one after fuse\(\)"),
    ],
)
def test_what_cannot_be_called_or_trained_is_refused(height, width, fuse, told):
    network = tiny_yolo(2)
    if fuse:
        network.fuse(verbose=False)
    with pytest.raises(UnsupportedModelError, match=told):
        with_one_input(network, height, width)


def test_networks_for_other_than_boxes_are_no_detectors():
    tiny_yolo(2)
    tasks = importlib.import_module("ultralytics.nn.tasks")
    assert not is_detector(tasks.SegmentationModel("yolo11n-seg.yaml", verbose=False))
