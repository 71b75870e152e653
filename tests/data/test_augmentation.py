import pytest
import torch
from torch import Tensor

from slimprune.data.augmentation import (
    Augmentation,
    Draws,
    default_augmentation,
    draw,
    move,
    seeded_generator,
    turn,
)

IMAGE = torch.arange(1, 13, dtype=torch.uint8).view(1, 1, 3, 4)


def draws(down: int = 0, right: int = 0, mirrored: bool = False, upended: bool = False, turned: bool = False) -> Draws:
    return Draws(*(torch.tensor([choice]) for choice in (down, right, mirrored, upended, turned)))


def moved(image: Tensor, choice: Draws) -> list[list[int]]:
    pixels, inside = move(image, choice)
    return (pixels * inside)[0, 0].tolist()


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (draws(), [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]),
        (draws(mirrored=True), [[4, 3, 2, 1], [8, 7, 6, 5], [12, 11, 10, 9]]),
        (draws(upended=True), [[9, 10, 11, 12], [5, 6, 7, 8], [1, 2, 3, 4]]),
        (draws(down=1), [[5, 6, 7, 8], [9, 10, 11, 12], [0, 0, 0, 0]]),
        (draws(down=-2), [[0, 0, 0, 0], [0, 0, 0, 0], [1, 2, 3, 4]]),
        (draws(right=2), [[3, 4, 0, 0], [7, 8, 0, 0], [11, 12, 0, 0]]),
        (draws(down=-1, right=-1), [[0, 0, 0, 0], [0, 1, 2, 3], [0, 5, 6, 7]]),
        (draws(right=4), [[0, 0, 0, 0]] * 3),
    ],
)
def test_move(choice: Draws, expected: list[list[int]]):
    assert moved(IMAGE, choice) == expected


def test_each_image_and_every_channel_moves_by_its_own_draw():
    images = torch.randint(0, 256, (5, 3, 6, 7), dtype=torch.uint8)
    choice = draw(seeded_generator(0, 0, 0), 5, Augmentation(2, flip=True), segmentation=True)
    together, inside = move(images, choice)
    for index, alone in enumerate(choice.split(1)):
        pixels, within = move(images[index : index + 1], alone)
        assert torch.equal(together[index : index + 1], pixels)
        assert torch.equal(inside[index : index + 1], within)


def test_a_crop_equals_a_crop_of_the_padded_image():
    image = torch.rand(1, 3, 8, 8)
    padded = torch.nn.functional.pad(image, (4, 4, 4, 4))
    for down, right in ((-4, 4), (0, 3), (2, -1)):
        pixels, inside = move(image, draws(down, right))
        assert torch.equal(pixels * inside, padded[:, :, 4 + down : 12 + down, 4 + right : 12 + right])


def test_draws_reach_all_offsets_evenly():
    choice = draw(seeded_generator(0, 0, 0), 9000, Augmentation(crop_padding=4, flip=True), segmentation=False)
    for offsets in (choice.down, choice.right):
        assert offsets.unique().tolist() == list(range(-4, 5))
        assert int((offsets == 4).sum()) == pytest.approx(1000, abs=120)
    assert int(choice.mirrored.sum()) == pytest.approx(4500, abs=200)
    assert not choice.upended.any()


def test_only_masks_are_upended_and_nothing_happens_without_augmentation():
    assert draw(seeded_generator(0, 0, 0), 99, Augmentation(flip=True), segmentation=True).upended.any()
    still = draw(seeded_generator(0, 0, 0), 99, Augmentation(), segmentation=True)
    assert not any(part.any() for part in (still.down, still.right, still.mirrored, still.upended, still.turned))


def test_turning_comes_after_all_other_draws():
    plain, turning = (
        draw(seeded_generator(3, 0, 0), 50, Augmentation(2, flip=True, turn=turn), segmentation=True)
        for turn in (False, True)
    )
    for name in ("down", "right", "mirrored", "upended"):
        assert torch.equal(getattr(plain, name), getattr(turning, name))
    assert not plain.turned.any()
    assert 10 < int(turning.turned.sum()) < 40


SQUARE = torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8).view(1, 1, 2, 2)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (draws(), [[1, 2], [3, 4]]),
        (draws(mirrored=True), [[2, 1], [4, 3]]),
        (draws(upended=True), [[3, 4], [1, 2]]),
        (draws(mirrored=True, upended=True), [[4, 3], [2, 1]]),  # half a turn
        (draws(turned=True), [[1, 3], [2, 4]]),  # exchanged rows and columns
        (draws(turned=True, mirrored=True), [[3, 1], [4, 2]]),  # a quarter turn clockwise
        (draws(turned=True, upended=True), [[2, 4], [1, 3]]),  # a quarter turn the other way
        (draws(turned=True, mirrored=True, upended=True), [[4, 2], [3, 1]]),
    ],
)
def test_the_eight_positions_of_a_square(choice: Draws, expected: list[list[int]]):
    assert moved(turn(SQUARE, choice), choice) == expected


def test_generators_depend_on_every_number_of_the_triple():
    numbers = {
        triple: int(torch.randint(2**60, (1,), generator=seeded_generator(*triple)))
        for triple in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (2**70, 0, 0))
    }
    assert len(set(numbers.values())) == len(numbers)
    assert int(torch.randint(2**60, (1,), generator=seeded_generator(1, 1, 0))) == numbers[1, 1, 0]


@pytest.mark.parametrize(
    ("height", "width", "segmentation", "expected"),
    [
        (32, 32, False, Augmentation(4, True)),
        (64, 64, False, Augmentation(4, True)),
        (224, 224, False, Augmentation(28, True)),
        (96, 80, False, Augmentation(10, True)),
        (256, 256, True, Augmentation(0, True, turn=True)),
        (256, 192, True, Augmentation(0, True)),
    ],
)
def test_default_augmentation(height: int, width: int, segmentation: bool, expected: Augmentation):
    assert default_augmentation(height, width, segmentation) == expected
