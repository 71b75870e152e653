"""From image files to classes, values, masks or images."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from slimprune.errors import UsageError, VerificationError
from slimprune.prediction.image_files import find_images
from slimprune.prediction.network import Array, Network, open_network
from slimprune.preprocessing import INTERPOLATIONS, framed, read_image


@dataclass(frozen=True)
class ClassProbability:
    """A class and its probability in [0, 1]; classes without names are named by their numbers."""

    name: str
    probability: float


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a network says of one image.

    Attributes:
        image: The file.
        classes: The most probable classes, most probable first; of labels that may occur together each with a
            probability of its own. Empty for other outputs.
        mask: For one mask, uint8 [H, W] with 255 where the object is, of the upright image's size; 0 outside `box`. For
            classes of pixels their numbers, 255 outside `box`.
        share: For one mask, the share of the box that the object covers.
        box: The part of the upright image that the network saw: left, top, right and bottom in pixels.
        values: For regression, the numbers by name.
        shares: For classes of pixels, the share of the box that each one covers, the largest first.
        picture: For image to image, the output's pixels, uint8 [H, W, C], of the network's size.
    """

    image: Path
    classes: tuple[ClassProbability, ...]
    box: tuple[int, int, int, int]
    mask: Array | None = None
    share: float | None = None
    values: Mapping[str, float] | None = None
    shares: Mapping[str, float] | None = None
    picture: Array | None = None


def predict(model: str | Path, images: str | Path | Iterable[str | Path], *, top: int = 5) -> list[Prediction]:
    """Return what an exported network says of image files; torch is not imported.

    Images may have any size and mode. They are turned upright, resized and cropped as the images of the training were.
    If the file leaves height and width free, nothing is cropped.

    Args:
        model: ONNX file that `compress` or `export` wrote.
        images: Image files, folders or patterns such as `photos/*.jpg`.
        top: Number of classes, at least 1.

    Returns:
        One prediction for each image.

    Raises:
        UsageError: If there is no such model, or `top` is below 1.
        VerificationError: If the model cannot be used.
        DataError: If an image is missing or cannot be read.
    """
    if top < 1:
        raise UsageError(f"expected top of at least 1, got {top}")
    network = open_network(Path(model))
    files = find_images([images] if isinstance(images, str | Path) else images)
    return [_predicted(network, file, top) for file in files]


def _predicted(network: Network, file: Path, top: int) -> Prediction:
    image = read_image(file, network.channel_order, str(file))
    seen, box = _seen(network, image)
    pixels = np.asarray(seen)
    output = network(pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    reads = network.stated.output or _by_shape(output, network)
    if (reads, output.ndim) == ("mask", 3) and len(output) <= 2:
        found = output[0] > 0 if len(output) == 1 else output[1] > output[0]
        return Prediction(file, (), box, _in_image(255 * found, image, box, outside=0), float(found.mean()))
    if (reads, output.ndim) == ("class map", 3):
        best = output.argmax(axis=0)
        counts = np.bincount(best.flatten(), minlength=len(output)) / best.size
        order, names = np.argsort(-counts, kind="stable"), _names(network, len(output))
        shares = {names[k]: float(counts[k]) for k in order if counts[k] > 0}
        return Prediction(file, (), box, _in_image(best, image, box, outside=255), shares=shares)
    if (reads, output.ndim) == ("image", 3):
        pixels = (255 * output.clip(0, 1)).round().astype(np.uint8).transpose(1, 2, 0)
        return Prediction(file, (), box, picture=pixels)
    if reads == "values" and output.ndim <= 1:
        numbers = output.reshape(-1)
        named = dict(zip(_names(network, len(numbers)), map(float, numbers), strict=True))
        return Prediction(file, (), box, values=named)
    if reads in ("classes", "labels", "logit") and output.ndim <= 1:
        return Prediction(file, _classes(network, output.reshape(-1), top, reads), box)
    shape = list(output.shape)
    raise VerificationError(f"expected an output that can be read as {reads} of {network.path}, got {shape} per image")


def _by_shape(output: Array, network: Network) -> str:
    """Return how the output of a file that does not say so is read."""
    if output.ndim == 1:
        return "classes"
    if output.ndim == 3 and len(output) <= 2:
        return "mask"
    shape = list(output.shape)
    raise VerificationError(f"expected {network.path} to give classes [K] or a mask [1, H, W] per image, got {shape}")


def _seen(network: Network, image: Image.Image) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """Return the network's input, and the part of the image that it shows."""
    how, step = network.preprocessing, network.stated.size_step
    scale = max(how.height / image.height, how.width / image.width)
    if network.has_free_size and step is not None:
        width, height = (max(step, step * round(side * scale / step)) for side in image.size)
        resample = Image.Resampling(INTERPOLATIONS[how.interpolation])
        return image.resize((width, height), resample), (0, 0, image.width, image.height)
    width, height = min(image.width, round(how.width / scale)), min(image.height, round(how.height / scale))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return framed(image, how), (left, top, left + width, top + height)


def _in_image(found: Array, image: Image.Image, box: tuple[int, int, int, int], *, outside: int) -> Array:
    """Return a mask of the image's size: what was found, in the box."""
    left, top, right, bottom = box
    mask = Image.new("L", image.size, outside)
    piece = Image.fromarray(found.astype(np.uint8))
    mask.paste(piece.resize((right - left, bottom - top), Image.Resampling.NEAREST), (left, top))
    return np.asarray(mask)


def _classes(network: Network, logits: Array, top: int, reads: str) -> tuple[ClassProbability, ...]:
    if reads == "logit":  # yes or no: the probabilities of softmax for logits 0 and x are those of sigmoid for x
        logits, reads = np.array([0.0, logits[0]]), "classes"
    names = _names(network, len(logits))
    exponentials = np.exp(logits - logits.max())
    probabilities = 1 / (1 + np.exp(-logits)) if reads == "labels" else exponentials / exponentials.sum()
    best = np.argsort(-probabilities, kind="stable")[:top]
    return tuple(ClassProbability(names[k], float(probabilities[k])) for k in best)


def _names(network: Network, count: int) -> tuple[str, ...]:
    """Return the names of classes or values, or their numbers."""
    names = network.preprocessing.class_names
    if names and len(names) != count:
        raise VerificationError(f"expected {count} class names in {network.path}, got {len(names)}")
    return names or tuple(map(str, range(count)))
