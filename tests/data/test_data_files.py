import shutil
from pathlib import Path

import pytest

from slimprune.data import data_files
from slimprune.errors import DataError

from .asserts import write_image


def images(root: Path) -> Path:
    for part in ("train", "val"):
        (root / part / "cat").mkdir(parents=True)
        write_image(root / part / "cat" / "1.png")
    return root


def test_a_folder_of_images_is_made_of_the_images_that_are_used(tmp_path: Path) -> None:
    root = images(tmp_path)
    for unused in ("notes.txt", "train/cat/.hidden.png", "test/cat/1.png"):
        (root / unused).parent.mkdir(parents=True, exist_ok=True)
        (root / unused).touch()
    assert data_files(f"folder:{root}") == [root / "train/cat/1.png", root / "val/cat/1.png"]


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    shutil.rmtree(images(tmp_path) / "val")
    with pytest.raises(DataError, match="expected a folder 'val' or 'test'"):
        data_files(f"folder:{tmp_path}")


def test_a_local_hugging_face_set_is_made_of_all_files_but_hidden_ones(tmp_path: Path) -> None:
    for name in ("README.md", "data/train.parquet", ".git/config", "data/.train.lock"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert data_files(f"hf:{tmp_path}") == [tmp_path / "README.md", tmp_path / "data/train.parquet"]


def test_tensors_are_made_of_their_two_files(tmp_path: Path) -> None:
    for name in ("train.safetensors", "test.safetensors", "notes.txt"):
        (tmp_path / name).touch()
    assert data_files(f"tensors:{tmp_path}") == [tmp_path / "test.safetensors", tmp_path / "train.safetensors"]


def test_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.safetensors").touch()
    assert data_files("tensors:~/set") == [tmp_path / "set" / "train.safetensors"]


@pytest.mark.parametrize("name", ["digits", "cifar10", "hf:owner/name", "own batches", "folder:absent"])
def test_what_is_brought_downloaded_or_absent_has_none(name: str) -> None:
    assert data_files(name) == []
