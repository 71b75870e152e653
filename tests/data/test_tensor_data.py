import pytest
import torch

from slimprune.data import Augmentation, TensorData
from slimprune.errors import DataError, UsageError

from .asserts import assert_describes_itself, labelled, masked

IMAGES = torch.zeros(4, 3, 6, 5, dtype=torch.uint8)
LABELS = torch.tensor([0, 2, 1, 0])


@pytest.mark.parametrize("data", [labelled(), masked()], ids=["labels", "masks"])
def test_descriptions(data: TensorData):
    assert_describes_itself(data)


def test_class_names():
    numbered = TensorData.from_arrays("it", IMAGES, LABELS, IMAGES, LABELS)
    assert (numbered.classes, numbered.class_names) == (3, ("0", "1", "2"))
    named = TensorData.from_arrays("it", IMAGES, LABELS, IMAGES, LABELS, class_names=("a", "b", "c", "never seen"))
    assert named.classes == 4
    assert masked().class_names == ("foreground",)


def test_labels_beyond_the_names_are_refused():
    with pytest.raises(DataError, match=r"expected labels below 2 in it \(train\), got 2"):
        TensorData.from_arrays("it", IMAGES, LABELS, IMAGES, LABELS, class_names=("a", "b"))
    with pytest.raises(DataError, match=r"expected labels below 3 in it \(test\), got 3"):
        TensorData.from_arrays("it", IMAGES, LABELS, IMAGES, LABELS + 1)


def test_a_part_is_named_when_it_is_wrong():
    with pytest.raises(DataError, match=r"expected non-empty uint8 images .* in it \(test\), got float32"):
        TensorData.from_arrays("it", IMAGES, LABELS, IMAGES.float(), LABELS)


def test_no_crop_with_masks():
    masks = torch.zeros(4, 1, 6, 5, dtype=torch.uint8)
    with pytest.raises(UsageError, match="expected no crop for images with masks, got crop_padding 4"):
        TensorData.from_arrays("it", IMAGES, masks, IMAGES, masks, augmentation=Augmentation(crop_padding=4))


def test_not_augmented_unless_asked():
    assert labelled().augmentation == Augmentation(crop_padding=0, flip=False)


def test_a_part_is_not_copied_where_it_already_lies():
    data = labelled()
    assert data.store("train", torch.device("cpu")).images.data_ptr() == data.parts["train"][0].data_ptr()


def test_only_square_images_are_turned():
    images, masks = torch.zeros(2, 3, 4, 6, dtype=torch.uint8), torch.zeros(2, 1, 4, 6, dtype=torch.uint8)
    with pytest.raises(UsageError, match=r"^expected square images to turn, got 4x6$"):
        TensorData.from_arrays("it", images, masks, images, masks, augmentation=Augmentation(turn=True))
