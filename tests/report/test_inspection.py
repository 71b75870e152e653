import json

import pytest
import torch
from torch import nn

from slimprune import inspect
from slimprune.report import inspection_page
from tests.networks import EXAMPLE, TOYS, Residual, toy

from .inspections import inspected


class Untouched(nn.Module):
    """A parameter that no channel lies along."""

    def __init__(self):
        super().__init__()
        self.conv, self.head, self.temperature = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1), nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.head(self.conv(x)) * self.temperature


@pytest.mark.parametrize("kind", [*TOYS, Untouched])
def test_every_parameter_is_in_a_group_or_untouched(kind):
    model, document = toy(kind), inspected(kind)
    touched = {slot["tensor"] for group in document["groups"] for slot in group["slots"]}
    untouched = {entry["parameter"] for entry in document["untouched"]}
    assert touched & untouched == set()
    assert set(dict(model.named_parameters())) <= touched | untouched
    assert touched | untouched <= set(model.state_dict())
    assert untouched == ({"temperature"} if kind is Untouched else set())


def test_the_schema():
    document = inspected(Residual)
    assert document.keys() == {"schema_version", "model", "groups", "held_back", "untouched", "flow"}
    assert document["model"] == {
        "name": "Residual", "inputs": [[3, 8, 8]], "params": 776, "macs": 44_952, "channels": 15, "groups": 3,
        "removable_groups": 2, "removable": {"params": 776 - 61, "macs": 44_952 - 64 * 45 - 4},
    }  # fmt: skip
    stem, inner, head = document["groups"]
    assert stem.keys() == {"id", "width", "protected_reason", "exact", "layers", "at_stake", "slots"}
    assert (stem["layers"], stem["width"], stem["exact"]) == (["stem", "outer"], 6, True)
    assert (inner["protected_reason"], head["protected_reason"]) == (None, "model output")
    assert stem["slots"][0] == {
        "tensor": "stem.weight", "layer": "stem", "type": "Conv2d", "role": "producer", "dim": 0, "entries": 1,
        "shape": [6, 3, 3, 3],
    }  # fmt: skip
    assert document["flow"]["nodes"][1] == {
        "kind": "layer", "name": "stem", "type": "Conv2d", "tensors": ["stem.weight", "stem.bias"],
    }  # fmt: skip
    assert all(0 <= first < last < len(document["flow"]["nodes"]) for first, last in document["flow"]["edges"])


def test_outputs_are_not_held_back():
    assert inspected(Residual)["held_back"] == []


def test_what_is_at_stake():
    inner = inspected(Residual)["groups"][1]["at_stake"]
    # A row of inner 6 * 9, its norm 2, a column of outer 6 * 9; each weight of a convolution is used 64 times.
    assert inner["one_channel"] == {"params": 54 + 2 + 54, "macs": 64 * (54 + 54)}
    assert inner["all_but_one"] == {"params": 4 * 110, "macs": 4 * 64 * 108}


def test_the_forms_of_one_inspection():
    inspection = inspect(toy(Residual), EXAMPLE)
    assert json.loads(inspection.to_text()) == inspection.to_json()
    assert str(inspection) == inspection_page(inspection.to_json())
    assert inspection.to_svg().startswith("<svg ")
    assert inspection.to_html().startswith("<!doctype html>")
