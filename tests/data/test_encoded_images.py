"""Image files that are decoded to no more than the size that is stored."""

import io

import numpy as np
import pytest
from PIL import Image

from slimprune.data.encoded_images import to_size
from slimprune.preprocessing import filled, read_reduced, read_rgb
from tests.data.asserts import random_image

BILINEAR = Image.Resampling.BILINEAR


def encoded(kind: str = "jpeg", orientation: int = 1) -> bytes:
    """A smooth image of 101 x 74, whose halves and quarters are no whole pixels."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    random_image(1, 6, 5).resize((101, 74), BILINEAR).save(file, kind, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("size", "factor"), [(18, 4), (37, 2), (40, 1)])
def test_jpegs_are_decoded_to_a_part_of_their_size_that_is_enough(size: int, factor: int, orientation: int) -> None:
    data = encoded(orientation=orientation)
    reduced = read_reduced(data, "a", lambda *whole: (size, size))
    assert reduced.factor == factor
    assert min(reduced.image.size) == -(-74 // factor)
    found = np.asarray(to_size(data, "a", size), dtype=float)
    whole = np.asarray(filled(read_rgb(data, "a"), size, size, BILINEAR), dtype=float)
    if factor == 1:
        assert np.array_equal(found, whole)
    assert np.abs(found - whole).mean() < 1.3


@pytest.mark.parametrize(("kind", "orientation"), [("png", 1), ("tiff", 6)])
def test_other_files_are_decoded_whole(kind: str, orientation: int) -> None:
    data = encoded(kind, orientation)
    assert np.array_equal(to_size(data, "a", 16), filled(read_rgb(data, "a"), 16, 16, BILINEAR))


def test_images_without_a_size_are_left_as_they_are() -> None:
    assert to_size(encoded(), "a", None).size == (101, 74)
