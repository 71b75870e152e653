"""Images with boxes in the form of ultralytics."""

import json
from contextlib import chdir

import pytest
import yaml

from slimprune.data import load
from slimprune.errors import DataError

from .asserts import write_image


def write_set(folder, lines, size=(20, 10), **changes):
    """Write a set of one image of this width and height in each part; `lines` are those of the training image."""
    for part in ("train", "val"):
        write_image(folder / "images" / part / "a.png", size=size)
        (folder / "labels" / part).mkdir(parents=True, exist_ok=True)
    (folder / "labels" / "train" / "a.txt").write_text(lines)
    described = {"path": str(folder), "train": "images/train", "val": "images/val", "names": {0: "cat", 1: "dog"}}
    file = folder / "data.yaml"
    file.write_text(
        yaml.safe_dump({key: value for key, value in {**described, **changes}.items() if value is not None})
    )
    return f"yolo:{file}"


def boxes_of(name, **settings):
    return next(iter(load(name, **settings).train_batches(1, augment=False)))[1].tolist()


def test_boxes_are_in_pixels_and_images_without_a_file_have_none(tmp_path):
    name = write_set(tmp_path, "1 0.5 0.5 0.2 0.4\n\n0 0.25 0.5 0.5 1\n1  0.5 0.5 0.2 0.4\n")
    # 0.5 * 20 - 0.2 * 20 / 2 = 8, 0.5 * 10 - 0.4 * 10 / 2 = 3; the equal line counts once
    assert boxes_of(name) == [[pytest.approx([1, 8, 3, 12, 7]), pytest.approx([0, 0, 0, 10, 10])]]
    data = load(name)
    assert data.class_names == ("cat", "dog")
    assert data.task == "detection"
    assert next(iter(data.test_batches(1)))[1].tolist() == [[[-1, 0, 0, 0, 0]] * 2]


def test_the_box_of_a_polygon_is_taken_and_cut_at_the_edges(tmp_path):
    name = write_set(tmp_path, "0 0.1 0.2 0.4 0.9 1.005 0.5\n")
    assert boxes_of(name) == [[pytest.approx([0, 2, 2, 20, 9])]]


def test_images_are_resized_as_all_with_boxes(tmp_path):
    assert boxes_of(write_set(tmp_path, "1 0.5 0.5 0.2 0.4\n"), image_size=40) == [[pytest.approx([1, 16, 6, 24, 14])]]


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "set"},  # below the current folder
        {"path": None},  # that of the file
        {"train": ["images/train"], "val": None, "validation": ["images/val"]},
        {"train": "list.txt"},
        {"train": "../images/train"},  # as Roboflow writes it
        {"train": "images/train/a.png", "names": ["cat", "dog"], "nc": 2},
        {"names": None, "nc": 2},
        {"download": "raise SystemExit", "made": __import__("datetime").date(2024, 1, 1)},
    ],
)
def test_parts_are_found_however_they_are_named(tmp_path, changes):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "list.txt").write_text("./images/train/a.png\n", encoding="utf-8-sig")
    with chdir(tmp_path):
        data = load(write_set(folder, "1 0.5 0.5 0.2 0.4\n", **changes))
    assert (data.train_size, data.test_size, data.classes) == (1, 1, 2)


@pytest.mark.parametrize(
    ("lines", "changes", "told"),
    [
        ("2 0.5 0.5 0.2 0.4", {}, r"lines of a class below 2, .*a.txt', got '2 0.5 0.5 0.2 0.4'"),
        ("-1 0.5 0.5 0.2 0.4", {}, "class below 2"),
        ("0.5 0.5 0.5 0.2 0.4", {}, "class below 2"),
        ("nan 0.5 0.5 0.2 0.4", {}, "class below 2"),
        ("0 0.5 nan 0.2 0.4", {}, "shares of the image"),
        ("0 10 5 4 4", {}, "shares of the image"),
        ("0 0.5 0.5 -0.005 0.4", {}, "shares of the image"),
        ("0 0.5 0.5 0.2", {}, "shares of the image"),
        ("0 0.5 0.5 0.2 0.4 0.9", {}, "shares of the image"),
        ("cat 0.5 0.5 0.2 0.4", {}, "shares of the image"),
        ("", {}, r"boxes of training images such as '.*labels/train/a.txt', found none"),
        ("", {"train": None}, "the fields train and val in '.*data.yaml', got path, val, names"),
        ("", {"train": "images/other"}, "a folder of images or a list of them '.*images/other', got No such file"),
        ("", {"train": 3}, "description '.*data.yaml'.*train"),
        ("", {"names": {1: "cat"}}, "names of the classes 0, 1, ... in '.*data.yaml', got 1 names and nc unstated"),
        ("", {"names": ["cat"], "nc": 2}, "got 1 names and nc 2"),
        ("", {"names": ["a\x07b", "c"]}, "without control characters"),
        ("", {"path": "[" * 30}, "found none|No such file"),
    ],
)
def test_what_is_not_valid_is_refused_in_one_line(tmp_path, lines, changes, told):
    with pytest.raises(DataError, match=told) as caught:
        load(write_set(tmp_path, lines, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "told"), [("[" * 30, "at most 20 levels"), ("a: [", "is not YAML"), ("", "object")])
def test_a_description_that_is_none_is_refused(tmp_path, text, told):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=told):
        load(f"yolo:{tmp_path / 'data.yaml'}")


def test_the_same_scenes_in_both_forms_are_one_data_set(tmp_path):
    name = write_set(tmp_path, "1 0.5 0.5 0.2 0.4\n0 0.25 0.5 0.5 1\n")
    for part in ("train", "val"):
        boxes = [[8, 3, 4, 4], [0, 0, 10, 10]] if part == "train" else []
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / f"instances_{part}.json").write_text(
            json.dumps(
                {
                    "images": [{"id": 1, "file_name": "a.png", "width": 20, "height": 10}],
                    "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
                    "annotations": [
                        {"image_id": 1, "category_id": 1 - number, "bbox": box} for number, box in enumerate(boxes)
                    ],
                }
            )
        )
        (tmp_path / part).symlink_to(tmp_path / "images" / part)
    assert boxes_of(name)[0] == [pytest.approx(box) for box in boxes_of(f"coco:{tmp_path}")[0]]
