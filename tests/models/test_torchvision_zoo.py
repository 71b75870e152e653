import subprocess
import sys

import pytest
import torchvision

from slimprune.models.torchvision_zoo import model_names, zoo_model


@pytest.mark.parametrize(
    ("part", "module"), [(".", torchvision.models), ("segmentation", torchvision.models.segmentation)]
)
def test_the_names_are_those_that_torchvision_lists(part, module):
    assert model_names(part) == sorted(torchvision.models.list_models(module=module))


def test_a_model_is_built_with_its_settings():
    assert zoo_model("squeezenet1_1", num_classes=3).num_classes == 3


def test_names_and_own_networks_do_without_torchvision():
    script = (
        "import sys; from slimprune.models import InputSpec, architectures, build; "
        "assert len(architectures()) > 20; build('vgg11', InputSpec(3, 32, 32, 10)); "
        "build('resnet20', InputSpec(3, 32, 32, 10)); assert 'torchvision' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
