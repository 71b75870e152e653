"""How images become the input of a network, as a value, in files, and for image files; needs no torch."""

from slimprune.preprocessing.description import INTERPOLATIONS, Preprocessing, check_normalisation
from slimprune.preprocessing.hugging_face import LabelConfig, ProcessorConfig, as_configs, from_configs
from slimprune.preprocessing.images import (
    Encoded,
    Reduced,
    filled,
    framed,
    image_size,
    read_grey,
    read_image,
    read_numbers,
    read_reduced,
    read_rgb,
)
from slimprune.preprocessing.mask_images import is_lossy, read_mask
from slimprune.preprocessing.metadata import Stated, as_metadata, from_metadata

__all__ = [
    "INTERPOLATIONS",
    "Encoded",
    "LabelConfig",
    "Preprocessing",
    "ProcessorConfig",
    "Reduced",
    "Stated",
    "as_configs",
    "as_metadata",
    "check_normalisation",
    "filled",
    "framed",
    "from_configs",
    "from_metadata",
    "image_size",
    "is_lossy",
    "read_grey",
    "read_image",
    "read_mask",
    "read_numbers",
    "read_reduced",
    "read_rgb",
]
