"""Two programs that count by different formulas on different graphs agree, wherever both can count."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torchvision.models import swin_transformer, vision_transformer

from slimprune.errors import UnsupportedModelError
from slimprune.measure import count_macs, count_macs_fvcore
from slimprune.models import InputSpec, build
from tests.graph.recurrent import Crnn
from tests.networks import EXAMPLE, TOYS, toy

OWN = ["vgg11", "resnet18", "resnet20", "unet", "unet:depth=3,width=8,upsampling=bilinear"]

TORCHVISION = {
    "mobilenet_v3_small": 64,
    "shufflenet_v2_x0_5": 64,
    "squeezenet1_1": 64,
    "mnasnet0_5": 64,
    "regnet_y_400mf": 64,
    "efficientnet_b0": 64,
    "resnext50_32x4d": 64,
    "densenet121": 32,
    "googlenet": 96,
}


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


LAYERS = {
    "same padding": nn.Conv2d(3, 8, 3, padding="same"),
    "grouped": nn.Conv2d(3, 6, 3, groups=3, dilation=2),
    "transposed": nn.ConvTranspose2d(3, 5, 3, stride=2, output_padding=1),
    "transposed, grouped": nn.ConvTranspose2d(3, 6, 4, stride=3, groups=3, dilation=2),
    "volume": nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv3d(1, 2, 3), nn.ConvTranspose3d(2, 1, 2)),
    "einsum": Function(lambda x: torch.einsum("nchw,nchv->ncwv", x, x)),
    "cdist": Function(lambda x: torch.cdist(x[:, 0], x[:, 1])),
    "linear of tokens": nn.Sequential(nn.Flatten(2), nn.Linear(64, 5, bias=False)),
    "bmm": Function(lambda x: torch.baddbmm(x[:, 0], x[:, 0], x[:, 1]).bmm(x[:, 2])),
    "mv": Function(lambda x: x[0, 0].mv(x[0, 0, 0]) + x[0, 0, 0].dot(x[0, 0, 1])),
}


def assert_counts_agree(model, example):
    assert count_macs(model, example) == count_macs_fvcore(model, example) > 0


@pytest.mark.parametrize("layer", LAYERS)
def test_layers(layer):
    assert_counts_agree(LAYERS[layer], EXAMPLE)


@pytest.mark.parametrize("kind", TOYS)
def test_toys(kind):
    assert_counts_agree(toy(kind), EXAMPLE)


@pytest.mark.parametrize("arch", OWN)
def test_own_architectures(arch):
    assert_counts_agree(build(arch, InputSpec(3, 32, 32, 10)), torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("name", TORCHVISION)
def test_networks_of_torchvision(name):
    options = {"init_weights": False} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, weights=None, **options)
    side = TORCHVISION[name]
    assert_counts_agree(model, torch.zeros(2, 3, side, side))


def test_a_segmentation_network():
    model = torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
    assert_counts_agree(model, torch.zeros(1, 3, 64, 64))


TRANSFORMERS = {
    "vit": lambda: vision_transformer.VisionTransformer(32, 8, 2, 3, 30, 48),
    "swin": lambda: swin_transformer.SwinTransformer([2, 2], 12, [2, 2], [2, 3], [4, 4]),
    "swin_v2": lambda: swin_transformer.SwinTransformer(
        [2, 2], 12, [2, 2], [2, 3], [4, 4], block=swin_transformer.SwinTransformerBlockV2,
        downsample_layer=swin_transformer.PatchMergingV2,
    ),
    "convnext": lambda: torchvision.models.ConvNeXt(
        [torchvision.models.convnext.CNBlockConfig(8, 12, 2), torchvision.models.convnext.CNBlockConfig(12, None, 2)]
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_transformers(kind):
    assert_counts_agree(TRANSFORMERS[kind](), torch.zeros(2, 3, 32, 32))


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_efficientnet", "test_resnet", "test_byobnet"])
def test_networks_of_timm(name):
    assert_counts_agree(build(f"timm:{name}", InputSpec(3, 64, 64, 10)), torch.zeros(1, 3, 64, 64))


class Unpooled(nn.Module):
    """Some versions of torch can trace it, others cannot."""

    def forward(self, images):
        pooled, places = functional.max_pool2d(images, 2, return_indices=True)
        return functional.max_unpool2d(pooled, places, 2)


class OwnRecurrence(nn.LSTM):
    """A recurrent layer whose code may be any."""


def test_recurrent_networks():
    assert_counts_agree(toy(Crnn), EXAMPLE)


def trace_is_refused(images):
    if torch.jit.is_tracing():
        raise TypeError("there is no trace of me\nat all")
    return images


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Function(trace_is_refused), r"fvcore can trace on an input \[1, 3, 8, 8\], got .*there is no trace of me"),
        (nn.Sequential(nn.Flatten(2), OwnRecurrence(64, 4, batch_first=True)), "fvcore can count, got aten::lstm"),
        (Function(lambda x: torch.tensordot(x[0, 0], x[0, 0])), "fvcore can count, got aten::tensordot"),
    ],
    ids=["trace", "lstm", "tensordot"],
)
def test_what_fvcore_cannot_count_is_said_in_one_line(model, message):
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        count_macs_fvcore(model, EXAMPLE)
    assert "\n" not in str(caught.value)


def test_what_fvcore_cannot_trace_is_counted_all_the_same():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Unpooled())
    assert count_macs(model, EXAMPLE) == 4 * 8 * 8 * (3 * 9)
