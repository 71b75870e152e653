import dataclasses

import pytest
import torch

from slimprune.data import ImageData

from .asserts import assert_equal_batches, labelled, masked


def test_image_data_is_abstract_and_frozen():
    with pytest.raises(TypeError, match="abstract"):
        ImageData()
    with pytest.raises(dataclasses.FrozenInstanceError):
        labelled().name = "other"


def test_batches_can_be_iterated_again():
    data = labelled()
    for batches in (data.train_batches(4), data.test_batches(4)):
        assert_equal_batches(batches, batches)


def test_means_are_in_units_of_the_full_scale():
    data = labelled(50)
    expected = data.parts["train"][0].double().mean(dim=(0, 2, 3)) / 255
    assert data.mean == pytest.approx(expected.tolist())


@pytest.mark.parametrize("data", [labelled(), masked()], ids=["colour", "grey"])
def test_pixels_are_those_that_were_stored(data: ImageData):
    assert torch.equal(data.pixels(data.samples(5)), data.parts["test"][0][:5])
