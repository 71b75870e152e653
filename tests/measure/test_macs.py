import logging
import warnings

import pytest
import torch
import torchvision
from torch import nn

from slimprune.errors import UnsupportedModelError
from slimprune.measure import count_macs

IMAGE = (3, 32, 32)

CASES = [
    # outputs * (inputs per group * kernel area)
    (nn.Conv2d(3, 8, 3, padding=1), IMAGE, 8 * 32 * 32 * (3 * 3 * 3)),
    (nn.Conv2d(3, 8, 3, padding="same"), IMAGE, 8 * 32 * 32 * (3 * 3 * 3)),
    (nn.Conv2d(3, 8, 3, padding="valid", bias=False), IMAGE, 8 * 30 * 30 * (3 * 3 * 3)),
    (nn.Conv2d(3, 8, 3, stride=2, padding=1), IMAGE, 8 * 16 * 16 * (3 * 3 * 3)),
    (nn.Conv2d(4, 8, 3, padding=1, groups=2), (4, 8, 8), 8 * 8 * 8 * (2 * 3 * 3)),
    (nn.Conv2d(4, 4, 3, padding=1, groups=4), (4, 8, 8), 4 * 8 * 8 * (1 * 3 * 3)),
    (nn.Conv2d(4, 8, 3, padding=1, groups=4), (4, 8, 8), 8 * 8 * 8 * (1 * 3 * 3)),
    (nn.Conv1d(3, 8, 5), (3, 20), 8 * 16 * (3 * 5)),
    (nn.Conv3d(2, 4, 3, padding=1), (2, 4, 5, 6), 4 * 4 * 5 * 6 * (2 * 27)),
    # inputs * (outputs per group * kernel area)
    (nn.ConvTranspose2d(6, 4, 2, stride=2), (6, 8, 8), 6 * 8 * 8 * (4 * 2 * 2)),
    (nn.ConvTranspose2d(6, 4, 3, stride=2, groups=2), (6, 8, 8), 6 * 8 * 8 * (2 * 3 * 3)),
    (nn.Linear(10, 7), (10,), 10 * 7),
    (nn.Linear(10, 7), (5, 10), 5 * 10 * 7),
    (nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.AvgPool2d(2), nn.Upsample(scale_factor=2)), IMAGE, 0),
    (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.GroupNorm(1, 3), nn.Flatten(), nn.Linear(3, 2)), IMAGE, 3 * 2),
]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("model", "shape", "expected"), CASES)
def test_macs_of_one_layer_per_sample(model, shape, expected, batch):
    assert count_macs(model, torch.rand(batch, *shape)) == expected


class Product(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x @ x.transpose(1, 2), 5 * 5 * 4),
        (lambda x: torch.ones(2, 1, 6, 5) @ x, 2 * 6 * 4 * 5),  # the second factor is the smaller one
        (lambda x: torch.bmm(x, x.transpose(1, 2)), 5 * 5 * 4),
        (lambda x: torch.baddbmm(torch.zeros(1), x, x.transpose(1, 2)), 5 * 5 * 4),
        (lambda x: torch.einsum("nij,nkj->nik", x, x), 5 * 5 * 4),
        (lambda x: nn.functional.scaled_dot_product_attention(x, x[:, :3], x[:, :3]), 5 * 3 * (4 + 4)),
    ],
)
def test_macs_of_products(function, expected):
    assert count_macs(Product(function), torch.rand(1, 5, 4)) == expected


def test_macs_of_attention_in_eval_mode():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    macs = count_macs(layer.eval(), torch.rand(1, 5, 8))
    assert macs == 5 * 8 * 24 + 5 * 5 * (8 + 8) + 5 * 8 * 8 + 2 * 5 * 8 * 16
    # that is: projection in, two products, projection out, two linear layers


def test_macs_of_resnet18_are_the_published_ones():
    macs = count_macs(torchvision.models.resnet18(), torch.rand(1, 3, 224, 224))
    assert macs == pytest.approx(1.814e9, rel=0.001)


def test_a_layer_used_twice_counts_twice():
    layer = nn.Linear(4, 4)
    assert count_macs(nn.Sequential(layer, layer), torch.rand(2, 4)) == 2 * 16


@pytest.mark.parametrize(
    ("function", "name"),
    [(nn.LSTM(4, 4, batch_first=True), "aten::lstm"), (lambda x: torch.tensordot(x, x.mT), "aten::tensordot")],
)
def test_operators_that_cannot_be_counted_are_refused_by_name(function, name):
    with pytest.raises(UnsupportedModelError, match=name):
        count_macs(Product(function), torch.rand(1, 5, 4))


def test_an_input_that_does_not_fit_is_refused():
    with pytest.raises(UnsupportedModelError, match=r"trace on an input \[1, 5\], got .*mat1"):
        count_macs(nn.Linear(4, 4), torch.rand(1, 5))


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    model[2].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    count_macs(model, torch.rand(2, *IMAGE))
    assert [module.training for module in model.modules()] == [True, True, True, False]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.backends.mha.get_fastpath_enabled()


def test_counting_says_nothing(caplog, capfd):
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings():
        warnings.simplefilter("error")
        count_macs(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus()), torch.rand(1, *IMAGE))
    assert not caplog.records
    assert capfd.readouterr() == ("", "")
