"""torchvision's reader is replaced by one with the same interface and a few images."""

import sys
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from slimprune.data import Augmentation, cifar
from slimprune.errors import DataError, UsageError

from .asserts import assert_describes_itself


class Reader:
    base_folder = "batches"
    url = "https://example.org/archive.tar.gz"
    classes = ("cat", "dog")
    downloads = 0
    failure: Exception | None = None

    def __init__(self, root: str | Path, train: bool = True, download: bool = False) -> None:
        folder = Path(root) / self.base_folder
        if download:
            sys.stdout.write("progress")
            type(self).downloads += 1
            folder.mkdir()
            (folder / "file").write_text("half")
            if self.failure:
                raise self.failure
            (folder / "file").write_text("whole")
        if not (folder / "file").exists() or (folder / "file").read_text() != "whole":
            raise RuntimeError("Dataset not found or corrupted.")
        count = 6 if train else 4
        self.data = np.arange(count * 32 * 32 * 3, dtype=np.int64).astype(np.uint8).reshape(count, 32, 32, 3)
        self.targets = [0, 1] * (count // 2)


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> type[Reader]:
    fresh = type("FreshReader", (Reader,), {})
    monkeypatch.setattr(cifar, "find_reader", {"cifar10": fresh}.__getitem__)
    return fresh


def test_downloaded_once_and_without_a_word(reader: type[Reader], cache: Path, capfd: pytest.CaptureFixture[str]):
    for _ in range(2):
        data = cifar.load_cifar("cifar10")
        assert_describes_itself(data)
    assert reader.downloads == 1
    assert [entry.name for entry in cache.iterdir()] == ["batches"]
    assert capfd.readouterr() == ("", "")
    assert data.class_names == ("cat", "dog")
    assert (data.train_size, data.test_size) == (6, 4)
    assert data.augmentation == Augmentation(crop_padding=4, flip=True)
    assert data.parts["train"][0][0, :, 0, 1].tolist() == [3, 4, 5]


def test_damaged_files_are_downloaded_again(reader: type[Reader], cache: Path):
    cifar.load_cifar("cifar10")
    (cache / "batches" / "file").write_text("damaged")
    cifar.load_cifar("cifar10")
    assert reader.downloads == 2


@pytest.mark.parametrize("failure", [URLError("no\nname"), RuntimeError("File not found or corrupted."), EOFError()])
def test_a_failed_download_leaves_nothing(reader: type[Reader], cache: Path, failure: Exception):
    reader.failure = failure
    with pytest.raises(DataError) as caught:
        cifar.load_cifar("cifar10")
    message = str(caught.value)
    assert message.startswith(f"expected cifar10 in {cache} or at {reader.url}, got {type(failure).__name__}")
    assert message.endswith("(hf:DIR and tensors:DIR take local copies)")
    assert "\n" not in message
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written(reader: type[Reader], cache: Path):
    cache.write_text("a file in the folder's place")
    with pytest.raises(DataError, match="got FileExistsError"):
        cifar.load_cifar("cifar10")


def test_images_stay_32_pixels_wide(reader: type[Reader]):
    assert cifar.load_cifar("cifar10", image_size=32).height == 32
    with pytest.raises(UsageError, match="expected no image size for cifar10, whose images are 32x32, got 64"):
        cifar.load_cifar("cifar10", image_size=64)
