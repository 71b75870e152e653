import torch

from slimprune.data import Augmentation
from slimprune.data.digits import load_digits

from .asserts import assert_describes_itself


def test_digits():
    data = load_digits("digits")
    assert_describes_itself(data)
    assert (data.train_size, data.test_size) == (1797 - 360, 360)
    assert (data.channels, data.height, data.width) == (3, 32, 32)
    assert data.class_names == tuple("0123456789")
    assert data.augmentation == Augmentation(crop_padding=4, flip=False)


def test_every_fifth_digit_is_a_test_image():
    """The original order begins 0, 1, 2, ..., 9, 0, 1, ... three times."""
    data = load_digits("digits")
    assert data.parts["test"][1][:4].tolist() == [0, 5, 0, 5]
    assert data.parts["train"][1][:8].tolist() == [1, 2, 3, 4, 6, 7, 8, 9]


def test_every_class_is_in_both_parts():
    data = load_digits("digits")
    for part, least in (("train", 130), ("test", 25)):
        assert data.parts[part][1].bincount().min() > least


def test_eight_pixels_are_the_original():
    """Ink 0..16 becomes 0..255; a third of the full scale is the mean ink, 4.88 of 16."""
    images = load_digits("digits", image_size=8).parts["train"][0]
    assert images.shape == (1437, 3, 8, 8)
    assert set(images.unique().tolist()) == {round(level * 255 / 16) for level in range(17)}
    assert torch.equal(images[:, 0], images[:, 2])
    assert abs(images.float().mean().item() / 255 - 4.88 / 16) < 0.002
