"""Data sets of the Cell Tracking Challenge as they are distributed, drawn in small."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slimprune.data import TensorData, data_files, data_sets, load
from slimprune.errors import DataError

from .asserts import assert_describes_itself

SIDE = 16


def draw(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def mask(file: Path, cells: int) -> None:
    """Rows of cells numbered 1, 2, ... in 16 bits, as the masks of the challenge are."""
    pixels = np.zeros((SIDE, SIDE), np.uint16)
    pixels[:cells] = np.arange(1, cells + 1)[:, None]
    draw(file, pixels)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten frames with masks by hand; four in a second sequence, one by hand, two made by programs and one without."""
    folder = tmp_path / "PhC-C2DH-U373"
    for number in range(10):
        draw(folder / f"01/t{number:03}.tif", np.full((SIDE, SIDE), 10 * number, np.uint8))
        mask(folder / f"01_GT/SEG/man_seg{number:03}.tif", number)
    for number in range(4):
        draw(folder / f"02/t{number:03}.tif", np.full((SIDE, SIDE), 257 * number, np.uint16))
    for number in range(3):
        mask(folder / f"02_ST/SEG/man_seg{number:03}.tif", 1)
    mask(folder / "02_GT/SEG/man_seg001.tif", 5)
    mask(folder / "02_GT/TRA/man_track000.tif", 1)
    return folder


def test_the_last_frames_of_each_sequence_are_for_testing(root: Path) -> None:
    """Of 10 frames 3, of 3 frames round(0.9) = 1; masks by hand precede others, 5 rows of 16 pixels to 1."""
    data = load(f"cell-tracking:{root}")
    assert_describes_itself(data)
    assert isinstance(data, TensorData)
    assert (data.task, data.class_names, data.height, data.width) == ("segmentation", ("cell",), SIDE, SIDE)
    images, masks = data.parts["train"]
    assert images[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50, 60, 0, 1]
    assert masks.sum((1, 2, 3)).tolist() == [16 * rows for rows in (0, 1, 2, 3, 4, 5, 6, 1, 5)]
    images, masks = data.parts["test"]
    assert images[:, 0, 0, 0].tolist() == [70, 80, 90, 2]
    assert masks.sum((1, 2, 3)).tolist() == [16 * rows for rows in (7, 8, 9, 1)]
    assert masks.max() == 1


def test_images_and_masks_are_resized_and_read_while_they_are_needed(root: Path) -> None:
    data = load(f"cell-tracking:{root}", image_size=8, stream_above=0)
    images, masks = next(iter(data.test_batches(4)))
    assert (images.shape, masks.shape) == ((4, 3, 8, 8), (4, 1, 8, 8))
    assert set(masks.unique().tolist()) == {0, 1}


def test_it_is_listed_and_its_files_are_known(root: Path) -> None:
    assert "cell-tracking:DIR" in dict(data_sets())
    files = data_files(f"cell-tracking:{root}")
    assert len(files) == 2 * (10 + 3)
    assert root / "02_GT/SEG/man_seg001.tif" in files
    assert root / "02_ST/SEG/man_seg001.tif" not in files


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    (root / "01/t004.tif").unlink()
    with pytest.raises(DataError, match=r"expected an image '.*01/t004.tif' for '.*man_seg004.tif', found none"):
        load(f"cell-tracking:{root}")
    (tmp_path / "empty/01").mkdir(parents=True)
    with pytest.raises(DataError, match=r"at least 2 masks man_segTTT.tif in '.*01_GT/SEG' or .*, found 0"):
        load(f"cell-tracking:{tmp_path / 'empty'}")
    with pytest.raises(DataError, match=r"expected sequences 01, 02, ... in '.*', found none"):
        load(f"cell-tracking:{root / '01'}")
    with pytest.raises(DataError, match="expected folders that can be read"):
        load(f"cell-tracking:{tmp_path / 'nothing'}")


def test_masks_of_another_size_and_with_colours_are_refused(root: Path) -> None:
    file = root / "01_GT/SEG/man_seg000.tif"
    draw(file, np.zeros((SIDE, SIDE + 1), np.uint16))
    with pytest.raises(DataError, match=r"one size \(width x height\) in '.*man_seg000.tif', got 17x16 and 16x16"):
        load(f"cell-tracking:{root}")
    draw(file, np.zeros((SIDE, SIDE, 3), np.uint8))
    with pytest.raises(DataError, match=r"expected a grey image of 8 or 16 bits in '.*man_seg000.tif'.* 'RGB'"):
        load(f"cell-tracking:{root}")
