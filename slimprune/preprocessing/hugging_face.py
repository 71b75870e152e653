"""Preprocessing in the files of Hugging Face's libraries.

`preprocessor_config.json` holds the settings of an image processor. The class that does what slimprune does, shorter
side and centre crop, is called after the network of which it was first a part, Big Transfer. Class names are the
`id2label` of `config.json`.
"""

from typing import Any

from typing_extensions import TypedDict

from slimprune.errors import VerificationError
from slimprune.preprocessing.description import INTERPOLATIONS, Preprocessing

PROCESSOR = "BitImageProcessor"
FULL_SCALE = 255


class Size(TypedDict):
    """Height and width in pixels."""

    height: int
    width: int


class ProcessorConfig(TypedDict):
    """The fields of `preprocessor_config.json` that are read again."""

    crop_size: Size
    image_mean: list[float]
    image_std: list[float]
    resample: int


class LabelConfig(TypedDict):
    """The field of `config.json` that is read again: names by number."""

    id2label: dict[str, str]


def as_configs(how: Preprocessing) -> dict[str, dict[str, Any]]:
    """Return the contents of `preprocessor_config.json` and, if there are class names, of `config.json`.

    The processor resizes the shorter side of an image to the larger side of the crop, which is what slimprune does if
    the crop is square.
    """
    processor = {
        "image_processor_type": PROCESSOR,
        "do_convert_rgb": how.channel_order == "RGB",
        "do_resize": True,
        "size": {"shortest_edge": max(how.height, how.width)},
        "resample": INTERPOLATIONS[how.interpolation],
        "do_center_crop": True,
        "crop_size": {"height": how.height, "width": how.width},
        "do_rescale": True,
        "rescale_factor": 1 / FULL_SCALE,
        "do_normalize": True,
        "image_mean": list(how.mean),
        "image_std": list(how.std),
    }
    labels = {
        "id2label": {str(label): name for label, name in enumerate(how.class_names)},
        "label2id": {name: label for label, name in enumerate(how.class_names)},
    }
    found: dict[str, dict[str, Any]] = {"preprocessor_config.json": processor}
    return {**found, "config.json": labels} if how.class_names else found


def from_configs(processor: ProcessorConfig, labels: LabelConfig | None) -> Preprocessing:
    """Return the preprocessing from the contents of `preprocessor_config.json` and `config.json`.

    Raises:
        VerificationError: If the resampling is unknown.
        UsageError: If a value is out of its range.
    """
    names = {number: name for name, number in INTERPOLATIONS.items()}
    if processor["resample"] not in names:
        raise VerificationError(f"expected resample ({', '.join(map(str, names))}), got {processor['resample']}")
    return Preprocessing(
        mean=tuple(processor["image_mean"]),
        std=tuple(processor["image_std"]),
        height=processor["crop_size"]["height"],
        width=processor["crop_size"]["width"],
        interpolation=names[processor["resample"]],
        class_names=() if labels is None else tuple(labels["id2label"].values()),
    )
