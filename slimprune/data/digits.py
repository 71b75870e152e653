"""Handwritten digits bundled with slimprune: 1,797 images of 8x8 pixels.

E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998,
CC BY 4.0 (the test part of that set).
"""

from importlib import resources

import torch
from safetensors.torch import load
from torch import Tensor
from torch.nn.functional import interpolate

from slimprune.data.augmentation import Augmentation
from slimprune.data.tensor_data import TensorData

FILE = "digits.safetensors"
IMAGE_SIZE = 32
INK_LEVELS = 16
TEST_EVERY = 5


def load_digits(name: str, image_size: int | None = None) -> TensorData:
    """Load the bundled digits: 1,437 training and 360 test images, RGB, 32x32 pixels by default.

    Every fifth image, beginning with the first, is a test image. Pixel values 0..16 are scaled to 0..255, the images
    are enlarged bilinearly and the grey channel is repeated three times. Training digits are shifted by up to 4 pixels
    but not flipped.

    Args:
        name: Name of the set in reports.
        image_size: Side in pixels.
    """
    arrays = load(resources.files(__package__).joinpath(FILE).read_bytes())
    images, labels = _enlarged(arrays["images"], image_size or IMAGE_SIZE), arrays["labels"].long()
    test = torch.arange(len(images)) % TEST_EVERY == 0
    return TensorData.from_arrays(
        name, images[~test], labels[~test], images[test], labels[test], augmentation=Augmentation(crop_padding=4)
    )


def _enlarged(images: Tensor, size: int) -> Tensor:
    """Convert uint8 [N, 1, 8, 8] of 0..16 to uint8 [N, 3, size, size] of 0..255."""
    grey = images.float() * (255 / INK_LEVELS)
    grey = interpolate(grey, size=(size, size), mode="bilinear", align_corners=False)
    return grey.round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
