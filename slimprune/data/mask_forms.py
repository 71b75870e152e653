"""What the numbers in the masks of a data set mean: one mask, or the class of every pixel."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from slimprune.data.decoding import check_same_size, squared, to_tensor
from slimprune.data.targets import IGNORED_CLASS
from slimprune.errors import DataError
from slimprune.preprocessing import Encoded, image_size, is_lossy, read_mask, read_rgb
from slimprune.types import TaskName

File = tuple[Encoded, str]
"""An image file with its name in error messages."""

WHITE = 255
MIDDLE = 127
"""Largest level that counts as black, where masks have soft edges."""

NEARLY = 16
"""Levels by which black and white differ at most from 0 and 255 inside of soft edges."""

MOSTLY = 0.9
"""Least share of pixels that are nearly black or white in masks with soft edges."""


@dataclass(frozen=True)
class MaskForm:
    """What the numbers in the masks of a data set mean.

    Attributes:
        classes: Number of classes of pixels, numbered from 0, beside 255 for pixels to ignore; 1 for one mask.
        white: Number of the pixels of one mask; the others are 0.
        soft: Whether one mask has levels in between, at its edges, so that those above 127 belong to it.
    """

    classes: int
    white: int = 1
    soft: bool = False

    @property
    def task(self) -> TaskName:
        """Task that the masks are for."""
        return "segmentation" if self.classes == 1 else "semantic-segmentation"

    def read(self, encoded: Encoded, where: str, image: tuple[int, int], size: int | None) -> Tensor:
        """Decode a mask file into uint8 [1, H, W]: 0 and 1 of one mask, or classes and 255 to ignore.

        Args:
            encoded: Path or bytes of the file.
            where: Name of the mask in error messages.
            image: Width and height of its image in pixels, upright.
            size: Side of the square that masks are resized and cropped to by nearest pixels; None leaves them as they
                are.

        Raises:
            DataError: If the file cannot be decoded, is no mask of this form or has not the size of its image.
        """
        mask = read_mask(encoded, where)
        check_same_size(mask.size, image, where)
        if self.classes > 1 and is_lossy(encoded):
            raise DataError(f"expected numbers of classes in a lossless file such as PNG in {where}, got a JPEG file")
        self.check(torch.tensor(mask.histogram()), where)
        pixels = to_tensor(squared(mask, size, Image.Resampling.NEAREST))
        if self.classes > 1:
            return pixels
        return (pixels > (MIDDLE if self.soft else 0)).to(torch.uint8)

    def check(self, counts: Tensor, where: str) -> None:
        """Check the number of pixels of each number, int64 [256].

        Raises:
            DataError: If a number is none of this form.
        """
        found = counts.nonzero().flatten().tolist()
        if self.classes > 1:
            wrong = [number for number in found if number >= self.classes and number != IGNORED_CLASS]
            expected = f"classes below {self.classes}, or 255 to ignore,"
        else:
            wrong = [] if self.soft else [number for number in found if number not in (0, self.white)]
            expected = f"a mask of 0 and {self.white}, as others of its set,"
        if wrong:
            raise DataError(f"expected {expected} in {where}, got {wrong[-1]}")

    def check_all(self, masks: Iterable[File]) -> None:
        """Check the numbers in all masks of a part, before any time is spent on training.

        Raises:
            DataError: If a file cannot be decoded or is no mask of this form.
        """
        for encoded, where in masks:
            self.check(torch.tensor(read_mask(encoded, where).histogram()), where)


def check_sizes(images: Iterable[File], masks: Iterable[File]) -> None:
    """Check that every mask has the size of its image.

    Raises:
        DataError: If a file cannot be read, or one has not.
    """
    for image, mask in zip(images, masks, strict=True):
        check_same_size(image_size(*mask)[::-1], image_size(*image)[::-1], mask[1])


def find_form(masks: Iterable[File], where: str, classes: int | None = None) -> MaskForm:
    """Find out what the numbers in training masks mean, by all of them.

    0 and 1, or 0 and 255, are one mask; so are levels of which nine tenths are nearly 0 or nearly 255 and some lie
    between 128 and 254, as at soft edges. Others are classes, whose number is the largest one plus 1, without 255.

    Args:
        masks: Each file with its name in error messages, at least one.
        where: Name of the set in error messages.
        classes: Number of classes if it is known, 1 for one mask.

    Raises:
        DataError: If a file cannot be decoded, nothing but 0 occurs, or the numbers are not those of the known or of
            most of the classes.
    """
    counts = torch.zeros(WHITE + 1, dtype=torch.int64)
    for encoded, name in masks:
        found = torch.tensor(read_mask(encoded, name).histogram())
        if classes is not None and classes > 1:
            MaskForm(classes).check(found, name)
        counts += found
    form = MaskForm(classes) if classes is not None and classes > 1 else _form_of(counts)
    if not int(counts[1:].sum()):
        raise DataError(f"expected masks in which something is marked in {where}, got only 0 in all of them")
    absent = form.classes - len(counts[: form.classes].nonzero())
    if classes != form.classes and (classes == 1 or (form.classes > 1 and 2 * absent > form.classes)):
        several = "" if classes == 1 else ", or of classes 0, 1, 2, ... with 255 to ignore,"
        raise DataError(f"expected masks of 0 and 1, or of 0 and 255{several} in {where}, got {_listed(counts)}")
    return form


def sample_of_files(image: File, mask: File, form: MaskForm, size: int | None) -> tuple[Tensor, Tensor]:
    """Decode an image with its mask, each a file with its name in error messages, into uint8 [3, H, W] and [1, H, W].

    Raises:
        DataError: If one of them cannot be decoded, or the mask is none of this form or not of the image's size.
    """
    decoded = read_rgb(*image)
    return to_tensor(squared(decoded, size, Image.Resampling.BILINEAR)), form.read(*mask, decoded.size, size)


def _form_of(counts: Tensor) -> MaskForm:
    found = counts.nonzero().flatten().tolist()
    if set(found) <= {0, 1}:
        return MaskForm(1, white=1)
    if set(found) <= {0, WHITE}:
        return MaskForm(1, white=WHITE)
    nearly = counts[: NEARLY + 1].sum() + counts[WHITE - NEARLY :].sum()
    if any(MIDDLE < number < WHITE for number in found) and nearly >= MOSTLY * counts.sum():
        return MaskForm(1, white=WHITE, soft=True)
    return MaskForm(max(number for number in found if number != IGNORED_CLASS) + 1)


def _listed(counts: Tensor) -> str:
    found = [str(number) for number in counts.nonzero().flatten().tolist()]
    return ", ".join(found if len(found) <= 8 else [*found[:6], "...", found[-1]])
