import copy

import pytest
import torch

from slimprune.errors import UsageError
from slimprune.models import InputSpec, architectures, build, task_of

from .asserts import assert_maps

CIFAR = InputSpec(3, 32, 32, 10)
OWN = ["vgg11", "vgg13", "vgg16", "vgg19", "resnet18", "resnet34", "resnet50", "resnet20", "resnet110", "unet"]


def test_every_name_is_listed_once_with_one_line():
    listed = architectures()
    names = [architecture.name for architecture in listed]
    assert len(set(names)) == len(names)
    assert {*OWN, "densenet121", "vgg19_bn"} <= set(names)
    assert all(architecture.description and "\n" not in architecture.description for architecture in listed)
    assert {architecture.task for architecture in listed} >= {"classification", "segmentation"}


def test_our_own_family_goes_before_torchvisions():
    model = build("vgg11", CIFAR)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize(
    "arch", ["vgg11", "resnet20", "unet:depth=2,width=4", "unet:depth=2,width=4,upsampling=bilinear"]
)
def test_equal_seeds_give_equal_weights(arch: str):
    torch.manual_seed(1)
    first = copy.deepcopy(build(arch, CIFAR).state_dict())
    torch.manual_seed(1)
    second = build(arch, CIFAR).state_dict()
    third = build(arch, CIFAR).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first)


def test_options_reach_the_family():
    assert_maps(build("unet:depth=1,width=2", CIFAR), CIFAR, 10, 32, 32)


def test_tasks():
    assert task_of("resnet20") == "classification"
    assert task_of("unet:depth=2") == "segmentation"
    assert task_of("package.module:factory") is None
    assert task_of("folder/file.py:factory") is None


def test_user_code_may_bear_the_name_of_an_architecture():
    with pytest.raises(UsageError, match="found no module 'unet'"):
        build("unet:factory", CIFAR)


@pytest.mark.parametrize("ask", [lambda arch: build(arch, CIFAR), task_of])
@pytest.mark.parametrize("arch", ["vgg99", "", ":", "vgg99:depth=3", ":factory", "file.py:"])
def test_unknown_names(ask, arch: str):
    known = "a name of `slimprune list archs`, file.py:NAME or package.module:NAME"
    message = f"expected an architecture ({known}), got '{arch}'"
    with pytest.raises(UsageError) as caught:
        ask(arch)
    assert str(caught.value).startswith(message)


def test_close_names_are_suggested():
    with pytest.raises(UsageError, match=r"got 'resnet19' \(did you mean resnet1"):
        build("resnet19", CIFAR)
