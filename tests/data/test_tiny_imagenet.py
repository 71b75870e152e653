"""Tiny-ImageNet as it is distributed, drawn in small."""

from pathlib import Path

import pytest

from slimprune.data import TensorData, data_files, data_sets, load
from slimprune.errors import DataError

from .asserts import assert_describes_itself, random_image

NUMBERS = ("n02124075", "n01443537", "n02006656")
WORDS = "n01443537\tgoldfish, Carassius auratus\nn02006656\tcat\nn02124075\tcat, Egyptian cat\nn99\tother\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three classes of two training images each, four test images, and test images without labels."""
    folder = tmp_path / "tiny-imagenet-200"
    places = [folder / f"train/{number}/images/{number}_{index}.JPEG" for number in NUMBERS for index in range(2)]
    places += [folder / f"{part}/images/{part}_{index}.JPEG" for part in ("val", "test") for index in range(4)]
    for seed, place in enumerate(places):
        place.parent.mkdir(parents=True, exist_ok=True)
        random_image(seed).save(place)
    for number in NUMBERS:
        (folder / f"train/{number}/{number}_boxes.txt").write_text(f"{number}_0.JPEG\t0\t0\t7\t7\n")
    (folder / "wnids.txt").write_text("".join(f"{number}\n" for number in NUMBERS))
    (folder / "words.txt").write_text(WORDS)
    lines = [f"val_{index}.JPEG\t{NUMBERS[label]}\t0\t0\t7\t7\n" for index, label in ((2, 1), (0, 0), (1, 2), (3, 1))]
    (folder / "val/val_annotations.txt").write_text("".join(lines))
    return folder


def test_both_parts_with_their_labels(root: Path) -> None:
    data = load(f"tiny-imagenet:{root}")
    assert_describes_itself(data)
    assert isinstance(data, TensorData)
    assert (data.train_size, data.test_size, data.height, data.width) == (6, 4, 8, 8)
    assert data.parts["train"][1].tolist() == [0, 0, 1, 1, 2, 2]
    assert data.parts["test"][1].tolist() == [1, 0, 2, 1]
    streamed = load(f"tiny-imagenet:{root}", stream_above=0)
    assert next(iter(streamed.test_batches(4)))[1].tolist() == [1, 0, 2, 1]


def test_classes_are_named_by_words_that_only_they_have(root: Path) -> None:
    # "cat" is shared, so that n02124075 is the Egyptian cat, and n02006656 has no other word.
    assert load(f"tiny-imagenet:{root}").class_names == ("Egyptian cat", "goldfish", "n02006656")
    (root / "words.txt").unlink()
    assert load(f"tiny-imagenet:{root}").class_names == NUMBERS


def test_a_wanted_size_is_taken(root: Path) -> None:
    assert load(f"tiny-imagenet:{root}", image_size=6).height == 6


def test_it_is_listed_and_its_files_are_known(root: Path) -> None:
    assert "tiny-imagenet:DIR" in dict(data_sets())
    files = data_files(f"tiny-imagenet:{root}")
    assert len(files) == 2 + 6 + 4
    assert root / "val/val_annotations.txt" in files


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("wnids.txt", None, "expected '.*wnids.txt' of Tiny-ImageNet, got No such file"),
        ("wnids.txt", "", "expected WordNet numbers, each once, in .*, got 0 lines"),
        ("wnids.txt", "n1\nn1\n", "expected WordNet numbers, each once, in .*, got 2 lines"),
        ("wnids.txt", "../n1\n", "expected WordNet numbers such as n01443537 in .*, got '../n1'"),
        ("wnids.txt", "n5\n", "expected a folder of images '.*n5/images', got No such file"),
        ("val/val_annotations.txt", None, "expected '.*val_annotations.txt' of Tiny-ImageNet"),
        ("val/val_annotations.txt", "\n", "expected images in '.*val_annotations.txt', found none"),
        ("val/val_annotations.txt", "val_0.JPEG\tn3\n", "one of the 3 classes in line 1 of .*, got 'val_0.JPEG"),
        ("val/val_annotations.txt", "../a.png\tn02124075\n", "expected FILE and one of the 3 classes in line 1"),
        ("val/val_annotations.txt", "val_9.JPEG\tn02124075\t0\t0\t1\t1\n", "val_9.JPEG"),
        ("val/val_annotations.txt", b"\xff\xfe\n", "got no text in UTF-8"),
    ],
)
def test_refusals(root: Path, file: str, text: str | bytes | None, message: str) -> None:
    if text is None:
        (root / file).unlink()
    else:
        (root / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        load(f"tiny-imagenet:{root}")


def test_a_class_without_images(root: Path) -> None:
    for image in (root / f"train/{NUMBERS[0]}/images").iterdir():
        image.unlink()
    with pytest.raises(DataError, match=r"expected images in '.*n02124075/images', found none"):
        load(f"tiny-imagenet:{root}")
