import pytest
import torch

from slimprune.errors import UsageError
from slimprune.models import InputSpec
from slimprune.models.unet import UNetOptions, build, parse_options

from .asserts import assert_exports_with_any_batch, assert_maps, parameter_count

SMALL = InputSpec(3, 16, 24, 1)


def double(channels_in: int, channels_out: int) -> int:
    """Two 3x3 convolutions without bias, each with two norm parameters per channel."""
    return 9 * channels_in * channels_out + 9 * channels_out**2 + 4 * channels_out


def test_parameters_of_a_small_one():
    up = {"transposed": (4 * 16 * 8 + 8) + (4 * 8 * 4 + 4), "bilinear": (9 * 16 * 8 + 8) + (9 * 8 * 4 + 4)}
    down = double(3, 4) + double(4, 8) + double(8, 16)
    rest = double(16, 8) + double(8, 4) + (4 * 1 + 1)
    for upsampling, expected in up.items():
        model = build("unet", f"depth=2,width=4,upsampling={upsampling}", SMALL)
        assert parameter_count(model) == down + expected + rest


def test_parameters_of_the_default():
    with torch.device("meta"):
        model = build("unet", "", InputSpec(3, 32, 32, 1))
    widths = (64, 128, 256, 512, 1024)
    down = double(3, 64) + sum(double(width, 2 * width) for width in widths[:-1])
    up = sum((4 * width * width // 2 + width // 2) + double(width, width // 2) for width in widths[1:])
    assert parameter_count(model) == down + up + 65 == 31_037_633


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
@pytest.mark.parametrize("inputs", [SMALL, InputSpec(1, 8, 8, 3)])
def test_outputs_have_the_size_of_the_image(upsampling: str, inputs: InputSpec):
    model = build("unet", f"depth=2,width=4,upsampling={upsampling}", inputs)
    assert_maps(model, inputs, inputs.classes, inputs.height, inputs.width)


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
def test_exports(upsampling: str):
    assert_exports_with_any_batch(build("unet", f"depth=2,width=4,upsampling={upsampling}", SMALL), SMALL)


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
@pytest.mark.parametrize(("height", "width"), [(16, 20), (20, 16), (13, 7), (1, 1), (9, 32)])
def test_any_size_will_do(upsampling: str, height: int, width: int):
    inputs = InputSpec(3, height, width, 1)
    assert_maps(build("unet", f"depth=3,width=2,upsampling={upsampling}", inputs), inputs, 1, height, width)


def test_options_have_defaults():
    assert parse_options("") == UNetOptions(depth=4, width=64, upsampling="transposed")
    assert parse_options("upsampling=bilinear,depth=3") == UNetOptions(depth=3, width=64, upsampling="bilinear")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth=0", "expected unet depth to be an integer of at least 1, got '0'"),
        ("depth=", "expected unet depth to be an integer of at least 1, got ''"),
        ("width=1.5", "expected unet width to be an integer of at least 1, got '1.5'"),
        ("width=-4", "expected unet width to be an integer of at least 1, got '-4'"),
        ("upsampling=nearest", "expected unet upsampling to be transposed or bilinear, got 'nearest'"),
        ("height=3", "expected unet options depth, width and upsampling, each once, got 'height=3'"),
        ("depth=3,depth=4", "expected unet options depth, width and upsampling, each once, got 'depth=4'"),
    ],
)
def test_options_that_are_not_understood(text: str, message: str):
    with pytest.raises(UsageError, match=f"^{message}$"):
        parse_options(text)
