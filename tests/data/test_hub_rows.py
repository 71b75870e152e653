import io

import pytest
import torch
from PIL import Image

from slimprune.data.hub_rows import Columns, RowSamples
from slimprune.errors import DataError

from .asserts import random_image

LABELLED = Columns("image", "label", masks=False, labels={3: 0, 7: 1}, class_names=("3", "7"))
MASKED = Columns("image", "mask", masks=True, labels={}, class_names=("mask",))


class Rows(list):
    """As much of a `datasets.Dataset` as is used."""

    def select_columns(self, name: str) -> "Rows":
        return Rows({name: row[name]} for row in self)


def cell(image: Image.Image) -> dict[str, bytes | None]:
    stream = io.BytesIO()
    image.save(stream, "png")
    return {"bytes": stream.getvalue(), "path": None}


def test_values_become_class_indices():
    rows = Rows([{"image": cell(random_image(0)), "label": 7}, {"image": cell(random_image(1)), "label": 3}])
    samples = RowSamples(rows, "train", LABELLED)
    assert [int(samples[index][1]) for index in range(len(samples))] == [1, 0]
    assert list(samples.sizes()) == [(8, 8), (8, 8)]


@pytest.mark.parametrize("label", [-1, 4, None])
def test_unknown_labels_are_named(label: int | None):
    rows = Rows([{"image": cell(random_image(0)), "label": label}])
    with pytest.raises(DataError, match=f"expected a known label in row 0 of test, column 'label', got {label}"):
        RowSamples(rows, "test", LABELLED)[0]


def test_files_are_read_by_their_path(tmp_path):
    random_image(0).save(tmp_path / "a.png")
    rows = Rows([{"image": {"bytes": None, "path": str(tmp_path / "a.png")}, "label": 3}])
    assert RowSamples(rows, "train", LABELLED)[0][0].shape == (3, 8, 8)


@pytest.mark.parametrize("value", [None, {"bytes": None, "path": None}, {"bytes": b"", "path": None}])
def test_empty_cells_are_named(value: object):
    with pytest.raises(DataError, match="expected an image in row 0 of train, column 'image', found none"):
        RowSamples(Rows([{"image": value, "label": 3}]), "train", LABELLED)[0]


def test_a_pixel_above_127_belongs_to_the_mask():
    grey = Image.new("L", (2, 2))
    grey.putdata([0, 127, 128, 255])
    samples = RowSamples(Rows([{"image": cell(Image.new("L", (2, 2))), "mask": cell(grey)}]), "train", MASKED)
    image, mask = samples[0]
    assert image.shape == (3, 2, 2)
    assert mask.dtype == torch.uint8
    assert mask.tolist() == [[[0, 0], [1, 1]]]
    assert samples.brightest_mask_value(100) == 255


def masks_of(*values: int) -> Rows:
    return Rows([{"image": cell(Image.new("L", (2, 2))), "mask": cell(Image.new("L", (2, 2), v))} for v in values])


def test_masks_of_zero_and_one_keep_their_values_and_take_no_other():
    samples = RowSamples(masks_of(0, 1, 2), "train", MASKED, zero_one=True)
    assert [int(samples[index][1].max()) for index in (0, 1)] == [0, 1]
    message = "expected a mask of 0 and 1, as others of its set, in row 2 of train, column 'mask', got 2"
    with pytest.raises(DataError, match=message):
        samples[2]


def test_the_brightest_value_is_looked_for_until_a_mask_is_not_empty():
    assert RowSamples(masks_of(0, 0, 1, 2), "train", MASKED).brightest_mask_value(1) == 1
    assert RowSamples(masks_of(1, 0, 2), "train", MASKED).brightest_mask_value(3) == 2
    assert RowSamples(masks_of(0, 0), "train", MASKED).brightest_mask_value(1) == 0


def test_masks_are_framed_like_their_images():
    image = random_image(0, 30, 10)
    bright = image.convert("L").point(lambda value: 255 * (value > 127))
    rows = Rows([{"image": cell(bright.convert("RGB")), "mask": cell(bright)}])
    pixels, mask = RowSamples(rows, "train", MASKED, size=10)[0]
    assert mask.shape == (1, 10, 10)
    assert torch.equal(pixels[:1] // 255, mask)


def test_a_mask_of_another_size_is_refused():
    rows = Rows([{"image": cell(random_image(0, 4, 8)), "mask": cell(Image.new("1", (4, 4)))}])
    message = r"mask and image of one size \(width x height\) in row 0 of train, column 'mask', got 4x4 and 4x8"
    with pytest.raises(DataError, match=message):
        RowSamples(rows, "train", MASKED)[0]
