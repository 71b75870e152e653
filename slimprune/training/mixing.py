"""MixUp and CutMix of training batches."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from slimprune.errors import DataError, UnsupportedModelError, UsageError
from slimprune.forward import ForwardFn
from slimprune.training.batches import Batches, on_device, pair_of
from slimprune.training.distributed import unwrap
from slimprune.training.evaluation import eval_mode
from slimprune.training.settings import TrainSettings


class Mixing:
    """MixUp (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019) by `torchvision.transforms.v2`.

    With both, each batch gets one of them with equal probability. The random numbers come from torch's generator on the
    CPU, which training seeds in every epoch.

    Args:
        settings: Settings of which at least one of `mixup` and `cutmix` is set.
        classes: Number of classes.
    """

    def __init__(self, settings: TrainSettings, classes: int) -> None:
        from torchvision.transforms import v2  # takes a second, and few trainings need it

        self._classes = classes
        kinds = ((v2.MixUp, settings.mixup), (v2.CutMix, settings.cutmix))
        self._kinds = [kind(alpha=alpha, num_classes=None) for kind, alpha in kinds if alpha is not None]

    def __call__(self, images: Any, labels: Any) -> tuple[Tensor, Tensor]:
        """Return mixed images [N, C, H, W] and the probability of each class [N, classes].

        Args:
            images: Images [N, C, H, W].
            labels: Class indices [N], or probabilities [N, classes].

        Raises:
            DataError: If images or labels are not as described.
        """
        _check(images, labels, self._classes)
        probabilities = labels if labels.is_floating_point() else one_hot(labels, self._classes).float()
        chosen = self._kinds[int(torch.randint(len(self._kinds), ()))] if len(self._kinds) > 1 else self._kinds[0]
        mixed: tuple[Tensor, Tensor] = chosen(images, probabilities)
        return mixed


def mixing_of(
    settings: TrainSettings, model: nn.Module, batches: Batches, device: torch.device, forward_fn: ForwardFn | None
) -> Mixing | None:
    """Return the mixing that the settings ask for, with as many classes as the model has outputs.

    Raises:
        UsageError: If there is a `forward_fn`, whose batches need not be images with labels.
        UnsupportedModelError: If the model's output is not [N, K].
    """
    if settings.mixup is None and settings.cutmix is None:
        return None
    if forward_fn is not None:
        raise UsageError("expected batches of images and labels for mixup and cutmix, got a forward_fn")
    # Some loaders draw from torch's generator when a pass starts; the caller's state must not change.
    with torch.random.fork_rng(devices=[]), eval_mode(model), torch.no_grad():
        inputs, _ = pair_of(next(on_device(batches, device)), None)
        output = unwrap(model)(inputs)
    if not (isinstance(output, Tensor) and output.ndim == 2):
        raise UnsupportedModelError(f"expected an output [N, classes] for mixup and cutmix, got {_kind(output)}")
    return Mixing(settings, output.shape[1])


def _check(images: Any, labels: Any, classes: int) -> None:
    if not (isinstance(images, Tensor) and images.ndim == 4):
        raise DataError(f"expected images [N, C, H, W] to mix, got {_kind(images)}")
    by_index = isinstance(labels, Tensor) and labels.ndim == 1 and labels.dtype == torch.int64
    by_share = isinstance(labels, Tensor) and labels.is_floating_point() and labels.shape[1:] == (classes,)
    if not (by_index or by_share):
        raise DataError(f"expected labels [N] or [N, {classes}] of the images to mix, got {_kind(labels)}")


def _kind(value: object) -> str:
    return f"{list(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
