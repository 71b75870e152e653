"""Masks and output images as PNG files."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from slimprune.errors import UsageError
from slimprune.prediction.predicting import Prediction


def mask_files(images: Sequence[Path], folder: Path) -> list[Path]:
    """Return the files of masks or images: NAME.mask.png in the folder.

    Raises:
        UsageError: If two images would have the same one.
    """
    files = [folder / f"{image.stem}.mask.png" for image in images]
    twice = next((file for number, file in enumerate(files) if file in files[:number]), None)
    if twice is not None:
        raise UsageError(f"expected images of different names for masks in one folder, got two for {twice.name}")
    return files


def write_masks(predictions: Sequence[Prediction], folder: Path) -> dict[Path, Path]:
    """Write the masks and output images of predictions as NAME.mask.png; return these files by image.

    Raises:
        UsageError: If two images have the same name, or the folder cannot be written to.
    """
    drawn = [(one.image, one.mask if one.picture is None else one.picture) for one in predictions]
    masked = [(image, pixels) for image, pixels in drawn if pixels is not None]
    files = mask_files([image for image, _ in masked], folder)
    try:
        if masked:
            folder.mkdir(parents=True, exist_ok=True)
        for (_, mask), file in zip(masked, files, strict=True):
            Image.fromarray(mask[:, :, 0] if mask.ndim == 3 and mask.shape[2] == 1 else mask).save(file)
    except OSError as error:
        raise UsageError(f"cannot write masks into {folder}: {error.strerror or error}") from error
    return {image: file for (image, _), file in zip(masked, files, strict=True)}
