import pytest
import torch
from torch import nn

from slimprune.regression import InputRows, obstacle, output_rows, position_count, weight_matrix, weight_of

LAYERS = {
    "conv": (nn.Conv2d(4, 6, 3), (2, 4, 7, 6)),
    "geometry": (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)), (2, 4, 7, 6)),
    "groups": (nn.Conv2d(4, 6, 3, groups=2, padding=1, bias=False), (2, 4, 7, 6)),
    "depthwise": (nn.Conv2d(4, 4, 3, groups=4), (2, 4, 7, 6)),
    "same": (nn.Conv2d(4, 6, 4, padding="same"), (2, 4, 7, 6)),
    "reflect": (nn.Conv2d(4, 6, 3, padding=(2, 1), padding_mode="reflect"), (2, 4, 7, 6)),
    "circular": (nn.Conv2d(4, 6, 3, padding=2, padding_mode="circular"), (2, 4, 7, 6)),
    "1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 9)),
    "3d": (nn.Conv3d(2, 4, (1, 2, 3), groups=2), (2, 2, 3, 4, 5)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (2, 4, 5, 4)),
    "transposed dilated": (nn.ConvTranspose2d(4, 6, (2, 3), stride=(1, 3), padding=(2, 0), dilation=2), (2, 4, 5, 4)),
    "transposed 1d": (nn.ConvTranspose1d(4, 6, 2, stride=2), (2, 4, 5)),
    "linear": (nn.Linear(4, 6), (5, 4)),
    "linear 3d": (nn.Linear(4, 6, bias=False), (2, 3, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_rows_times_the_weight_matrix_are_the_outputs(name: str) -> None:
    layer, shape = LAYERS[name]
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        outputs = layer(inputs)
    count = position_count(layer, outputs)
    positions = torch.randperm(count, generator=torch.Generator().manual_seed(2))
    rows = InputRows(layer, inputs, outputs.shape[2:]).at(positions)
    found = (rows @ weight_matrix(layer)).transpose(0, 1).flatten(1)
    found = found if layer.bias is None else found + layer.bias.detach()
    torch.testing.assert_close(found, output_rows(layer, outputs, positions), rtol=1e-5, atol=1e-5)
    assert torch.equal(weight_of(layer, weight_matrix(layer)), layer.weight)


class Standardised(nn.Conv2d):
    """A convolution whose weight is scaled before it is used."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(x, self.weight / self.weight.std(), self.bias)


def test_layers_that_are_not_linear_in_their_weights() -> None:
    parametrized = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    assert obstacle(nn.Linear(2, 2)) is None
    assert obstacle(nn.BatchNorm2d(2)) == "no convolution or linear layer"
    assert obstacle(Standardised(2, 2, 1)) == "Standardised computes its output in its own way"
    assert obstacle(parametrized) == "its weight is computed from other parameters"
