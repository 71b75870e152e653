import pytest
import torch
from torch import nn

from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.graph import find_groups
from tests.networks import EXAMPLE, Depthwise, Residual, named, toy


def reasons(model, **options):
    return {group.id: group.protected_reason for group in find_groups(model, EXAMPLE, **options)}


def test_output_layers_are_protected():
    assert reasons(toy(Residual)) == {"stem": None, "inner": None, "head": "model output"}


def test_layers_are_protected_by_name_and_pattern():
    assert reasons(toy(Residual), protect=["outer"])["stem"] == "asked for by --protect outer"
    assert reasons(toy(Residual), protect=["i*"])["inner"] == "asked for by --protect i*"


def test_a_pattern_without_a_layer_is_refused():
    with pytest.raises(UsageError, match="got 'layer9'"):
        find_groups(toy(Residual), EXAMPLE, protect=["layer9"])


def test_what_the_mapping_gets_wrong_is_protected_with_the_reason():
    class Permuted(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 64, 2)

        def forward(self, x):
            return self.head(self.conv(x).relu().permute(0, 2, 3, 1).flatten(1))

    assert reasons(Permuted())["conv"].startswith("not proven: relative difference")


def test_sums_with_the_input_are_protected():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 2, 1)

        def forward(self, x):
            return self.head(x + self.conv(x))

    assert reasons(Skip())["conv"].startswith("not proven: the slim model fails")


def test_a_single_channel_stays():
    model = nn.Sequential(nn.Conv2d(3, 1, 1), nn.ReLU(), nn.Conv2d(1, 4, 1))
    assert reasons(model) == {"0": "has a single channel", "2": "model output"}


def test_a_failing_forward_is_one_sentence_and_modes_are_restored():
    model = toy(Residual).train()
    model.inner.eval()
    with pytest.raises(UnsupportedModelError, match=r"Residual fails on an input of shape \[\(1, 5, 8, 8\)\]"):
        find_groups(model, torch.zeros(1, 5, 8, 8))
    assert (model.stem.training, model.inner.training) == (True, False)


def test_progress_counts_groups():
    seen = []
    find_groups(toy(Depthwise), EXAMPLE, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 2), (1, 2), (2, 2)]


def test_layers_of_a_group_stand_in_the_models_order():
    _, _, groups, _ = named("resnet20")
    assert groups[0].layers == ("conv1", "stages.0.0.conv2", "stages.0.1.conv2", "stages.0.2.conv2")
