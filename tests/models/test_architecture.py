import pytest

from slimprune.errors import UsageError
from slimprune.models.architecture import InputSpec, refuse_options


@pytest.mark.parametrize("numbers", [(0, 32, 32, 10), (3, 0, 32, 10), (3, 32, -1, 10), (3, 32, 32, 0)])
def test_input_spec_wants_positive_numbers(numbers: tuple[int, int, int, int]):
    with pytest.raises(UsageError, match=r"^expected channels, height, width and classes of at least 1, got InputSpec"):
        InputSpec(*numbers)


@pytest.mark.parametrize(
    ("height", "width", "small"), [(32, 32, True), (64, 64, True), (65, 32, False), (32, 65, False)]
)
def test_both_sides_decide_whether_an_input_is_small(height: int, width: int, small: bool):
    assert InputSpec(3, height, width, 10).small is small


def test_options_are_refused():
    refuse_options("vgg19", "")
    with pytest.raises(UsageError, match="expected no options for 'vgg19', got 'depth=3'"):
        refuse_options("vgg19", "depth=3")
