import pytest
import torch
from torch.nn.functional import interpolate
from torchvision.transforms import v2

from slimprune.data import TensorData, load
from slimprune.data.augmentation import Augmentation, seeded_generator
from slimprune.data.resized_crops import ResizedCrops, resize
from slimprune.errors import UsageError


def test_crops_are_those_of_torchvision():
    drawn = ResizedCrops(0.25, 12, 16).draw(torch.Generator().manual_seed(3), 50)
    seed = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(3)))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        first = v2.RandomResizedCrop(1, (0.25, 1.0)).make_params([torch.empty(1, 12, 16)])
    assert drawn[0].tolist() == [first[side] for side in ("top", "left", "height", "width")]
    top, left, height, width = drawn.unbind(1)
    assert bool(((top >= 0) & (left >= 0) & (top + height <= 12) & (left + width <= 16)).all())
    assert 0.2 < float((height * width).min()) / (12 * 16) < 0.4


@pytest.mark.parametrize(("nearest", "mode"), [(False, "bilinear"), (True, "nearest-exact")])
def test_a_crop_is_resized_as_by_itself(nearest, mode):
    images = torch.randint(0, 256, (3, 2, 10, 14), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    crops = torch.tensor([[0, 0, 10, 14], [3, 5, 4, 6], [2, 0, 8, 5]])
    for image, (top, left, height, width), found in zip(
        images, crops, resize(images, crops, nearest=nearest), strict=True
    ):
        part = image[None, :, top : top + height, left : left + width].float()
        torch.testing.assert_close(found, interpolate(part, (10, 14), mode=mode)[0], rtol=0, atol=1e-2)


def test_batches_depend_on_seed_and_epoch_alone():
    data, state = load("digits"), torch.get_rng_state()
    cropped = [data.train_batches(64, seed=seed, random_resized_crop=0.3) for seed in (0, 0, 1)]
    first, again, other = (next(iter(batches)) for batches in cropped)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    plain = next(iter(data.train_batches(64)))
    assert torch.equal(first[1], plain[1])
    assert not torch.equal(first[0], plain[0])
    cropped[1].set_epoch(2)
    assert not torch.equal(next(iter(cropped[1]))[0], first[0])
    assert torch.equal(torch.get_rng_state(), state)


def test_masks_are_cropped_with_their_images():
    """Images whose only channel is the mask itself stay equal to it, up to the edges that are interpolated."""
    generator = seeded_generator(0, 0, 0)
    masks = (torch.rand(16, 1, 4, 4, generator=generator) > 0.5).to(torch.uint8).repeat_interleave(8, 2)
    masks = masks.repeat_interleave(8, 3)
    data = TensorData.from_arrays("masks", 255 * masks, masks, masks, masks, augmentation=Augmentation(flip=True))
    images, targets = next(iter(data.train_batches(16, random_resized_crop=0.3)))
    found = data.pixels(images).float() / 255
    assert targets.shape == masks.shape
    assert float(((found > 0.5) == (targets > 0.5)).float().mean()) > 0.98
    assert data.class_counts().tolist() == [int((masks == 0).sum()), int(masks.sum())]


def test_a_share_outside_its_range_is_refused():
    with pytest.raises(UsageError, match=r"random_resized_crop in \(0, 1\), got 1.5"):
        load("digits").train_batches(8, random_resized_crop=1.5)


def test_labels_are_counted():
    counts = load("digits").class_counts()
    assert len(counts) == 10
    assert int(counts.sum()) == load("digits").train_size
