import sys

import pytest
import torch

from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.models import InputSpec, architectures, build, task_of

from .asserts import assert_maps, parameter_count

SMALL = InputSpec(1, 32, 32, 7)


def test_channels_and_classes_are_those_of_the_data():
    assert_maps(build("timm:resnet10t", SMALL), SMALL, 7)


def test_the_tag_of_weights_may_follow_the_name():
    torch.manual_seed(1)
    plain = build("timm:test_resnet", SMALL)
    torch.manual_seed(1)
    tagged = build("timm:test_resnet.r160_in1k", SMALL)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), tagged.parameters(), strict=True))


def test_models_of_one_image_size_are_built_for_that_of_the_data():
    inputs = InputSpec(3, 32, 48, 5)
    model = build("timm:test_vit", inputs)
    assert_maps(model, inputs, 5)
    assert model.patch_embed.img_size == (32, 48)


def test_parameters_are_those_of_timm():
    assert parameter_count(build("timm:mobilenetv3_small_050", InputSpec(3, 224, 224, 1000))) == 1_593_224


def test_equal_seeds_give_equal_weights():
    models = []
    for _ in range(2):
        torch.manual_seed(1)
        models.append(build("timm:test_resnet", SMALL))
    assert all(torch.equal(a, b) for a, b in zip(*(model.parameters() for model in models), strict=True))


def test_the_form_is_listed_and_its_task_known():
    assert "timm:NAME" in [architecture.name for architecture in architectures()]
    assert task_of("timm:resnet18") == "classification"
    assert task_of("timm.models:resnet18") is None


@pytest.mark.parametrize("name", ["resnet19", "resnet19.a1_in1k", "", "hf-hub:timm/resnet18.a1_in1k"])
def test_other_names_are_refused_before_anything_could_be_downloaded(name):
    with pytest.raises(UsageError, match=f"expected timm:NAME with a name of timm.list_models.*got 'timm:{name}'"):
        build(f"timm:{name}", SMALL)


def test_the_name_alone_and_close_names():
    with pytest.raises(UsageError, match=r"list_pretrained.*did you mean timm:resnet18, timm:resnet18.a3_in1k"):
        build("timm:resnet18.a0_in1k", SMALL)
    with pytest.raises(UsageError, match="expected timm:NAME"):
        build("timm", SMALL)


def test_images_that_a_model_cannot_be_built_for_are_one_line():
    with pytest.raises(UnsupportedModelError, match="timm cannot build nest_tiny for 1 channels, 20x20"):
        build("timm:nest_tiny", InputSpec(1, 20, 20, 7))


def test_without_timm_it_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        UsageError, match=r"expected timm for 'timm:resnet18', found none: pip install 'slimprune\[timm\]'"
    ):
        build("timm:resnet18", SMALL)
