"""How torchvision's detectors are called with images alone, or with images and the boxes that are in them."""

import sys
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slimprune.errors import UnsupportedModelError

PROPOSALS = (
    (0.0, 0.0, 1.0, 1.0),
    (0.0, 0.0, 0.5, 0.5),
    (0.5, 0.0, 1.0, 0.5),
    (0.0, 0.5, 0.5, 1.0),
    (0.5, 0.5, 1.0, 1.0),
)
"""Boxes, in shares of an image, on which the second stage of a detector runs if images are all that it is given."""

_DETECTION = "torchvision.models.detection"


def is_detector(model: nn.Module) -> bool:
    """Return whether a model is one of torchvision's detectors, whose forward takes a list of images and boxes."""
    return isinstance(
        model, _classes("ssd.SSD", "retinanet.RetinaNet", "fcos.FCOS", "generalized_rcnn.GeneralizedRCNN")
    )


def two_stages(model: nn.Module) -> bool:
    """Return whether a detector looks again at the boxes that it proposes, so that its work depends on the image."""
    return isinstance(model, _classes("generalized_rcnn.GeneralizedRCNN"))


def check(model: nn.Module, height: int, width: int) -> None:
    """Check that a detector finds boxes alone, in images of this size in pixels as they are.

    Raises:
        UnsupportedModelError: If it needs masks or keypoints, or would resize such images.
    """
    if two_stages(model):
        heads = cast(Any, model).roi_heads
        if heads.has_mask() or heads.has_keypoint():
            raise UnsupportedModelError(f"expected a detector of boxes, got {type(model).__name__}")
    _check_size(model, height, width)


def class_branches(model: nn.Module) -> tuple[str, ...]:
    """Return no beginnings of names: the number of classes decides the width of the last layers only."""
    return ()


def detect(model: Any, batch: Any) -> Any:
    """Call a detector as `with_one_input` describes it.

    In training mode, images alone give what the head gives, and one of two stages gives what both of its heads give,
    the second one for `PROPOSALS`, as [N, numbers]; so it does in eval mode, too.
    """
    if isinstance(batch, Tensor):
        return _both_stages(model, batch) if two_stages(model) else _every_anchor(model, batch)
    images, boxes = batch
    if model.training:
        return torch.stack([*model(list(images), _as_targets(boxes)).values()])
    return [{**found, "labels": found["labels"] - 1} for found in model(list(images))]


def _as_targets(boxes: Tensor) -> list[dict[str, Tensor]]:
    """Return boxes [N, M, 5] as torchvision takes them: a mapping for each image, with labels from 1."""
    present = [rows[rows[:, 0] >= 0] for rows in boxes]
    return [{"boxes": rows[:, 1:], "labels": rows[:, 0].long() + 1} for rows in present]


def _every_anchor(model: Any, images: Tensor) -> Tensor:
    pixels = _normalised(model, images)
    features = _features(model.backbone(pixels))
    heads: dict[str, Tensor] = model.head(features)
    if model.training:
        return torch.cat([*heads.values()], dim=-1)
    boxes = _boxes(model, heads["bbox_regression"], _anchors(model, pixels, features))
    height, width = images.shape[-2:]
    boxes = torch.stack([boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)], dim=-1).flatten(-2)
    return torch.cat([boxes, _scores(model, heads)], dim=-1)


def _anchors(model: Any, pixels: Tensor, features: list[Tensor]) -> Tensor:
    """Return the anchors of an image, [A, 4]."""
    images = _class("image_list.ImageList")(pixels[:1], [tuple(pixels.shape[-2:])])
    found: list[Tensor] = model.anchor_generator(images, features)
    return found[0]


def _boxes(model: Any, regression: Tensor, anchors: Tensor) -> Tensor:
    coder = model.box_coder
    if isinstance(model, _classes("fcos.FCOS")):
        return cast(Tensor, coder.decode(regression, anchors))
    count, rows = regression.shape[:2]
    repeated = anchors.expand(count, rows, 4).reshape(-1, 4)
    return cast(Tensor, coder.decode_single(regression.reshape(-1, 4), repeated)).reshape(count, rows, 4)


def _scores(model: Any, heads: dict[str, Tensor]) -> Tensor:
    """Return the scores of the classes without the background, [N, A, K]."""
    logits = heads["cls_logits"]
    if isinstance(model, _classes("ssd.SSD")):
        return F.softmax(logits, dim=-1)[..., 1:]
    scores = logits.sigmoid()
    if "bbox_ctrness" in heads:
        scores = (scores * heads["bbox_ctrness"].sigmoid()).sqrt()
    return scores[..., 1:]


def _both_stages(model: Any, images: Tensor) -> Tensor:
    """Return what the heads of both stages give, flattened to [N, numbers]."""
    pixels = _normalised(model, images)
    features = model.backbone(pixels)
    features = {"0": features} if isinstance(features, Tensor) else features
    objectness, offsets = model.rpn.head([*features.values()])
    height, width = images.shape[-2:]
    proposals = images.new_tensor(PROPOSALS) * images.new_tensor([width, height, width, height])
    heads = model.roi_heads
    pooled = heads.box_roi_pool(features, [proposals] * len(images), [(height, width)] * len(images))
    logits, boxes = heads.box_predictor(heads.box_head(pooled))
    second = [part.reshape(len(images), -1) for part in (logits, boxes)]
    return torch.cat([*(part.flatten(1) for part in (*objectness, *offsets)), *second], dim=1)


def _normalised(model: Any, images: Tensor) -> Tensor:
    """Return images as torchvision's transform prepares images of this size: normalised, and padded with zeros."""
    transform = model.transform
    mean, std = (images.new_tensor(values)[:, None, None] for values in (transform.image_mean, transform.image_std))
    below, beside = (-side % transform.size_divisible for side in images.shape[-2:])
    pixels = (images - mean) / std
    return F.pad(pixels, (0, beside, 0, below)) if below or beside else pixels


def _features(found: Any) -> list[Tensor]:
    return [found] if isinstance(found, Tensor) else [*found.values()]


def _check_size(model: Any, height: int, width: int) -> None:
    """Check that the detector takes images of a size as they are."""
    transform = model.transform
    if transform.fixed_size is not None:
        taken = tuple(transform.fixed_size)[::-1]
    else:
        scale = min(transform.min_size[-1] / min(height, width), transform.max_size / max(height, width))
        taken = tuple(int(side * scale) for side in (height, width))
    if taken != (height, width):
        rule = f"expected a detector that takes images of {height}x{width} as they are"
        size = f"min_size={min(height, width)}, max_size={max(height, width)}"
        raise UnsupportedModelError(f"{rule} ({size}), got one that resizes them to {taken[0]}x{taken[1]}")


def _class(name: str) -> Any:
    module, _, kind = name.rpartition(".")
    return getattr(sys.modules[f"{_DETECTION}.{module}"], kind)


def _classes(*names: str) -> tuple[type, ...]:
    """Return torchvision's classes; none if they are not imported, so that nothing can be an instance of them."""
    return tuple(_class(name) for name in names) if _DETECTION in sys.modules else ()
