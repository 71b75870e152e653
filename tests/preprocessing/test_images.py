import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from slimprune.data.decoding import to_tensor
from slimprune.errors import DataError
from slimprune.preprocessing import Preprocessing, framed, image_size, read_grey, read_rgb
from tests.data.asserts import random_image, write_image


def test_pixels_arrive_unchanged(tmp_path: Path):
    image = random_image(0, width=5, height=7)
    image.save(tmp_path / "a.png")
    tensor = to_tensor(read_rgb(tmp_path / "a.png", "a"))
    assert tensor.dtype == torch.uint8
    assert torch.equal(tensor, torch.from_numpy(np.array(image)).permute(2, 0, 1))
    assert image_size(tmp_path / "a.png", "a") == (7, 5)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("LA", (77, 10), (77, 77, 77)),
        ("RGBA", (10, 20, 30, 0), (10, 20, 30)),
    ],
)
def test_other_modes_become_rgb(tmp_path: Path, mode: str, colour: object, expected: tuple[int, int, int]):
    tensor = to_tensor(read_rgb(write_image(tmp_path / "a.png", colour, mode=mode), "a"))
    assert tensor.shape == (3, 8, 8)
    assert tuple(tensor[:, 3, 3].tolist()) == expected


def test_palettes_become_rgb(tmp_path: Path):
    palette = Image.new("RGB", (8, 8), (200, 100, 50)).convert("P", palette=Image.Palette.ADAPTIVE)
    palette.save(tmp_path / "plain.gif")
    palette.save(tmp_path / "clear.png", transparency=b"\x00\x7f")
    for name in ("plain.gif", "clear.png"):
        assert to_tensor(read_rgb(tmp_path / name, name))[:, 0, 0].tolist() == [200, 100, 50]


def test_grey_values():
    stream = io.BytesIO()
    Image.new("1", (3, 2), 1).save(stream, "png")
    grey = to_tensor(read_grey(stream.getvalue(), "mask"))
    assert grey.shape == (1, 2, 3)
    assert grey.unique().tolist() == [255]


@pytest.mark.parametrize(("deep", "grey"), [(0, 0), (128, 0), (129, 1), (257 * 77, 77), (65535, 255)])
def test_sixteen_bits_become_eight(tmp_path: Path, deep: int, grey: int):
    Image.fromarray(np.full((4, 4), deep, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert to_tensor(read_rgb(tmp_path / "deep.png", "deep")).unique().tolist() == [grey]
    assert to_tensor(read_grey(tmp_path / "deep.png", "deep")).unique().tolist() == [grey]


@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        (np.full((2, 2), 0.5, np.float32), "8 or 16 bits per channel in a.tiff, got Pillow mode 'F'"),
        (np.full((2, 2), 65536, np.int32), "expected pixels in 0..65535 in a.tiff, got 65536 to 65536"),
    ],
)
def test_pixels_of_no_known_scale_are_refused(tmp_path: Path, pixels: np.ndarray, found: str):
    Image.fromarray(pixels).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match=re.escape(found)):
        read_rgb(tmp_path / "a.tiff", "a.tiff")


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(tmp_path: Path, kind: str, orientation: int):
    """Four colours in 16x32: wherever a viewer shows them is where they are."""
    image = Image.new("RGB", (32, 16))
    for number, colour in enumerate([(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)]):
        image.paste(colour, (16 * (number % 2), 8 * (number // 2), 16 * (number % 2) + 16, 8 * (number // 2) + 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"a.{kind}"
    image.save(file, **({} if kind in ("png", "tiff") else {"quality": 100}), exif=exif)
    found = read_rgb(file, "a")
    with Image.open(file) as opened:
        expected = ImageOps.exif_transpose(opened)
    assert np.array_equal(np.asarray(found), np.asarray(expected))
    assert image_size(file, "a") == (found.height, found.width) == ((16, 32) if orientation < 5 else (32, 16))


def test_exif_that_cannot_be_read_turns_nothing(tmp_path: Path):
    random_image(0, 6, 4).save(tmp_path / "a.jpg", exif=b"Exif\x00\x00no tags here")
    assert read_rgb(tmp_path / "a.jpg", "a").size == (6, 4)


@pytest.mark.parametrize("keep", [0, 3, 60, -200])
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_corrupt_images_are_named(kind: str, keep: int):
    stream = io.BytesIO()
    random_image(0, 40, 40).save(stream, kind)
    with pytest.raises(DataError) as caught:
        read_rgb(stream.getvalue()[:keep], "cat.img")
    assert str(caught.value).startswith("expected a readable image in cat.img, got ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"expected a readable image in gone, got FileNotFoundError"):
        image_size(tmp_path / "gone.png", "gone")


@pytest.mark.parametrize(
    ("size", "columns"),
    [
        ((40, 20), range(10, 30)),  # as high as the input already
        ((20, 20), range(20)),
        ((80, 40), range(20, 60, 2)),  # twice as large: shrunk, then the centre
    ],
)
def test_an_image_is_shrunk_to_cover_the_input_and_its_centre_cropped(size: tuple[int, int], columns: range):
    width, height = size
    pixels = np.broadcast_to(np.arange(width, dtype=np.uint8), (height, width))
    how = Preprocessing((0.5,), (0.5,), 20, 20, interpolation="nearest")
    found = np.asarray(framed(Image.fromarray(pixels), how))
    assert found.shape == (20, 20)
    assert np.array_equal(found[0] // columns.step, np.array(columns) // columns.step)


def test_an_input_that_is_not_square_is_covered_as_well():
    how = Preprocessing((0.5,), (0.5,), 10, 40)
    for size in ((40, 10), (80, 10), (41, 90), (3, 3)):
        assert framed(Image.new("L", size), how).size == (40, 10)
