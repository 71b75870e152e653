import sys
from itertools import islice, product

import pytest
import torch

from slimprune.data import Augmentation, TensorData
from slimprune.data.augmentation import Draws
from slimprune.data.batches import Preparation
from slimprune.data.targets import KINDS
from slimprune.errors import UsageError

from .asserts import assert_equal_batches, labelled, masked, stored

CROP_AND_FLIP = Augmentation(crop_padding=2, flip=True)


def test_batches_follow_from_seed_and_epoch():
    data = labelled(augmentation=CROP_AND_FLIP)
    batches, resumed = data.train_batches(5, seed=7), data.train_batches(5, seed=7)
    first = list(batches)
    assert_equal_batches(first, batches)
    batches.set_epoch(3)
    resumed.set_epoch(3)
    assert_equal_batches(batches, resumed)
    assert not torch.equal(next(iter(batches))[1], first[0][1])
    assert not torch.equal(next(iter(data.train_batches(5, seed=8)))[1], first[0][1])


def test_the_global_generator_is_left_alone():
    data = labelled(augmentation=CROP_AND_FLIP)
    before = torch.get_rng_state()
    list(data.train_batches(5))
    list(data.test_batches(5))
    data.scoring_batches(5)[0]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(23, 5, [5, 5, 5, 5]), (20, 5, [5, 5, 5, 5]), (5, 5, [5]), (4, 5, [4]), (1, 64, [1]), (3, 1, [1, 1, 1])],
)
def test_the_last_incomplete_batch_is_left_out_unless_alone(count: int, batch_size: int, sizes: list[int]):
    batches = labelled(count).train_batches(batch_size)
    assert [len(targets) for _, targets in batches] == sizes
    assert len(batches) == len(sizes)


def test_an_epoch_holds_distinct_samples_with_their_own_targets():
    data = labelled(20)
    seen = []
    for images, targets in data.train_batches(5, augment=False):
        expected = data.parts["train"][0][targets].float()
        torch.testing.assert_close(stored(data, images), expected, atol=1e-3, rtol=0)
        seen += targets.tolist()
    assert sorted(seen) == list(range(20))


def test_test_batches_hold_every_sample_in_order():
    data = labelled(23, augmentation=CROP_AND_FLIP)
    batches = data.test_batches(5)
    assert [targets.tolist() for _, targets in batches] == [list(range(n, min(n + 5, 23))) for n in range(0, 23, 5)]
    assert len(batches) == 5
    images = torch.cat([images for images, _ in batches])
    torch.testing.assert_close(stored(data, images), data.parts["test"][0].float(), atol=1e-3, rtol=0)
    assert torch.equal(data.samples(4), images[:4])
    assert torch.equal(data.samples(99), images)


def test_normalised_training_images_have_mean_zero_and_deviation_one():
    images = torch.cat([images for images, _ in labelled(20).train_batches(5, augment=False)])
    assert images.mean(dim=(0, 2, 3)).abs().max() < 1e-5
    assert (images.std(dim=(0, 2, 3), correction=0) - 1).abs().max() < 1e-5


def test_what_a_crop_moves_in_is_the_mean():
    data = labelled(20, augmentation=Augmentation(crop_padding=8))
    images = torch.cat([images for images, _ in data.train_batches(5)])
    plain = {
        round(value, 4) for value in torch.cat([i for i, _ in data.train_batches(5, augment=False)]).flatten().tolist()
    }
    found = {round(value, 4) for value in images.flatten().tolist()}
    assert 0.0 in found
    assert found <= plain | {0.0, -0.0}


def test_augmentation_can_be_switched_off():
    data = labelled(augmentation=CROP_AND_FLIP)
    plain = labelled(augmentation=None)
    assert_equal_batches(data.train_batches(5, augment=False), plain.train_batches(5, augment=False))
    augmented, _ = next(iter(data.train_batches(5)))
    assert not torch.equal(augmented, next(iter(data.train_batches(5, augment=False)))[0])


def test_masks_move_along_with_their_images():
    data = masked()
    moved, still = (torch.cat([images for images, _ in data.train_batches(3, augment=on)]) for on in (True, False))
    assert not torch.equal(moved, still)
    for images, masks in (*data.train_batches(3), *islice(data.scoring_batches(3), 4)):
        torch.testing.assert_close(stored(data, images), masks * 255, atol=1e-3, rtol=0)


@pytest.mark.parametrize("choices", list(product([False, True], repeat=3)))
def test_a_marked_pixel_and_its_mask_move_to_one_place(choices: tuple[bool, bool, bool]):
    mirrored, upended, turned = choices
    images = torch.zeros(1, 2, 5, 5, dtype=torch.uint8)
    images[0, :, 1, 3] = 255
    preparation = Preparation(
        torch.zeros(2, 1, 1), torch.ones(2, 1, 1), Augmentation(flip=True, turn=True), KINDS["segmentation"]
    )
    draws = Draws(*(torch.tensor([choice]) for choice in (0, 0, mirrored, upended, turned)))
    moved, mask = preparation(images, images[:, :1] // 255, draws)
    row, column = (3, 1) if turned else (1, 3)
    place = (4 - row if upended else row, 4 - column if mirrored else column)
    assert mask[0].nonzero().tolist() == [[0, *place]]
    assert moved[0].nonzero().tolist() == [[0, *place], [1, *place]]
    assert float(moved.max()) == 1.0


def test_a_square_comes_in_all_eight_positions():
    masks = [mask for _, mask in islice(masked(count=1).scoring_batches(1), 200)]
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == 8


def test_a_scoring_batch_is_the_same_whenever_it_is_asked_for():
    data = labelled(augmentation=CROP_AND_FLIP)
    batches, again = data.scoring_batches(5, seed=1), data.scoring_batches(5, seed=1)
    forward = [batches[t] for t in range(4)]
    assert_equal_batches(forward, [again[t] for t in (3, 2, 1, 0)][::-1])
    assert_equal_batches(forward, islice(batches, 4))
    others = (batches[4], data.scoring_batches(5, seed=2)[0], next(iter(data.train_batches(5, seed=1))))
    assert all(not torch.equal(forward[0][1], targets) for _, targets in others)


def test_scoring_batches_hold_distinct_samples_and_never_end():
    batches = labelled(10).scoring_batches(8)
    assert len(batches) == sys.maxsize
    for number in (0, 1, 10**9):
        assert len(set(batches[number][1].tolist())) == 8
    assert sorted(labelled(10).scoring_batches(64)[0][1].tolist()) == list(range(10))
    with pytest.raises(IndexError, match="expected a batch number of at least 0, got -1"):
        batches[-1]


@pytest.mark.parametrize("make", ["train_batches", "test_batches", "scoring_batches"])
def test_batch_sizes_are_positive(make: str):
    with pytest.raises(UsageError, match="expected a batch size of at least 1, got 0"):
        getattr(labelled(), make)(0)


@pytest.mark.parametrize("make", ["train_batches", "scoring_batches"])
def test_seeds_are_not_negative(make: str):
    with pytest.raises(UsageError, match="expected a seed of at least 0, got -1"):
        getattr(labelled(), make)(2, seed=-1)


def unequal() -> TensorData:
    """12, 8 and 4 images of three classes, each with its number as a pixel."""
    labels = torch.tensor([0] * 12 + [1] * 8 + [2] * 4)
    images = torch.arange(24, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    names = ("a", "b", "c")
    return TensorData.from_arrays("unequal", images, labels, images[:3], torch.tensor([0, 1, 2]), names)


def test_balanced_batches_hold_equally_many_distinct_samples_of_each_class():
    data = unequal()
    batches = data.scoring_batches(9, seed=3, balanced=True)
    seen = set()
    for images, targets in islice(batches, 20):
        assert torch.bincount(targets).tolist() == [3, 3, 3]
        numbers = stored(data, images)[:, 0, 2, 2].round().int().tolist()
        seen |= set(numbers)
    assert torch.equal(batches[5][0], data.scoring_batches(9, seed=3, balanced=True)[5][0])
    assert not torch.equal(batches[5][0], batches[6][0])
    assert len(seen) == 24


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (10, "expected score_batch as a multiple of the 3 classes, got 10"),
        (15, "expected at least 5 training images of class 2, got 4"),
    ],
)
def test_batches_that_cannot_be_balanced(size: int, message: str):
    with pytest.raises(UsageError, match=message):
        unequal().scoring_batches(size, balanced=True)


def test_only_labels_can_be_balanced():
    with pytest.raises(UsageError, match="expected one label for each image to balance the classes, got"):
        masked().scoring_batches(2, balanced=True)
    without = unequal().with_training_part(torch.arange(20))
    with pytest.raises(UsageError, match="expected training images of every class to balance them, got none of 2"):
        without.scoring_batches(3, balanced=True)
