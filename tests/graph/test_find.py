import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.graph import find_groups, keep_channels, prove_removal
from slimprune.graph.proof import ProofTrial
from tests.graph.test_proof import tampered
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


def test_what_the_code_hard_codes_is_protected_with_the_reason():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.read, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4 * 36, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.head(F.relu(self.read(self.conv(x).view(-1, 4 * 36))))

    found = reasons(Fixed())
    assert found["conv"].startswith("not proven: the slim model fails")
    assert found["read"] is None


def test_sums_with_the_input_are_protected():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 2, 1)

        def forward(self, x):
            return self.head(x + self.conv(x))

    assert reasons(Skip())["conv"] == "it meets the model's input"


def test_groups_that_break_each_other_leave_one_and_cost_few_proofs(monkeypatch):
    class Rivals(nn.Module):
        """Of six convolutions, the second and the last may not both be narrow; the fourth may never be."""

        def __init__(self):
            super().__init__()
            self.convs = nn.ModuleList([nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1) for i in range(6)])
            self.head = nn.Linear(8, 2)

        def forward(self, x):
            widths = [conv.out_channels for conv in self.convs]
            assert widths[1] == 8 or widths[5] == 8, "one of the two must be whole"
            assert widths[3] == 8, "the fourth must be whole"
            for conv in self.convs:
                x = F.relu(conv(x))
            return self.head(x.mean((2, 3)))

    proofs = []
    prove = ProofTrial.prove
    monkeypatch.setattr(ProofTrial, "prove", lambda *arguments: proofs.append(1) or prove(*arguments))
    found = reasons(Rivals())
    assert [name for name, reason in found.items() if reason is None] == ["convs.0", "convs.1", "convs.2", "convs.4"]
    assert "the fourth must be whole" in found["convs.3"]
    assert "one of the two must be whole" in found["convs.5"]
    assert len(proofs) <= 11


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
    find_groups(toy(Depthwise), EXAMPLE, progress=lambda *event: seen.append(event))
    assert seen == [
        ("prove", 2, 4, ""),
        ("prove", 4, 4, ""),
    ]  # two groups, both halves of which are proven in one proof each


def test_groups_of_which_too_little_is_left_together_are_proven_alone():
    """Of a chain of narrow layers half is mostly dead: no output moves, which says nothing against a group."""
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()]
    for _ in range(6):
        layers += [nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()]
    groups = find_groups(nn.Sequential(*layers, nn.Conv2d(4, 2, 8)), EXAMPLE)
    assert [group.protected_reason for group in groups] == [None] * 7 + ["model output"]


def test_layers_of_a_group_stand_in_the_models_order():
    _, _, groups, _ = named("resnet20")
    assert groups[0].layers == ("conv1", "stages.0.0.conv2", "stages.0.1.conv2", "stages.0.2.conv2")


class Wrapped(nn.Module):
    """Two convolutions and a head, and whatever a test puts in between."""

    def __init__(self, between=None, **layers):
        super().__init__()
        self.conv, self.read, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Linear(6, 2)
        self.between = between or (lambda net, x: x)
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        x = self.between(self, F.relu(self.conv(x)))
        return self.head(F.relu(self.read(x)).mean((2, 3)))


def test_the_model_and_the_callers_random_numbers_are_left_alone():
    def count(net, x):
        net.calls += 1
        return F.dropout(x, training=True) * 0 + x

    model = Wrapped(count)
    model.register_buffer("calls", torch.zeros(1))
    state = torch.random.get_rng_state()
    find_groups(model, EXAMPLE)
    assert model.calls == 0
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.training


@pytest.mark.parametrize("norm", [parametrizations.spectral_norm, nn.utils.spectral_norm])
def test_the_vectors_of_a_spectral_norm_go_with_the_weight(norm):
    model = Wrapped()
    norm(model.read)
    groups = find_groups(model, EXAMPLE)
    assert [group.width for group in groups if group.protected_reason is None] == [8, 6]
    kept = {group.id: torch.arange(2) for group in groups[:2]}
    slim = keep_channels(model, groups, kept)
    proof = prove_removal(model, slim, groups, kept, EXAMPLE)
    assert (proof.passed, proof.statistics) == (True, ("vdot",) if norm is parametrizations.spectral_norm else ("dot",))
    slim.train()(torch.rand(2, 3, 8, 8)).sum().backward()
    assert slim.read.weight.shape == (2, 2, 3, 3)
    assert (slim.read.in_channels, slim.read.out_channels) == (2, 2)


def test_a_weight_that_is_computed_from_activations_is_protected_with_the_reason():
    def filtered(net, x):
        return F.conv2d(x, net.read.weight[:1] * x.mean((0, 2, 3), keepdim=True), padding=1) * x

    assert reasons(Wrapped(filtered))["conv"] == "a weight of the model is computed from others"


def test_a_branch_that_only_runs_in_training_is_proven_too():
    class Auxiliary(Wrapped):
        def forward(self, x):
            x = F.relu(self.read(F.relu(self.conv(x))))
            main = self.head(x.mean((2, 3)))
            return main + self.extra(x.permute(0, 2, 3, 1).flatten(1)) if self.training else main

    found = reasons(Auxiliary(extra=nn.Linear(6 * 16, 2)))
    assert (found["conv"], found["read"]) == (None, None)


def test_channels_of_a_head_that_only_runs_in_training_are_proven_there():
    class Auxiliary(Wrapped):
        def forward(self, x):
            x = F.relu(self.read(F.relu(self.conv(x))))
            main = self.head(x.mean((2, 3)))
            return (main, self.last(F.relu(self.extra(x)).mean((2, 3)))) if self.training else main

    model = Auxiliary(extra=nn.Conv2d(6, 8, 1), last=nn.Linear(8, 2))
    groups = find_groups(model, EXAMPLE)
    assert {g.id: g.protected_reason for g in groups if g.protected_reason} == {
        "head": "model output",
        "last": "model output",
    }
    extra = next(group for group in groups if group.id == "extra")
    kept = {"extra": torch.arange(4)}
    for number in range(len(extra.slots)):
        wrong = [tampered(extra, number, [0, 1, 2, 3])]
        assert not prove_removal(model, keep_channels(model, wrong, kept), wrong, kept, EXAMPLE).passed


def test_a_norm_over_channels_does_not_hide_a_wrong_mapping():
    model = toy(
        lambda: nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.ReLU(), Permuted(), nn.LayerNorm(16 * 36), nn.ReLU(), nn.Linear(16 * 36, 4)
        )
    )
    (group, *_) = find_groups(model, EXAMPLE)
    assert group.protected_reason is None
    number = next(number for number, slot in enumerate(group.slots) if slot.name == "3.weight")
    wrong, kept = [tampered(group, number, list(range(8)))], {"0": torch.arange(8)}
    assert not prove_removal(model, keep_channels(model, wrong, kept), wrong, kept, EXAMPLE).passed


class Permuted(nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


def test_outputs_without_a_batch_are_compared_as_well():
    class Scaled(Wrapped):
        def forward(self, x):
            return {"logits": super().forward(x), "scale": self.scale.exp(), "norm": self.conv.weight.sum()}

    found = reasons(Scaled(scale=nn.Parameter(torch.zeros(()))))
    assert (found["conv"], found["read"], found["head"]) == (None, None, "model output")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_integer_inputs_are_proven(dtype):
    class Counted(Wrapped):
        def forward(self, x):
            return super().forward(x.to(self.conv.weight.dtype) / 255)

    example = torch.arange(3 * 64).view(1, 3, 8, 8).to(dtype)
    assert [group.protected_reason for group in find_groups(Counted(), example)] == [None, None, "model output"]


def test_other_layers_keep_their_attributes():
    """A grouped transposed convolution with one row and two columns in each group loses groups."""
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ConvTranspose2d(16, 8, 3, groups=8), nn.Conv2d(8, 6, 3), Head(6))
    groups = find_groups(model, EXAMPLE)
    assert {group.id: group.width for group in groups if group.protected_reason is None} == {"0": 8, "2": 6}
    slim = keep_channels(model, groups, {"0": torch.arange(3)})
    assert (slim[1].in_channels, slim[1].out_channels, slim[1].groups) == (6, 3, 3)


class Head(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, 2)

    def forward(self, x):
        return self.linear(F.relu(x).mean((2, 3)))


class ShuffleUnit(nn.Module):
    """A unit of ShuffleNet: grouped convolutions, a shuffle between them, and a sum."""

    def __init__(self, width, middle, groups):
        super().__init__()
        self.groups = groups
        self.squeeze, self.first = nn.Conv2d(width, middle, 1, groups=groups, bias=False), nn.BatchNorm2d(middle)
        self.filter, self.second = nn.Conv2d(middle, middle, 3, padding=1, groups=middle), nn.BatchNorm2d(middle)
        self.expand, self.third = nn.Conv2d(middle, width, 1, groups=groups, bias=False), nn.BatchNorm2d(width)

    def forward(self, x):
        y = F.relu(self.first(self.squeeze(x)))
        n, c, h, w = y.shape
        y = y.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)
        return F.relu(x + self.third(self.expand(self.second(self.filter(y)))))


def test_channels_of_groups_that_are_shuffled_into_groups_go_together():
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), ShuffleUnit(32, 16, 4), nn.Conv2d(32, 4, 6))
    assert reasons(model) == {"0": None, "2.squeeze": "its 16 channels can only go together", "3": "model output"}
