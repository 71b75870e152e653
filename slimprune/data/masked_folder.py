"""Images with masks in two folders: DIR/train/images/*, DIR/train/masks/* and the same in DIR/val or DIR/test."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from slimprune.bounded import read_bounded
from slimprune.data.decoding import choose_size
from slimprune.data.image_data import ImageData
from slimprune.data.image_listing import held_out_folder, image_sizes, images_in, reading_folders
from slimprune.data.mask_forms import File, MaskForm, check_sizes, find_form, sample_of_files
from slimprune.data.streamed_data import hold_or_stream
from slimprune.errors import DataError, visible

IMAGES, MASKS, CLASSES = "images", "masks", "classes.txt"
LARGEST_TEXT = 2**20
"""Most bytes of a file of class names."""

FOREGROUND = "foreground"


@dataclass(frozen=True)
class MaskedFiles:
    """Image files with mask files.

    Attributes:
        files: Image and mask of each sample.
        form: What the numbers in masks mean.
        size: Side in pixels that images are resized and cropped to; None leaves them unchanged.
    """

    files: tuple[tuple[Path, Path], ...]
    form: MaskForm
    size: int | None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Decode one image uint8 [3, H, W] with its mask uint8 [1, H, W].

        Raises:
            DataError: If a file cannot be read, or the mask is not one of this image and this set.
        """
        image, mask = self.files[index]
        return sample_of_files((image, f"'{image}'"), (mask, f"'{mask}'"), self.form, self.size)


def has_masks(root: Path) -> bool:
    """Return whether the training part of a folder consists of images and masks."""
    return (root / "train" / IMAGES).is_dir() and (root / "train" / MASKS).is_dir()


def load_masked_folder(name: str, root: Path, image_size: int | None, stream_above: int) -> ImageData:
    """Load images with masks, of one mask or of classes of pixels; see `find_form`.

    An image and its mask are called alike below their folders, but for the suffix. Names of the classes are the lines
    of `classes.txt`, if there is one; otherwise the largest class in training tells how many there are.

    Args:
        name: Name of the set in reports.
        root: The folder.
        image_size: Side in pixels that images are resized and cropped to; by default a common size is kept, and others
            become squares of 224 pixels.
        stream_above: Decoded size in bytes above which files are decoded each time they are read.

    Raises:
        DataError: If an image or mask is missing or cannot be read, or masks have other numbers than classes.
    """
    train, test = parts_with_masks(root)
    names = _class_names(root / CLASSES)
    size = choose_size(image_sizes(image for image, _ in (*train, *test)), image_size, keep_large=True)
    form = find_form(_named(mask for _, mask in train), f"'{root / 'train' / MASKS}'", len(names) or None)
    form.check_all(_named(mask for _, mask in test))
    pairs = [*train, *test]
    check_sizes(_named(image for image, _ in pairs), _named(mask for _, mask in pairs))
    names = names or ((FOREGROUND,) if form.classes == 1 else tuple(map(str, range(form.classes))))
    training, testing = (MaskedFiles(tuple(files), form, size) for files in (train, test))
    return hold_or_stream(name, training, testing, names, stream_above, task=form.task)


def parts_with_masks(root: Path) -> tuple[list[tuple[Path, Path]], list[tuple[Path, Path]]]:
    """List image and mask of every sample of the training and of the test part.

    Raises:
        DataError: If there are none, or an image or a mask has no counterpart.
    """
    with reading_folders():
        return _pairs(root / "train"), _pairs(held_out_folder(root))


def _pairs(part: Path) -> list[tuple[Path, Path]]:
    images, masks = (_by_name(part / folder) for folder in (IMAGES, MASKS))
    for found, others, folder in ((images, masks, MASKS), (masks, images, IMAGES)):
        if alone := next((file for key, file in found.items() if key not in others), None):
            raise DataError(f"expected a file called like '{alone}' in '{part / folder}', found none")
    if not images:
        raise DataError(f"expected images in '{part / IMAGES}', found none")
    return [(images[key], masks[key]) for key in images]


def _by_name(folder: Path) -> dict[Path, Path]:
    """Return the images in a folder by their names without suffixes."""
    found: dict[Path, Path] = {}
    for file in images_in(folder):
        key = file.relative_to(folder).with_suffix("")
        if key in found:
            raise DataError(f"expected files of different names but for the suffix, got '{found[key]}' and '{file}'")
        found[key] = file
    return found


def _named(files: Iterable[Path]) -> Iterator[File]:
    return ((file, f"'{file}'") for file in files)


def _class_names(file: Path) -> tuple[str, ...]:
    """Return the lines of a file of class names; none if there is no file."""
    if not file.exists():
        return ()
    try:
        names = tuple(line.strip() for line in read_bounded(file, LARGEST_TEXT).decode().splitlines() if line.strip())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no text in UTF-8"
        raise DataError(f"expected a name of a class in each line of '{file}', got {reason}") from error
    if not names or len(set(names)) < len(names) or any(name != visible(name) for name in names):
        raise DataError(f"expected a different name of a class in each line of '{file}', got {len(names)} lines")
    return names
