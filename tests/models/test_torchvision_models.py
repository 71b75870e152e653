import pytest
import torch

from slimprune.models import InputSpec
from slimprune.models.torchvision_models import FAMILY, build

from .asserts import assert_maps, parameter_count

NAMES = [architecture.name for architecture in FAMILY.architectures]


def test_no_quantized_model_is_listed():
    assert {"densenet121", "vit_b_16", "mobilenet_v3_small"} <= set(NAMES)
    assert not [name for name in NAMES if "quantized" in name]


@pytest.mark.parametrize(
    ("name", "documented"),
    [("squeezenet1_1", 1_235_496), ("mobilenet_v2", 3_504_872), ("shufflenet_v2_x0_5", 1_366_792)],
)
def test_parameters_as_torchvision_documents(name: str, documented: int):
    assert parameter_count(build(name, "", InputSpec(3, 224, 224, 1000))) == documented


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels(channels: int):
    inputs = InputSpec(channels, 40, 40, 6)
    assert_maps(build("squeezenet1_1", "", inputs), inputs, 6)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_no_auxiliary_logits_in_training(name: str):
    with torch.device("meta"):
        model = build(name, "", InputSpec(3, 96, 96, 10)).train()
        logits = model(torch.zeros(2, 3, 96, 96))
    assert logits.shape == (2, 10)
