import pytest
from PIL import Image

from slimprune.data.decoding import choose_size, squared, to_tensor

from .asserts import random_image


@pytest.mark.parametrize(("width", "height"), [(40, 20), (20, 40), (33, 50), (7, 9), (16, 16), (1, 30)])
def test_framed_images_are_square(width: int, height: int):
    assert squared(random_image(0, width, height), 16, Image.Resampling.BILINEAR).size == (16, 16)


def test_framing_keeps_the_centre():
    image = Image.new("L", (30, 10), 0)
    image.paste(255, (10, 0, 20, 10))
    assert to_tensor(squared(image, 10, Image.Resampling.NEAREST)).unique().tolist() == [255]
    assert squared(image, None, Image.Resampling.NEAREST) is image


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
