"""What the records of cells are made from."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from slimprune.comparison.cells import RunCache
from slimprune.recipe import make_recipe
from tests.data.asserts import write_image


def folder(root: Path) -> str:
    for part in ("train", "val"):
        for name in ("cat/1.png", "dog/1.png"):
            file = root / part / name
            file.parent.mkdir(parents=True)
            write_image(file, 1)
    return f"folder:{root}"


def hugging_face(root: Path) -> str:
    for name in ("train/cat/1.png", "README.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"before")
    return f"hf:{root}"


def touched(root: Path) -> None:
    os.utime(root / "train/cat/1.png", (1, 1))


def copied(root: Path) -> None:
    shutil.copytree(root, root.with_name("copy"))
    shutil.rmtree(root)
    root.with_name("copy").rename(root)


def changed_in_place(root: Path) -> None:
    """As many bytes as before, changed at the same time: only the contents tell."""
    file = root / "train/cat/1.png"
    stat = file.stat()
    file.write_bytes(bytes(byte ^ 1 for byte in file.read_bytes()))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def added(root: Path) -> None:
    shutil.copy(root / "train/cat/1.png", root / "train/cat/2.png")


def renamed(root: Path) -> None:
    (root / "train/cat/1.png").rename(root / "train/cat/3.png")


@pytest.mark.parametrize("layout", [folder, hugging_face])
@pytest.mark.parametrize(
    ("act", "same"), [(touched, True), (copied, True), (changed_in_place, False), (added, False), (renamed, False)]
)
def test_images_that_change_are_noticed(
    tmp_path: Path, layout: Callable[[Path], str], act: Callable[[Path], None], same: bool
) -> None:
    recipe = make_recipe({"arch": "resnet20", "data": layout(tmp_path / "set")})
    before = RunCache(tmp_path, "cpu").named_files(recipe)
    act(tmp_path / "set")
    assert (RunCache(tmp_path, "cpu").named_files(recipe) == before) is same


def test_a_removed_image_is_noticed(tmp_path: Path) -> None:
    recipe = make_recipe({"arch": "resnet20", "data": folder(tmp_path / "set")})
    added(tmp_path / "set")
    before = RunCache(tmp_path, "cpu").named_files(recipe)
    (tmp_path / "set/train/cat/2.png").unlink()
    assert RunCache(tmp_path, "cpu").named_files(recipe) != before
