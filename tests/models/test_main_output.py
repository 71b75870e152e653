import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn

from slimprune.models import MainOutput, has_main_output


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head, self.aux = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 1, 1), nn.Conv2d(4, 1, 1)

    def forward(self, x):
        features = self.body(x)
        return OrderedDict(out=self.head(features), aux=self.aux(features))


def test_the_main_output_is_what_the_model_gives_as_out():
    model, images = TwoHeads(), torch.randn(2, 3, 8, 8)
    wrapped = MainOutput(model)
    assert torch.equal(wrapped(images), model(images)["out"])
    assert list(wrapped.state_dict()) == [f"model.{name}" for name in model.state_dict()]
    assert torch.equal(copy.deepcopy(wrapped)(images), wrapped(images))
    wrapped.eval()
    assert not model.training


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ({"out": torch.zeros(1)}, True),
        (OrderedDict(out=torch.zeros(1), aux=torch.zeros(1)), True),
        ({"logits": torch.zeros(1)}, False),
        ({"out": [torch.zeros(1)]}, False),
        (torch.zeros(1), False),
        ((torch.zeros(1),), False),
    ],
)
def test_mappings_with_a_tensor_out_have_one(output: object, expected: bool):
    assert has_main_output(output) is expected
