import io

import numpy as np
import pytest
import torch
from PIL import Image

from slimprune.data.mask_forms import MaskForm, find_form
from slimprune.errors import DataError


def mask(*numbers: int, file_format: str = "png") -> bytes:
    """One row of pixels."""
    stream = io.BytesIO()
    Image.fromarray(np.array([numbers], dtype=np.uint8)).save(stream, file_format)
    return stream.getvalue()


def form_of(*masks: bytes, classes: int | None = None) -> MaskForm:
    return find_form([(each, f"mask {number}") for number, each in enumerate(masks)], "it", classes)


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ([mask(0, 1), mask(0, 0)], MaskForm(1, white=1)),
        ([mask(0, 0), mask(0, 255)], MaskForm(1, white=255)),
        ([mask(*[0] * 10, *[255] * 8, 130, 90)], MaskForm(1, white=255, soft=True)),
        ([mask(0, 1, 255)], MaskForm(2)),
        ([mask(0, 0), mask(2, 1)], MaskForm(3)),
        ([mask(1, 2, 3)], MaskForm(4)),
        ([mask(*range(182), 255)], MaskForm(182)),
    ],
)
def test_the_numbers_in_all_masks_tell_what_they_mean(masks: list[bytes], expected: MaskForm):
    assert form_of(*masks) == expected
    assert expected.task == ("segmentation" if expected.classes == 1 else "semantic-segmentation")


def test_known_classes_need_not_occur():
    assert form_of(mask(0, 9, 255), classes=20) == MaskForm(20)
    assert form_of(mask(0, 1), classes=2) == MaskForm(2)
    assert form_of(mask(0, 1), classes=1) == MaskForm(1)


@pytest.mark.parametrize(
    ("masks", "classes", "message"),
    [
        ([mask(0, 0)], None, "expected masks in which something is marked in it, got only 0"),
        ([mask(0, 38, 75)], None, r"of classes 0, 1, 2, \.\.\. with 255 to ignore, in it, got 0, 38, 75$"),
        ([mask(0, 1, 2)], 1, "expected masks of 0 and 1, or of 0 and 255 in it, got 0, 1, 2$"),
        ([mask(0, 1), mask(0, 3)], 3, "expected classes below 3, or 255 to ignore, in mask 1, got 3$"),
        ([mask(*range(0, 250, 3))], None, r"got 0, 3, 6, 9, 12, 15, \.\.\., 249$"),
    ],
)
def test_other_numbers_are_refused(masks: list[bytes], classes: int | None, message: str):
    with pytest.raises(DataError, match=message):
        form_of(*masks, classes=classes)


@pytest.mark.parametrize(
    ("form", "encoded", "expected"),
    [
        (MaskForm(1, white=1), mask(0, 1, 1, 0), [0, 1, 1, 0]),
        (MaskForm(1, white=255), mask(0, 255, 255, 0), [0, 1, 1, 0]),
        (MaskForm(1, white=255, soft=True), mask(127, 128, 255, 3), [0, 1, 1, 0]),
        (MaskForm(3), mask(0, 2, 255, 1), [0, 2, 255, 1]),
    ],
)
def test_masks_are_read_by_their_form(form: MaskForm, encoded: bytes, expected: list[int]):
    found = form.read(encoded, "it", (4, 1), None)
    assert (found.dtype, found.tolist()) == (torch.uint8, [[expected]])


@pytest.mark.parametrize(
    ("form", "encoded", "message"),
    [
        (MaskForm(1, white=1), mask(0, 2, 0, 0), "expected a mask of 0 and 1, as others of its set, in it, got 2"),
        (MaskForm(1, white=255), mask(0, 2, 0, 0), "expected a mask of 0 and 255, as others of its set, in it, got 2"),
        (MaskForm(3), mask(0, 3, 0, 0), "expected classes below 3, or 255 to ignore, in it, got 3"),
        (MaskForm(3), mask(0, 0, 0), r"mask and image of one size \(width x height\) in it, got 3x1 and 4x1"),
        (MaskForm(3), mask(0, 0, 0, 0, file_format="jpeg"), "in a lossless file such as PNG in it, got a JPEG file"),
    ],
)
def test_other_masks_of_a_set_are_refused(form: MaskForm, encoded: bytes, message: str):
    with pytest.raises(DataError, match=message):
        form.read(encoded, "it", (4, 1), None)


def test_classes_are_resized_to_the_nearest_and_never_mixed():
    numbers = np.random.default_rng(0).choice([0, 7, 255], (9, 12)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(numbers).save(stream, "png")
    for size in (2, 5, 16):
        found = MaskForm(8).read(stream.getvalue(), "it", (12, 9), size)
        assert found.shape == (1, size, size)
        assert set(found.unique().tolist()) <= {0, 7, 255}
