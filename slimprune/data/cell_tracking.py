"""Data sets of the Cell Tracking Challenge as they are distributed: DIR/01/t000.tif, DIR/01_GT/SEG/man_seg000.tif."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from slimprune.data.decoding import check_same_size, choose_size, squared, to_tensor
from slimprune.data.image_data import ImageData
from slimprune.data.image_listing import image_sizes
from slimprune.data.streamed_data import STREAM_ABOVE, hold_or_stream
from slimprune.errors import DataError
from slimprune.preprocessing import read_numbers, read_rgb

HELD_OUT = 0.3
"""Share of the frames with masks of each sequence that are for testing, its last ones."""

MASKS = ("GT", "ST")
"""Masks by hand, and for frames without them those made from the predictions of several programs."""

CELL = "cell"
Frame = tuple[Path, Path]
"""Files of an image and of its mask."""


@dataclass(frozen=True)
class Frames:
    """Frames of films with masks of all cells.

    Attributes:
        files: Image and mask of each frame.
        size: Side in pixels that images are resized and cropped to; None leaves them unchanged.
    """

    files: tuple[Frame, ...]
    size: int | None

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Decode one frame into an image uint8 [3, H, W] and a mask uint8 [1, H, W], 1 in every cell.

        Raises:
            DataError: If a file cannot be read, or image and mask differ in size.
        """
        image_file, mask_file = self.files[index]
        image = read_rgb(image_file, f"'{image_file}'")
        mask = Image.fromarray(read_numbers(mask_file, f"'{mask_file}'") > 0)
        check_same_size(mask.size, image.size, f"'{mask_file}'")
        pixels = to_tensor(squared(mask.convert("L"), self.size, Image.Resampling.NEAREST)) > 0
        return to_tensor(squared(image, self.size, Image.Resampling.BILINEAR)), pixels.to(torch.uint8)


def load_cell_tracking(
    name: str, source: str, image_size: int | None = None, stream_above: int = STREAM_ABOVE
) -> ImageData:
    """Load a two-dimensional data set for the segmentation of cells from their background.

    Each frame with a mask is a sample: that of `NN_GT/SEG`, made by hand, or else that of `NN_ST/SEG` if there is such
    a folder. The last 30 % of each sequence's samples are for testing, since neighbouring frames are nearly the same
    and the challenge's own test masks are not published. Pixels with the number of a cell are foreground.

    Args:
        name: Name of the set in reports.
        source: The folder, such as `PhC-C2DH-U373`.
        image_size: Side in pixels that images are resized and cropped to; by default they keep a common size.
        stream_above: Decoded size in bytes above which images are decoded each time they are read.

    Raises:
        DataError: If sequences, images or masks are missing or cannot be read.
    """
    train: list[Frame] = []
    test: list[Frame] = []
    for frames in _sequences(Path(os.path.expanduser(source))):
        held_out = max(1, round(HELD_OUT * len(frames)))
        train += frames[:-held_out]
        test += frames[-held_out:]
    size = choose_size(image_sizes(image for image, _ in (*train, *test)), image_size, keep_large=True)
    return hold_or_stream(name, Frames(tuple(train), size), Frames(tuple(test), size), (CELL,), stream_above)


def cell_tracking_files(root: Path) -> list[Path]:
    """List the images with masks, and the masks.

    Raises:
        DataError: If there are none.
    """
    return [file for frames in _sequences(root) for frame in frames for file in frame]


def _sequences(root: Path) -> list[list[Frame]]:
    """Return the frames with masks of each sequence, in their order, at least two.

    Raises:
        DataError: If one cannot be read or has fewer.
    """
    try:
        folders = sorted(folder for folder in root.iterdir() if re.fullmatch(r"\d\d", folder.name) and folder.is_dir())
        found = [_frames(folder) for folder in folders]
    except OSError as error:
        raise DataError(f"expected folders that can be read, got {error.filename}: {error.strerror}") from error
    if not found:
        raise DataError(f"expected sequences 01, 02, ... in '{root}', found none")
    for folder, frames in zip(folders, found, strict=True):
        if len(frames) < 2:
            wanted = f"at least 2 masks man_segTTT.tif in '{folder}_GT/SEG' or '{folder}_ST/SEG'"
            raise DataError(f"expected {wanted}, found {len(frames)}")
    return found


def _frames(sequence: Path) -> list[Frame]:
    """Return the frames of a sequence that have masks.

    Raises:
        DataError: If a mask has no image.
    """
    masks: dict[str, Path] = {}
    for kind in reversed(MASKS):
        for file in sorted((sequence.parent / f"{sequence.name}_{kind}" / "SEG").glob("man_seg*.tif")):
            if number := re.fullmatch(r"man_seg(\d+)\.tif", file.name):
                masks[number[1]] = file
    frames = [(sequence / f"t{number}.tif", masks[number]) for number in sorted(masks)]
    for image, mask in frames:
        if not image.is_file():
            raise DataError(f"expected an image '{image}' for '{mask}', found none")
    return frames
