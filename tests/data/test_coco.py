"""Images with boxes in COCO's form."""

import json

import pytest
import torch

from slimprune.data import Augmentation, TensorData, load
from slimprune.errors import DataError, UsageError

from .asserts import write_image

CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]
"""Classes are counted in the order of the ids: dog is 0, cat is 1."""


def write_set(folder, annotations, size=(8, 8), layout=("annotations/instances_{}.json", "train", "val"), **changes):
    """Write a set of one image in each part; `annotations` are those of the training image."""
    file, *parts = layout
    for part in parts:
        write_image(folder / part / "a.png", size=size)
        target = folder / file.format(part)
        target.parent.mkdir(parents=True, exist_ok=True)
        images = [{"id": 5, "file_name": "a.png", "width": size[0], "height": size[1]}]
        own = annotations if part.startswith("train") else []
        content = {"images": images, "categories": CATEGORIES, "annotations": own, **changes}
        target.write_text(json.dumps(content))
    return f"coco:{folder}"


def box(bbox, category=7, **more):
    return {"image_id": 5, "category_id": category, "bbox": bbox, **more}


@pytest.mark.parametrize(
    "layout",
    [
        ("annotations/instances_{}.json", "train2017", "val2017"),
        ("annotations/instances_{}.json", "train", "val"),
        ("{}/_annotations.coco.json", "train", "valid"),
    ],
)
def test_every_layout_is_found(tmp_path, layout):
    data = load(write_set(tmp_path, [box([1, 2, 3, 4]), box([0, 0, 8, 8], 3)], layout=layout))
    images, boxes = next(iter(data.train_batches(1, augment=False)))
    assert boxes.tolist() == [[[1, 1, 2, 4, 6], [0, 0, 0, 8, 8]]]
    assert data.class_names == ("dog", "cat")
    assert (data.mean, data.std) == ((0, 0, 0), (1, 1, 1))
    assert images[0, :, 0, 0] == pytest.approx(torch.tensor([10, 20, 30]) / 255)
    assert next(iter(data.test_batches(1)))[1].tolist() == [[[-1, 0, 0, 0, 0]] * 2]


def test_other_sizes_become_squares_with_the_image_in_the_upper_left_corner(tmp_path):
    data = load(write_set(tmp_path, [box([4, 2, 8, 4])], size=(16, 8)), image_size=8)
    images, boxes = next(iter(data.train_batches(1, augment=False)))
    assert images.shape == (1, 3, 8, 8)
    assert boxes.tolist() == [[[1, 2, 1, 6, 3]]]
    assert (255 * images[0, 0, :, 0]).round().tolist() == [10] * 4 + [124] * 4


def test_crowds_and_boxes_below_a_pixel_are_left_out_and_others_cut_at_the_edges(tmp_path):
    annotations = [box([1, 1, 3, 3], iscrowd=1), box([2, 2, 0.5, 4]), box([9, 9, 3, 3]), box([-2, 6, 4, 4])]
    data = load(write_set(tmp_path, annotations))
    assert next(iter(data.train_batches(1, augment=False)))[1].tolist() == [[[1, 0, 6, 2, 8]]]


def test_boxes_are_mirrored_with_their_images(tmp_path):
    data = load(write_set(tmp_path, [box([1, 2, 3, 4])]))
    seen = {tuple(data.scoring_batches(1)[number][1].flatten().tolist()) for number in range(12)}
    assert seen == {(1, 1, 2, 4, 6), (1, 4, 2, 7, 6)}  # 8 - 4 = 4 and 8 - 1 = 7


@pytest.mark.parametrize(
    ("annotations", "changes", "found"),
    [
        ([box([1, 1, 3])], {}, r"a bbox \[x, y, width, height\] in .*got .*'bbox': \[1.0, 1.0, 3.0\]"),
        ([box([1, 1, 3, 3], category=4)], {}, "a known image_id and category_id.*'category_id': 4"),
        ([{**box([1, 1, 3, 3]), "image_id": 6}], {}, "a known image_id.*'image_id': 6"),
        ([], {"categories": []}, "expected categories of different ids in .*, got 0"),
        ([], {"images": []}, "expected images in .*instances_train.json', got none"),
        ([], {"images": [{"id": 1, "file_name": "../a.png", "width": 8, "height": 8}]}, "below .*got '../a.png'"),
        ([], {"images": [{"id": 1, "file_name": "a.png", "width": 9, "height": 8}]}, "of 9x8 .*'.*a.png', got 8x8"),
        ([], {"images": [{"id": "1"}]}, "annotations .*instances_train.json' cannot be read: images"),
    ],
)
def test_what_is_not_valid_is_refused_with_its_place(tmp_path, annotations, changes, found):
    with pytest.raises(DataError, match=found):
        load(write_set(tmp_path, annotations, **changes))


def test_a_folder_without_annotations_names_the_files_that_were_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"instances_train2017.json, annotations/instances_train.json, train/_annot"):
        load(f"coco:{tmp_path}")


def test_tensors_with_boxes_are_checked():
    images, boxes = torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.tensor([[[0.0, 1, 1, 4, 4]]])
    made = TensorData.from_arrays("b", images, boxes, images, boxes, task="detection")
    assert (made.class_names, made.std) == (("0",), (1, 1, 1))
    with pytest.raises(DataError, match=r"x1 < x2 and y1 < y2 inside images of 8x8 in b .train., got 0, 2, 2, 8.5, 8"):
        TensorData.from_arrays(
            "b", images, 2 * boxes + torch.tensor([0, 0, 0, 0.5, 0]), images, boxes, task="detection"
        )
    with pytest.raises(UsageError, match=r"no crop and no turn for images with boxes"):
        TensorData.from_arrays("b", images, boxes, images, boxes, None, Augmentation(crop_padding=1), "detection")
    with pytest.raises(UsageError, match=r"no random_resized_crop for images with boxes, got 0.5 for b"):
        made.train_batches(1, random_resized_crop=0.5)
