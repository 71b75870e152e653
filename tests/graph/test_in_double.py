import torch
from torch import nn

from slimprune.graph import find_groups
from slimprune.graph.in_double import InDouble
from tests.networks import EXAMPLE


def test_conversions_of_doubles_to_other_floats_change_nothing():
    third = torch.tensor([1.0], dtype=torch.float64) / 3
    with InDouble():
        assert torch.equal(third.float(), third)
        assert torch.equal(third.to(torch.bfloat16), third)
        assert third.long().dtype == torch.int64
        assert torch.ones(1).half().dtype == torch.float16


class Bytes(nn.Module):
    """A latent of bytes between two halves, as in diffusers' AutoencoderTiny: their quotient by 255 is float32."""

    def __init__(self):
        super().__init__()
        self.stem, self.read, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 1), nn.Conv2d(6, 3, 1)

    def forward(self, x):
        latent = torch.sigmoid(self.stem(x)).mul(255).round().byte()
        return self.head(torch.relu(self.read(latent / 255.0)))


def test_quotients_of_integers_are_doubles_in_proofs_alone():
    torch.manual_seed(0)
    model = Bytes()
    free = {group.id: group.width for group in find_groups(model, EXAMPLE) if group.protected_reason is None}
    assert free == {"read": 6}
    assert torch.get_default_dtype() == torch.float32
