"""Pictures of a trained segmentation network: a few test images with the predicted masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from slimprune.pipeline.workload import Workload, seeded
from slimprune.report import draw_masks
from slimprune.results import Picture
from slimprune.training import foreground_logits, mean_iou, plain_mask

MOST = 500
"""Number of test images, from the first on, among which the ones to draw are chosen."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Test images and the predictions of networks, on the CPU.

    Attributes:
        images: Pixels, uint8 [N, C, H, W].
        truth: True masks, bool [N, H, W].
        masks: Predicted masks by network, bool [N, H, W].
        iou: Mean IoU of every image by network, in [0, 1].
    """

    images: Tensor
    truth: Tensor
    masks: Mapping[str, Tensor]
    iou: Mapping[str, Sequence[float]]


def draw_pictures(work: Workload, slim: nn.Module, dense: nn.Module | None, folder: Path) -> tuple[Picture, ...]:
    """Draw the first, worst and median test images into `folder`; do nothing unless the task is one mask.

    Args:
        work: Workload with the test images and masks.
        slim: Trained slim network, on the workload's device.
        dense: Trained dense network, or None if it was not trained.
        folder: Folder to create if there is something to draw; its parent is the report's folder.
    """
    if work.task.reads != "mask" or work.forward_fn is not None:
        return ()
    networks = {"slim": slim} if dense is None else {"dense": dense, "slim": slim}
    with seeded(0):  # loaders that shuffle draw from torch's generator
        seen = _seen(work, networks)
    folder.mkdir(exist_ok=True)
    return tuple(_drawn(seen, number, roles, folder) for number, roles in chosen_images(seen.iou["slim"]).items())


def chosen_images(iou: Sequence[float]) -> dict[int, str]:
    """Return the images to draw as number -> role: the first two, the median and the two worst, each once.

    Args:
        iou: Mean IoU of every image.
    """
    ranked = sorted(range(len(iou)), key=lambda number: iou[number])
    places = {"first": [*range(len(iou))][:1], "second": [*range(len(iou))][1:2], "median": ranked[len(iou) // 2 :][:1]}
    places |= {"worst": ranked[:1], "second worst": ranked[1:2]}
    roles: dict[int, list[str]] = {}
    for role, numbers in places.items():
        for number in numbers:
            roles.setdefault(number, []).append(role)
    return {number: " and ".join(names) for number, names in roles.items()}


def _seen(work: Workload, networks: Mapping[str, nn.Module]) -> Seen:
    images: list[Tensor] = []
    truth: list[Tensor] = []
    masks: dict[str, list[Tensor]] = {name: [] for name in networks}
    iou: dict[str, list[float]] = {name: [] for name in networks}
    for inputs, targets in work.test_batches:
        images.append(work.pixels(inputs).cpu())
        truth.append((plain_mask(targets) > 0.5).cpu())
        for name, network in networks.items():
            with torch.no_grad():
                output = network.eval()(inputs.to(work.device)).cpu()
            masks[name].append(foreground_logits(output, targets) > 0)
            pairs = zip(output.split(1), targets.cpu().split(1), strict=True)
            iou[name] += [mean_iou.value(*mean_iou(*pair)) for pair in pairs]
        if sum(map(len, images)) >= MOST:
            break
    return Seen(torch.cat(images), torch.cat(truth), {name: torch.cat(parts) for name, parts in masks.items()}, iou)


def _drawn(seen: Seen, number: int, roles: str, folder: Path) -> Picture:
    scores = {name: f"{100 * values[number]:.1f} %" for name, values in seen.iou.items()}
    panels = {f"{name}, mean IoU {scores[name]}": masks[number] for name, masks in seen.masks.items()}
    file = folder / f"image-{number + 1}.png"
    draw_masks(seen.images[number], seen.truth[number], panels, file)
    absent = "" if "dense" in scores else "; the dense network was not trained (--train-dense)"
    figures = ", ".join(f"{name} {score}" for name, score in scores.items())
    title = f"Test image {number + 1}, {roles} of {len(seen.images)}: mean IoU {figures}{absent}"
    return Picture(title, f"{folder.name}/{file.name}")
