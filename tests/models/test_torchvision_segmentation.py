import pytest
import torch
import torchvision

from slimprune.errors import UsageError
from slimprune.models import InputSpec, architectures
from slimprune.models.torchvision_segmentation import FAMILY, build
from slimprune.recipe import names_segmentation

from .asserts import assert_maps, parameter_count

NAMES = [architecture.name for architecture in FAMILY.architectures]
INPUTS = InputSpec(3, 40, 33, 1)


def test_all_of_torchvision_are_listed():
    assert {"fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"} <= set(NAMES)


def test_recipes_know_the_names_for_segmentation():
    for architecture in architectures():
        assert names_segmentation(architecture.name) == (architecture.task == "segmentation")


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"])
def test_the_output_is_torchvisions_own_of_any_size(name: str):
    model = build(name, "", INPUTS).eval()
    theirs = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=1).eval()
    theirs.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, 40, 33)
    with torch.no_grad():
        assert torch.equal(model(images), theirs(images)["out"])
    assert_maps(model, INPUTS, 1, 40, 33)


def test_other_channels():
    inputs = InputSpec(1, 32, 32, 1)
    assert_maps(build("lraspp_mobilenet_v3_large", "", inputs), inputs, 1, 32, 32)


def test_no_auxiliary_head_and_parameters_as_torchvision_documents():
    with torch.device("meta"):
        model = build("fcn_resnet50", "", InputSpec(3, 224, 224, 21))
    # torchvision's 35,322,218 without the auxiliary head: 1024 * 256 * 9 + 2 * 256 + 256 * 21 + 21
    assert parameter_count(model) == 35_322_218 - (1024 * 256 * 9 + 2 * 256 + 256 * 21 + 21)


def test_options_are_refused():
    with pytest.raises(UsageError, match="expected no options for 'fcn_resnet50', got 'depth=3'"):
        build("fcn_resnet50", "depth=3", INPUTS)
