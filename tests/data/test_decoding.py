import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from slimprune.data.decoding import choose_size, framed, image_size, read_grey, read_rgb, to_tensor
from slimprune.errors import DataError

from .asserts import random_image, write_image


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


def test_sixteen_bits_are_refused(tmp_path: Path):
    Image.fromarray(np.full((4, 4), 4000, dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"expected an image of 8 bits per channel in deep.png, got Pillow mode 'I"):
        read_rgb(tmp_path / "deep.png", "deep.png")


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


@pytest.mark.parametrize(("width", "height"), [(40, 20), (20, 40), (33, 50), (7, 9), (16, 16), (1, 30)])
def test_framed_images_are_square(width: int, height: int):
    assert framed(random_image(0, width, height), 16, Image.Resampling.BILINEAR).size == (16, 16)


def test_framing_keeps_the_centre():
    image = Image.new("L", (30, 10), 0)
    image.paste(255, (10, 0, 20, 10))
    assert to_tensor(framed(image, 10, Image.Resampling.NEAREST)).unique().tolist() == [255]
    assert framed(image, None, Image.Resampling.NEAREST) is image


@pytest.mark.parametrize(
    ("sizes", "wanted", "keep_large", "expected"),
    [
        ([(32, 32), (32, 32)], None, False, None),
        ([(64, 48)], None, False, None),
        ([(65, 48)], None, False, 224),
        ([(256, 256)], None, True, None),
        ([(32, 32), (32, 33)], None, True, 224),
        ([(32, 32), (32, 32)], 48, False, 48),
        ([(48, 48)], 48, False, None),
        ([(48, 50)], 48, False, 48),
    ],
)
def test_choose_size(sizes: list[tuple[int, int]], wanted: int | None, keep_large: bool, expected: int | None):
    assert choose_size(sizes, wanted, keep_large) == expected


def test_sizes_are_read_only_as_far_as_needed():
    sizes = iter([(8, 8), (8, 9), (8, 8)])
    assert choose_size(sizes, None, False) == 224
    assert next(sizes) == (8, 8)
