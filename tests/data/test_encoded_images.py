"""Image files that are decoded to no more than the size that is stored."""

import io
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from slimprune.data import ImageData, StreamedData, load
from slimprune.data.batches import TrainBatches
from slimprune.data.encoded_images import random_crop, to_size
from slimprune.preprocessing import filled, read_reduced, read_rgb
from slimprune.ranks.group import Ranks
from tests.data.asserts import assert_equal_batches, random_image

BILINEAR = Image.Resampling.BILINEAR


def encoded(kind: str = "jpeg", orientation: int = 1) -> bytes:
    """A smooth image of 101 x 74, whose halves and quarters are no whole pixels."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    random_image(1, 6, 5).resize((101, 74), BILINEAR).save(file, kind, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("size", "factor"), [(18, 4), (37, 2), (40, 1)])
def test_jpegs_are_decoded_to_a_part_of_their_size_that_is_enough(size: int, factor: int, orientation: int) -> None:
    data = encoded(orientation=orientation)
    reduced = read_reduced(data, "a", lambda *whole: (size, size))
    assert reduced.factor == factor
    assert min(reduced.image.size) == -(-74 // factor)
    found = np.asarray(to_size(data, "a", size), dtype=float)
    whole = np.asarray(filled(read_rgb(data, "a"), size, size, BILINEAR), dtype=float)
    if factor == 1:
        assert np.array_equal(found, whole)
    assert np.abs(found - whole).mean() < 1.3


@pytest.mark.parametrize(("kind", "orientation"), [("png", 1), ("tiff", 6)])
def test_other_files_are_decoded_whole(kind: str, orientation: int) -> None:
    data = encoded(kind, orientation)
    assert np.array_equal(to_size(data, "a", 16), filled(read_rgb(data, "a"), 16, 16, BILINEAR))


def test_images_without_a_size_are_left_as_they_are() -> None:
    assert to_size(encoded(), "a", None).size == (101, 74)


def test_crops_are_those_of_torchvision_from_the_whole_image() -> None:
    data, seeds = encoded("png"), range(5)
    for seed in seeds:
        own = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(seed)))
        with torch.random.fork_rng():
            torch.manual_seed(own)
            expected = v2.RandomResizedCrop(16, (0.2, 1.0))(read_rgb(data, "a"))
        assert np.array_equal(random_crop(data, "a", 16, 0.2, seed), expected)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_crops_of_reduced_jpegs_are_nearly_those_of_whole_ones(
    orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(orientation=orientation)
    found = [np.asarray(random_crop(data, "a", 12, 0.5, seed), dtype=float) for seed in range(5)]
    with monkeypatch.context() as context:
        context.setattr(Image.Image, "draft", lambda image, mode, size: None)
        context.setattr("PIL.JpegImagePlugin.JpegImageFile.draft", lambda image, mode, size: None)
        whole = [np.asarray(random_crop(data, "a", 12, 0.5, seed), dtype=float) for seed in range(5)]
    gaps = [np.abs(one - other).mean() for one, other in zip(found, whole, strict=True)]
    assert 0 < max(gaps) < 1.5


@pytest.fixture(scope="module")
def banded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images three times as wide as high, of which the centre alone is black."""
    root = tmp_path_factory.mktemp("banded")
    for number in range(12):
        place = root / ("val" if number > 8 else "train") / str(number % 3) / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (90, 30), (250, 20 * number, 0))
        image.paste((0, 0, 0), (30, 0, 60, 30))
        image.save(place)
    return root


def cropped(data: ImageData) -> TrainBatches:
    batches = data.train_batches(4, seed=3, random_resized_crop=0.1)
    batches.set_epoch(2)
    return batches


def test_files_are_cropped_alike_by_any_workers_and_ranks(banded: Path) -> None:
    held, read = (load(f"folder:{banded}", image_size=16, stream_above=above) for above in (2**31, 0))
    assert (
        int(held.pixels(next(iter(held.train_batches(9)))[0]).max()) < 100
    )  # the resized centre, and what surrounds it
    expected = list(cropped(held))
    assert int(held.pixels(expected[0][0]).max()) > 240
    for workers in (0, 2):
        assert_equal_batches(cropped(replace(cast(StreamedData, read), workers=workers)), expected)
    assert_equal_batches(cropped(read).skipping(1), expected[1:])
    shares = (cropped(read).shared(Ranks(index, 2)) for index in range(2))
    for (images, labels), *parts in zip(expected, *shares, strict=True):
        assert torch.equal(torch.cat([part[0] for part in parts]), images)
        assert torch.equal(torch.cat([part[1] for part in parts]), labels)


def test_chosen_files_are_cropped_too(banded: Path) -> None:
    for above in (2**31, 0):
        data = load(f"folder:{banded}", image_size=16, stream_above=above).with_fewer(5)
        images, labels = next(iter(data.train_batches(5, random_resized_crop=0.1)))
        assert len(labels) == 5
        assert int(data.pixels(images).max()) > 240
