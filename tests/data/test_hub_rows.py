import io

import pytest
import torch
from PIL import Image

from slimprune.data.hub_rows import Columns, RowSamples
from slimprune.data.mask_forms import MaskForm
from slimprune.errors import DataError

from .asserts import random_image

LABELLED = Columns("image", ("label",), "labels", labels={3: 0, 7: 1}, class_names=("3", "7"))
MASKED = Columns("image", ("mask",), "masks", labels={}, class_names=("mask",))
VALUED = Columns("image", ("x", "y"), "values", labels={}, class_names=("x", "y"))


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
    assert [where for _, where in samples.files_of("image")] == [f"row {n} of train, column 'image'" for n in (0, 1)]


def test_columns_of_numbers_become_one_row():
    rows = Rows([{"image": cell(random_image(0)), "x": 0.5, "y": -2.0}])
    assert RowSamples(rows, "train", VALUED)[0][1].tolist() == [0.5, -2.0]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_is_no_number_is_named(value: float | None):
    rows = Rows([{"image": cell(random_image(0)), "x": 0.5, "y": value}])
    with pytest.raises(DataError, match=f"expected a finite number in row 0 of test, column 'y', got {value}"):
        RowSamples(rows, "test", VALUED)[0]


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


def test_masks_are_framed_like_their_images():
    image = random_image(0, 30, 10)
    bright = image.convert("L").point(lambda value: 255 * (value > 127))
    rows = Rows([{"image": cell(bright.convert("RGB")), "mask": cell(bright)}])
    pixels, mask = RowSamples(rows, "train", MASKED, size=10, form=MaskForm(1, white=255))[0]
    assert mask.shape == (1, 10, 10)
    assert torch.equal(pixels[:1] // 255, mask)


def test_a_mask_of_another_size_is_refused():
    rows = Rows([{"image": cell(random_image(0, 4, 8)), "mask": cell(Image.new("1", (4, 4)))}])
    message = r"mask and image of one size \(width x height\) in row 0 of train, column 'mask', got 4x4 and 4x8"
    with pytest.raises(DataError, match=message):
        RowSamples(rows, "train", MASKED)[0]
