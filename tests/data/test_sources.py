import pytest

from slimprune.data import data_sets, load
from slimprune.data.sources import SOURCES
from slimprune.errors import DataError, UsageError


def test_every_source_has_a_pattern_and_one_line():
    listed = data_sets()
    assert {"digits", "folder:DIR", "hf:NAME_OR_DIR", "tensors:DIR"} <= dict(listed).keys()
    assert all(description and "\n" not in description for _, description in listed)
    assert all(pattern.partition(":")[0] == key for key, (pattern, _) in zip(SOURCES, listed, strict=True))


def test_names_reach_their_loader():
    assert load("digits").name == "digits"
    assert load("digits", image_size=16).height == 16


@pytest.mark.parametrize("prefix", ["folder", "tensors", "hf"])
def test_folders_reach_their_loader(prefix: str):
    with pytest.raises(DataError, match=r"/nowhere/at:all"):
        load(f"{prefix}:/nowhere/at:all")


@pytest.mark.parametrize("name", ["", "mnist", "folder:", "folder", "digits:", "digits:x", ":", "Digits"])
def test_unknown_names(name: str):
    with pytest.raises(UsageError) as caught:
        load(name)
    known = ", ".join(pattern for pattern, _ in data_sets())
    expected = f"expected a data set ({known}, file.py:NAME or package.module:NAME), got {name!r}"
    assert str(caught.value).startswith(expected)


def test_close_names_are_suggested():
    with pytest.raises(UsageError, match=r"got 'digts' \(did you mean digits\?\)$"):
        load("digts")
    with pytest.raises(UsageError, match=r"got 'folders:/x' \(did you mean folder:DIR"):
        load("folders:/x")


@pytest.mark.parametrize("size", [0, -1])
def test_image_sizes_are_positive(size: int):
    with pytest.raises(UsageError, match=f"expected an image size of at least 1, got {size}"):
        load("digits", image_size=size)
