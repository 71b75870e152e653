import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slimprune.data import Augmentation, StreamedData, TensorData
from slimprune.data.huggingface import load_huggingface
from slimprune.errors import DataError

from .asserts import SHARED_DATA, assert_describes_itself, assert_equal_batches, random_image

datasets = pytest.importorskip("datasets")

IMAGES = [random_image(seed) for seed in range(6)]
MASKS = [Image.new("1", (8, 8), seed % 2) for seed in range(6)]
LABELS = [0, 1, 0, 1, 0, 1]
CLASSES = datasets.ClassLabel(names=["cat", "dog"])


def write(folder: Path, columns: dict[str, list], features: dict[str, object], splits=("train", "test")) -> str:
    """Write the columns as parquet, the same rows for every split."""
    folder.mkdir(parents=True, exist_ok=True)
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    for split in splits:
        table.to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))
    return str(folder)


def pets(folder: Path, images: list[Image.Image] = IMAGES, splits=("train", "test")) -> str:
    features = {"img": datasets.Image(), "label": CLASSES, "id": datasets.Value("int64")}
    return write(folder, {"img": images, "label": LABELS, "id": [0] * 6}, features, splits)


def test_labels(tmp_path: Path, cache: Path, capfd: pytest.CaptureFixture[str]):
    folder = pets(tmp_path / "pets")
    capfd.readouterr()
    data = load_huggingface("hf:pets", folder)
    assert capfd.readouterr() == ("", "")
    assert_describes_itself(data)
    assert isinstance(data, TensorData)
    assert (data.class_names, data.train_size, data.height) == (("cat", "dog"), 6, 8)
    assert data.parts["test"][1].tolist() == LABELS
    assert data.augmentation == Augmentation(crop_padding=4, flip=True)
    assert [entry.name for entry in cache.iterdir()] == ["huggingface"]


def test_masks(tmp_path: Path):
    features = {"image": datasets.Image(), "cell_Mask": datasets.Image()}
    data = load_huggingface("it", write(tmp_path / "a", {"image": IMAGES, "cell_Mask": MASKS}, features))
    assert_describes_itself(data)
    assert (data.task, data.class_names) == ("segmentation", ("cell_Mask",))
    assert data.parts["train"][1].flatten(1).float().mean(dim=1).tolist() == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("bright", [1, 255])
def test_masks_of_zero_and_one_and_of_black_and_white_are_alike(tmp_path: Path, bright: int):
    masks = [Image.new("L", (8, 8), bright * (seed % 2)) for seed in range(6)]
    features = {"image": datasets.Image(), "mask": datasets.Image()}
    grey = [image.convert("L") for image in IMAGES]
    data = load_huggingface("it", write(tmp_path / "a", {"image": grey, "mask": masks}, features))
    assert_describes_itself(data)
    assert data.parts["test"][1].flatten(1).float().mean(dim=1).tolist() == [0, 1, 0, 1, 0, 1]


def test_masks_of_classes(tmp_path: Path):
    masks = [Image.fromarray(np.full((8, 8), value, dtype=np.uint8)) for value in (0, 1, 2, 255, 2, 1)]
    features = {"image": datasets.Image(), "annotation": datasets.Image()}
    folder = write(tmp_path / "a", {"image": IMAGES, "annotation": masks}, features)
    data, streamed = load_huggingface("it", folder), load_huggingface("it", folder, stream_above=0)
    assert (data.task, data.class_names) == ("semantic-segmentation", ("0", "1", "2"))
    (_, targets), *_ = data.test_batches(6)
    assert targets[:, 0, 0].tolist() == [0, 1, 2, 255, 2, 1]
    assert_equal_batches(streamed.train_batches(2, seed=1), data.train_batches(2, seed=1))


def test_columns_of_numbers_are_values(tmp_path: Path):
    features = {"image": datasets.Image(), "x": datasets.Value("float32"), "y": datasets.Value("float64")}
    columns = {"image": IMAGES, "x": [0.5 * n for n in range(6)], "y": [float(n) for n in range(6)]}
    data = load_huggingface("it", write(tmp_path / "a", columns, features))
    assert (data.task, data.class_names, data.augmentation) == ("regression", ("x", "y"), Augmentation())
    (_, targets), *_ = data.test_batches(6)
    assert targets.tolist() == [[0.5 * n, n] for n in range(6)]


def test_large_data_is_streamed_alike(tmp_path: Path):
    folder = pets(tmp_path / "pets")
    held, streamed = load_huggingface("it", folder), load_huggingface("it", folder, stream_above=0)
    assert isinstance(streamed, StreamedData)
    assert_equal_batches(streamed.train_batches(2, seed=1), held.train_batches(2, seed=1))


def test_a_folder_may_bear_the_name_of_a_file_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pets(tmp_path / "parquet")
    monkeypatch.chdir(tmp_path)
    assert load_huggingface("it", "parquet").train_size == 6


def test_validation_stands_in_for_test(tmp_path: Path):
    assert load_huggingface("it", pets(tmp_path / "pets", splits=("train", "validation"))).test_size == 6


def test_integers_of_few_values_are_labels(tmp_path: Path):
    features = {"image": datasets.Image(), "digit": datasets.Value("int64"), "row": datasets.Value("int64")}
    columns = {"image": IMAGES, "digit": [7, 3, 7, 3, 3, 7], "row": list(range(6))}
    data = load_huggingface("it", write(tmp_path / "a", columns, features))
    assert data.class_names == ("3", "7")
    assert data.parts["train"][1].tolist() == [1, 0, 1, 0, 0, 1]


def test_unlike_sizes_become_squares(tmp_path: Path):
    images = [random_image(0, 10, 8), *IMAGES[1:]]
    assert load_huggingface("it", pets(tmp_path / "pets", images), image_size=12).height == 12
    assert load_huggingface("it", pets(tmp_path / "pets", images), image_size=None).height == 224


def test_changed_files_are_read_anew(tmp_path: Path):
    folder = pets(tmp_path / "one/pets")
    first = load_huggingface("it", folder).parts["train"][0]
    other = load_huggingface("it", pets(tmp_path / "two/pets", [*IMAGES[1:], IMAGES[0]])).parts["train"][0]
    assert not first.equal(other)
    pets(tmp_path / "one/pets", [*IMAGES[1:], IMAGES[0]])
    for path in Path(folder).iterdir():
        os.utime(path, (2_000_000_000, 2_000_000_000))
    assert load_huggingface("it", folder).parts["train"][0].equal(other)


IMAGE, INTEGER, TEXT = datasets.Image(), datasets.Value("int64"), datasets.Value("string")
REFUSED = [
    ({"label": LABELS}, {"label": CLASSES}, "expected one image column, or two of which one has 'mask'"),
    ({"a": IMAGES, "b": IMAGES, "label": LABELS}, {"a": IMAGE, "b": IMAGE, "label": CLASSES}, "got a, b"),
    ({"my_mask": IMAGES, "label": LABELS}, {"my_mask": IMAGE, "label": CLASSES}, "got my_mask"),
    ({"a": IMAGES, "text": ["x"] * 6}, {"a": IMAGE, "text": TEXT}, "expected one label column, .* got none of a, text"),
    ({"a": IMAGES, "row": list(range(6))}, {"a": IMAGE, "row": INTEGER}, "got none of a, row"),
    ({"a": IMAGES, "x": LABELS, "y": LABELS}, {"a": IMAGE, "x": INTEGER, "y": INTEGER}, "got x, y of a, x, y"),
    ({"a": IMAGES, "x": LABELS, "y": LABELS}, {"a": IMAGE, "x": CLASSES, "y": CLASSES}, "got x, y of a, x, y"),
    ({"a": IMAGES, "label": [-1] * 6}, {"a": IMAGE, "label": CLASSES}, "a known label in row 0 of train in .* got -1"),
    (
        {"a": IMAGES, "mask": [Image.new("L", (8, 8), 38 * seed) for seed in range(6)]},
        {"a": IMAGE, "mask": IMAGE},
        "of 0 and 255, or of classes 0, 1, 2, ... with 255 to ignore, in .* got 0, 38, 76, 114, 152, 190",
    ),
    (
        {"a": IMAGES, "b": [0.0, float("nan")] * 3},
        {"a": IMAGE, "b": datasets.Value("float64")},
        "expected a finite number in row 1 of train in .*, column 'b', got nan",
    ),
]


@pytest.mark.parametrize(("columns", "features", "message"), REFUSED)
def test_other_columns_are_refused(tmp_path: Path, columns: dict, features: dict, message: str):
    with pytest.raises(DataError, match=message) as caught:
        load_huggingface("it", write(tmp_path / "a", columns, features))
    assert "\n" not in str(caught.value)


def test_corrupt_images_are_named(tmp_path: Path):
    encoded = [{"bytes": b"\x89PNG no more", "path": None}] * 6
    folder = pets(tmp_path / "pets", encoded)
    with pytest.raises(DataError, match=r"expected a readable image in row 0 of train in '.*pets', column 'img', got"):
        load_huggingface("it", folder)


def test_both_splits_are_needed(tmp_path: Path):
    with pytest.raises(DataError, match=r"expected splits train and test \(or validation\) in '.*', got train"):
        load_huggingface("it", pets(tmp_path / "pets", splits=("train",)))


def test_unreadable_folders_are_one_line(tmp_path: Path):
    with pytest.raises(DataError, match=r"^expected a readable data set .*, got EmptyDatasetError: [^\n]*$"):
        load_huggingface("it", str(tmp_path))
    (tmp_path / "train.parquet").write_text("not parquet")
    with pytest.raises(DataError, match=r"^expected a readable data set .*, got [^\n]*$"):
        load_huggingface("it", str(tmp_path))


def test_a_missing_folder_is_not_looked_for_on_the_hub():
    message = "expected a folder or a name on the Hugging Face hub, found no folder './nowhere'"
    with pytest.raises(DataError, match=message):
        load_huggingface("it", "./nowhere")


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch):
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach\nthe hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(DataError, match=r"on the hub at 'some/name', got ConnectionError: Couldn't reach the hub$"):
        load_huggingface("it", "some/name")


def test_the_package_may_be_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"found none \(pip install 'slimprune\[hf\]'\)"):
        load_huggingface("it", "some/name")


@pytest.mark.skipif(not (SHARED_DATA / "nuclei").is_dir(), reason="the nuclei images are not at hand")
def test_nuclei():
    data = load_huggingface("it", str(SHARED_DATA / "nuclei"), stream_above=0)
    assert_describes_itself(data)
    assert (data.train_size, data.test_size, data.height, data.task) == (464, 200, 256, "segmentation")
    share = next(iter(data.test_batches(8)))[1].mean().item()
    assert 0.02 < share < 0.5


@pytest.mark.skipif(not (SHARED_DATA / "cifar10").is_dir(), reason="CIFAR-10 is not at hand")
def test_cifar10():
    data = load_huggingface("it", str(SHARED_DATA / "cifar10"), stream_above=0)
    assert (data.train_size, data.test_size, data.height, data.classes) == (50_000, 10_000, 32, 10)
    assert data.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=0.03)
    images, labels = data.scoring_batches(4)[0]
    assert (images.shape, labels.shape) == ((4, 3, 32, 32), (4,))
