"""How YOLO networks of ultralytics are called with images alone, or with images and the boxes that are in them."""

import sys
from collections.abc import Mapping
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from slimprune.errors import UnsupportedModelError

LEAST_SCORE, LARGEST_OVERLAP, MOST_BOXES = 0.001, 0.7, 300
"""Score below which a box is left out, overlap above which the worse of two boxes of a class is, and the most boxes of
an image: as ultralytics validates."""

MOST_CANDIDATES = 30_000
"""Most boxes of an image among which overlapping ones are looked for, the best ones."""

HEADS = ("Detect", "v10Detect")
"""Classes of the last layer of networks that find boxes in images alone."""

_TASKS = "ultralytics.nn.tasks"


def is_detector(model: nn.Module) -> bool:
    """Return whether a model is a network of ultralytics that finds boxes, and nothing else, in images alone."""
    tasks = sys.modules.get(_TASKS)  # if it is not imported, nothing can be an instance of its classes
    return tasks is not None and isinstance(model, tasks.DetectionModel) and type(_head(model)).__name__ in HEADS


def check(model: Any, height: int, width: int) -> None:
    """Check that a network takes images of this size in pixels, and can be trained.

    Raises:
        UnsupportedModelError: If not, or if its batch norms were folded into convolutions.
    """
    stride = int(model.stride.max())
    if height % stride or width % stride:
        rule = f"expected images of a multiple of {stride} pixels a side for this YOLO"
        raise UnsupportedModelError(f"{rule}, got {height}x{width} (--image-size resizes them)")
    if model.is_fused():
        raise UnsupportedModelError("expected a YOLO with batch norms, got one after fuse(), which predict() calls")


def class_branches(model: Any) -> tuple[str, ...]:
    """Return the beginnings of the names of layers whose widths depend on the number of classes."""
    return tuple(f"model.{len(model.model) - 1}.{branch}." for branch in ("cv3", "one2one_cv3"))


def detect(model: Any, batch: Any) -> Any:
    """Call a network as `with_one_input` describes it.

    In training mode, images alone give the raw boxes and scores of its heads, [N, numbers, A].
    """
    if isinstance(batch, Tensor):
        return _raw(model(batch)) if model.training else _every_anchor(model, batch)
    images, boxes = batch
    if model.training:
        losses, _ = _criterion(model)(model(images), {"img": images, **_as_targets(boxes, images)})
        return losses / len(images)
    suppress = not _head(model).end2end
    return [best_boxes(rows[:, :4], rows[:, 4:], suppress) for rows in _every_anchor(model, images)]


def _head(model: Any) -> Any:
    return model.model[-1]


def _raw(found: Mapping[str, Any]) -> Tensor:
    """Return all that the heads give for boxes and scores, one head below the other."""
    heads = [found[name] for name in ("one2many", "one2one") if name in found] or [found]
    return torch.cat([head[part] for head in heads for part in ("boxes", "scores")], dim=1)


def _criterion(model: Any) -> Any:
    """Return the losses of the network, on its device and weighted by its own settings or the library's."""
    own = getattr(model, "args", {})
    defaults = import_module("ultralytics.cfg").DEFAULT_CFG_DICT
    model.args = SimpleNamespace(**{**defaults, **(own if isinstance(own, dict) else vars(own))})
    try:
        return model.init_criterion()
    finally:
        model.args = own


def _as_targets(boxes: Tensor, images: Tensor) -> dict[str, Tensor]:
    """Return boxes [N, M, 5] as ultralytics takes them: image, class, and centre and sizes in shares of the image."""
    image, row = (boxes[:, :, 0] >= 0).nonzero(as_tuple=True)
    present = boxes[image, row]
    height, width = images.shape[-2:]
    corners = present[:, 1:] / present.new_tensor([width, height, width, height])
    sizes = corners[:, 2:] - corners[:, :2]
    return {
        "batch_idx": image.float(),
        "cls": present[:, :1],
        "bboxes": torch.cat([corners[:, :2] + sizes / 2, sizes], dim=1),
    }


def _every_anchor(model: Any, images: Tensor) -> Tensor:
    """Return boxes in pixels and scores of the head by which the network finds boxes, [N, A, 4 + K]."""
    boxes, head = import_module("ultralytics.utils.tal"), _head(model)
    found = head.forward_head(_features(model, images), **(head.one2one if head.end2end else head.one2many))
    anchors, strides = (part.transpose(0, 1) for part in boxes.make_anchors(found["feats"], head.stride, 0.5))
    corners = boxes.dist2bbox(head.dfl(found["boxes"]), anchors[None], xywh=False, dim=1) * strides
    height, width = images.shape[-2:]
    inside = torch.stack([corners[:, 0::2].clamp(0, width), corners[:, 1::2].clamp(0, height)], dim=2).flatten(1, 2)
    return torch.cat([inside, found["scores"].sigmoid()], dim=1).transpose(1, 2)


def _features(model: Any, images: Tensor) -> list[Tensor]:
    """Return what the layers before the head give it."""
    outputs: list[Tensor] = []
    for layer in list(model.model)[:-1]:
        outputs.append(layer(_inputs(layer, images, outputs)))
    found: list[Tensor] = _inputs(_head(model), images, outputs)
    return found


def _inputs(layer: Any, images: Tensor, outputs: list[Tensor]) -> Any:
    """Return what a layer reads: the outputs of those before it by their numbers, of which -1 is the last."""
    if not outputs:
        return images
    return outputs[layer.f] if isinstance(layer.f, int) else [outputs[number] for number in layer.f]


def best_boxes(boxes: Tensor, scores: Tensor, suppress: bool) -> dict[str, Tensor]:
    """Return the boxes of an image that are found: its best ones, without those that overlap better ones.

    Args:
        boxes: Boxes of all anchors, [A, 4].
        scores: Scores of the classes, [A, K].
        suppress: Whether boxes of a class that overlap better ones are left out.
    """
    from torchvision.ops import batched_nms

    anchors, labels = (scores > LEAST_SCORE).nonzero(as_tuple=True)
    candidates = scores[anchors, labels].topk(min(MOST_CANDIDATES, len(anchors)))
    anchors, labels = anchors[candidates.indices], labels[candidates.indices]
    kept = batched_nms(boxes[anchors], candidates.values, labels, LARGEST_OVERLAP) if suppress else slice(None)
    found = {"boxes": boxes[anchors], "scores": candidates.values, "labels": labels}
    return {name: values[kept][:MOST_BOXES] for name, values in found.items()}
