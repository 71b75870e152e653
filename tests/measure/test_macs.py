import logging
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torchvision.ops import deform_conv2d

from slimprune.errors import UnsupportedModelError
from slimprune.measure import count_macs, macs_by_parameter
from slimprune.measure.products import formula_of, may_sum_products

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
        (lambda x: torch.tensordot(x, x.mT), 5 * 4),
        (lambda x: torch.addbmm(torch.zeros(1), x.expand(2, 5, 4), x.mT.expand(2, 4, 5)), 2 * 5 * 5 * 4),
        (lambda x: x[0] @ x[0, 0] + torch.addmv(x[0, :, 0], x[0], x[0, 0]), 2 * 5 * 4),
        (lambda x: torch.dot(x[0, 0], x[0, 1]) + torch.vdot(x[0, 0], x[0, 1]), 2 * 4),
        (lambda x: torch.cdist(x, x[:, :3]), 5 * 3 * 4),
        (lambda x: deform_conv2d(x[:, None], torch.zeros(1, 18, 3, 2), torch.ones(6, 1, 3, 3)), 6 * 3 * 2 * 9),
        (lambda x: torch.linalg.multi_dot([x[0].mT, x[0], x[0].mT]), 4 * 5 * 4 + 4 * 4 * 5),
        (lambda x: torch.nn.functional.interpolate(x[:, None], scale_factor=2, mode="bilinear"), 0),
    ],
)
def test_macs_of_products(function, expected):
    assert count_macs(Product(function), torch.rand(1, 5, 4)) == expected


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("training", [True, False])
def test_macs_of_a_transformer_layer(training, batch):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).train(training)
    macs = count_macs(layer, torch.rand(batch, 5, 8))
    assert macs == 5 * 8 * 24 + 5 * 5 * (8 + 8) + 5 * 8 * 8 + 2 * 5 * 8 * 16
    # that is: projection in, two products, projection out, two linear layers


ATTENTION = {
    "plain": lambda q, k, v: scaled_dot_product_attention(q, k, v),
    "causal": lambda q, k, v: scaled_dot_product_attention(q[..., :6, :], k, v, is_causal=True),
    "masked": lambda q, k, v: scaled_dot_product_attention(q, k, v, torch.ones(5, 6, dtype=torch.bool)),
}


@pytest.mark.parametrize("way", ATTENTION)
@pytest.mark.parametrize("backend", [None, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH])
def test_macs_of_attention_are_those_of_its_plain_form(way, backend):
    """Heads of odd width, values of another width than keys; whatever operator torch or the model chooses."""

    def attend(x):
        q, k = torch.rand(1, 2, 5, 7), torch.rand(1, 2, 6, 7)
        v = torch.rand(1, 2, 6, 7 if backend is SDPBackend.FLASH_ATTENTION else 3)
        with nullcontext() if backend is None else sdpa_kernel([backend, SDPBackend.MATH]):
            return ATTENTION[way](q, k, v)

    width = 7 if backend is SDPBackend.FLASH_ATTENTION else 3
    assert count_macs(Product(attend), torch.rand(1, 1)) == 2 * 5 * 6 * (7 + width)


def test_queries_may_share_keys_and_values():
    x = torch.rand(1, 4, 5, 8)
    model = Product(lambda x: scaled_dot_product_attention(x, x[:, :2], x[:, :2], enable_gqa=True))
    assert count_macs(model, x) == 4 * 5 * 5 * (8 + 8)


FUSED = [
    (name, getattr(torch.ops.aten, name))
    for name in sorted({schema.name.removeprefix("aten::") for schema in torch._C._jit_get_all_schemas()})
    if name.startswith("_scaled_dot_product") and "attention" in name and "backward" not in name
]


@pytest.mark.parametrize(("name", "operator"), FUSED)
def test_every_fused_attention_of_this_torch_has_the_same_formula(name, operator):
    formula = formula_of(getattr(operator, operator.overloads()[0]))
    q, k = torch.rand(1, 2, 5, 8), torch.rand(1, 2, 6, 8)
    assert formula is not None
    assert formula((q, k, k), {}, (q, None)) == 2 * 5 * 6 * (8 + 8)


@pytest.mark.parametrize(
    ("name", "sums"),
    [
        ("mm", True),  # as every name here, looked at as if it had no formula
        ("_int_mm", True),
        ("_weight_int8pack_mm", True),
        ("mkldnn_rnn_layer", True),
        ("_native_multi_head_attention", True),
        ("_transformer_encoder_layer_fwd", True),
        ("conv_tbc", True),
        ("relu", False),
        ("native_batch_norm", False),
        ("constant_pad_nd", False),
        ("upsample_linear1d", False),
        ("_upsample_bilinear2d_aa", False),
        ("linalg_vector_norm", False),
        ("cumsum", False),
    ],
)
def test_names_tell_what_may_sum_products(name, sums):
    packet = getattr(torch.ops.aten, name)
    assert may_sum_products(getattr(packet, packet.overloads()[0])) == sums


def test_macs_are_those_of_the_parameter_that_takes_part():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.ConvTranspose2d(3, 4, 2, stride=2), nn.Linear(4, 5)

        def forward(self, x):
            tokens = self.conv(x).flatten(2).mT
            return self.head(tokens).sum(1) + self.head(tokens.mT @ tokens).sum(1)

    count = macs_by_parameter(Net(), torch.rand(1, 3, 4, 4))
    # 16 positions before the transposed convolution, 64 after; the head sees 64 and then 4 tokens
    assert count.by_parameter == {"conv.weight": 16 * (3 * 4 * 4), "head.weight": (64 + 4) * 20}
    assert count.others == 4 * 64 * 4
    assert count.total == sum(count.by_parameter.values()) + count.others


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.enable_grad])
def test_what_the_model_says_of_gradients_changes_nothing(mode):
    class Guarded(nn.Sequential):
        def forward(self, x):
            with mode():
                return super().forward(x)

    layers = nn.Conv2d(3, 4, 3), nn.Flatten(2), nn.Linear(36, 2), Product(lambda x: x @ x.mT)
    assert count_macs(Guarded(*layers), torch.rand(2, 3, 8, 8)) == 36 * 4 * 27 + 4 * 36 * 2 + 4 * 4 * 2


def test_functions_with_their_own_gradient_are_looked_into():
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x @ x.mT

    assert count_macs(Product(Doubled.apply), torch.rand(1, 5, 4)) == 5 * 5 * 4


def test_settings_of_attention_are_put_back_though_threads_count_at_the_same_time():
    before = torch.backends.cuda.math_sdp_enabled(), torch.backends.cuda.flash_sdp_enabled()
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda _: count_macs(layer, torch.rand(1, 5, 8)), range(16)))
    assert len(set(counts)) == 1
    assert (torch.backends.cuda.math_sdp_enabled(), torch.backends.cuda.flash_sdp_enabled()) == before
    assert torch.backends.mha.get_fastpath_enabled()


def test_macs_of_resnet18_are_the_published_ones():
    macs = count_macs(torchvision.models.resnet18(), torch.rand(1, 3, 224, 224))
    assert macs == pytest.approx(1.814e9, rel=0.001)


def test_a_layer_used_twice_counts_twice():
    layer = nn.Linear(4, 4)
    assert count_macs(nn.Sequential(layer, layer), torch.rand(2, 4)) == 2 * 16


class OwnRecurrence(nn.LSTM):
    """A recurrent layer whose code may be any."""


class Outputs(nn.Module):
    """The outputs of a recurrent layer without its states."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        # steps * gates * units * (inputs + outputs)
        (Outputs(nn.LSTM(4, 3, batch_first=True)), 5 * 4 * 3 * (4 + 3)),
        (Outputs(nn.LSTM(4, 3, batch_first=True, proj_size=2)), 5 * (4 * 3 * (4 + 2) + 3 * 2)),
        (Outputs(nn.GRU(4, 3, batch_first=True, bidirectional=True)), 2 * 5 * 3 * 3 * (4 + 3)),
        (Outputs(nn.RNN(4, 3, batch_first=True, num_layers=2)), 5 * 3 * (4 + 3) + 5 * 3 * (3 + 3)),
        (nn.Sequential(nn.Flatten(0, 1), nn.GRUCell(4, 3)), 5 * 3 * 3 * (4 + 3)),
    ],
)
def test_recurrent_layers_count_their_steps(layer, expected):
    assert count_macs(layer, torch.rand(1, 5, 4)) == expected


@torch.library.custom_op("slimprune_tests::product", mutates_args=())
def custom_product(x: torch.Tensor) -> torch.Tensor:
    return x @ x.mT


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (OwnRecurrence(4, 4, batch_first=True), "OwnRecurrence"),
        (lambda x: nn.Bilinear(4, 4, 3)(x, x), "aten::_trilinear"),
        (lambda x: torch.conv_tbc(x, torch.ones(2, 4, 3), torch.ones(3)), "aten::conv_tbc"),
        (lambda x: custom_product(x), "slimprune_tests::product"),
    ],
)
def test_operators_that_cannot_be_counted_are_refused_by_name(function, name):
    with pytest.raises(UnsupportedModelError, match=f"whose MACs can be counted, got {name}") as caught:
        count_macs(Product(function), torch.rand(1, 5, 4))
    assert ("register_flop_formula takes its formula" in str(caught.value)) == ("::" in name)


def test_an_input_that_does_not_fit_is_refused():
    with pytest.raises(UnsupportedModelError, match=r"copied and run on an input \[1, 5\], got .*mat1"):
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


def test_products_with_a_computed_weight_belong_to_its_parameter():
    class Standardised(nn.Conv2d):
        def forward(self, x):
            weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) * self.gain
            return nn.functional.conv2d(x, weight, self.bias)

    model = Standardised(3, 8, 3)
    model.register_buffer("gain", torch.ones(8, 1, 1, 1))
    assert macs_by_parameter(model, torch.zeros(1, 3, 8, 8)).by_parameter == {"weight": 8 * 27 * 36}
