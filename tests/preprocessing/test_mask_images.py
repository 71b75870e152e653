import io

import numpy as np
import pytest
from PIL import Image

from slimprune.errors import DataError
from slimprune.preprocessing import is_lossy, read_mask

NUMBERS = np.array([[0, 1], [2, 255]])
COLOURS = [(0, 0, 0), (128, 0, 0), (0, 128, 0), *[(7, 7, 7)] * 252, (224, 224, 192)]
GREYS = [(0, 0, 0), (1, 1, 1), (2, 2, 2), *[(255, 255, 255)] * 253]


def encoded(image: Image.Image, file_format: str = "png") -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format)
    return stream.getvalue()


def palette(numbers: np.ndarray, colours: list[tuple[int, int, int]]) -> Image.Image:
    image = Image.fromarray(numbers.astype(np.uint8))
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([level for colour in colours for level in colour])
    return image


def grey(numbers: np.ndarray, dtype: type = np.uint8) -> Image.Image:
    return Image.fromarray(numbers.astype(dtype))


@pytest.mark.parametrize(
    "image",
    [
        grey(NUMBERS),
        grey(NUMBERS, np.uint16),
        palette(NUMBERS, COLOURS),
        palette(np.array([[0, 1], [2, 3]]), GREYS),
        grey(NUMBERS).convert("RGB"),
        grey(NUMBERS).convert("RGBA"),
        grey(NUMBERS).convert("LA"),
    ],
    ids=["grey", "16 bits", "colours of a palette", "greys of a palette", "RGB", "RGBA", "LA"],
)
def test_each_pixel_is_its_number(image: Image.Image):
    assert np.asarray(read_mask(encoded(image), "it")).tolist() == NUMBERS.tolist()


def test_black_and_white_are_0_and_255():
    for image in (Image.new("1", (1, 1), 1), Image.fromarray(np.full((1, 1), 65535, dtype=np.uint16))):
        assert read_mask(encoded(image), "it").getpixel((0, 0)) == 255


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            Image.new("RGB", (2, 2), (128, 0, 0)),
            r"the number of each pixel's class .* got the colour \(128, 0, 0\): save",
        ),
        (grey(NUMBERS + 300, np.uint16), "numbers up to 255, or of 0 and 65535, in it, got 300 to 555"),
    ],
)
def test_colours_and_large_numbers_are_refused(image: Image.Image, message: str):
    with pytest.raises(DataError, match=message) as caught:
        read_mask(encoded(image), "it")
    assert "\n" not in str(caught.value)


def test_only_jpeg_files_are_lossy(tmp_path):
    assert is_lossy(encoded(grey(NUMBERS), "jpeg"))
    assert not is_lossy(encoded(grey(NUMBERS)))
    grey(NUMBERS).save(tmp_path / "it.jpg")
    assert is_lossy(tmp_path / "it.jpg")
