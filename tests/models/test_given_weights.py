from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from slimprune.errors import DataError
from slimprune.models import fill

CLASSES = 3


def network(seed: int = 0, outputs: int = CLASSES) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        features = nn.Sequential(OrderedDict(conv=nn.Conv2d(2, 4, 3), norm=nn.BatchNorm2d(4), pool=nn.Flatten()))
        return nn.Sequential(OrderedDict(features=features, fc=nn.Linear(4, outputs)))


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


def filled(given: dict[str, Tensor], *, reset_head: bool = False) -> tuple[nn.Sequential, list[str]]:
    model = network()
    return model, fill(model, given, "weights w.pth", outputs=CLASSES, reset_head=reset_head)


def refusal(given: dict[str, Tensor], *, reset_head: bool = False) -> str:
    """The message of the error; the network must be unchanged."""
    model = network()
    with pytest.raises(DataError) as caught:
        fill(model, given, "weights w.pth", outputs=CLASSES, reset_head=reset_head)
    assert_same(state(model), state(network()))
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix("weights w.pth: ")


GIVEN = state(network(1))


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "net.", "module._orig_mod.", "model.net."])
def test_prefixes_are_stripped(prefix: str):
    model, missing = filled({f"{prefix}{name}": tensor for name, tensor in GIVEN.items()})
    assert missing == []
    assert_same(state(model), GIVEN)


@pytest.mark.parametrize("part", ["module.", "_orig_mod."])
def test_parts_of_wrapped_submodules_are_stripped(part: str):
    model, _ = filled({name.replace("features.", f"features.{part}"): tensor for name, tensor in GIVEN.items()})
    assert_same(state(model), GIVEN)


def test_what_stands_beside_the_network_in_a_trainer_is_left_out():
    inside = {f"model.{name}": tensor for name, tensor in GIVEN.items()}
    model, missing = filled({**inside, "loss.weight": torch.ones(3), "metric.total": torch.tensor(5)})
    assert missing == []
    assert_same(state(model), GIVEN)


class Wrapped(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model


def test_names_that_match_are_not_stripped():
    model = Wrapped(network())
    given = {f"model.{name}": tensor for name, tensor in GIVEN.items()}
    assert fill(model, given, "w", outputs=CLASSES, reset_head=False) == []
    assert_same(state(model), given)


def test_a_wrapped_network_takes_the_weights_of_the_bare_one():
    model = Wrapped(network())
    assert fill(model, GIVEN, "w", outputs=CLASSES, reset_head=False) == []
    assert_same(state(model.model), GIVEN)


def test_leftovers_of_training_are_left_out():
    extras = {
        "n_averaged": torch.tensor(7),
        "AuxLogits.fc.weight": torch.ones(3, 4),
        "features.total_ops": torch.ones(1, dtype=torch.float64),
    }
    without_count = {name: tensor for name, tensor in GIVEN.items() if not name.endswith("num_batches_tracked")}
    model, missing = filled({**without_count, **extras})
    assert missing == []
    assert torch.equal(model.fc.weight, GIVEN["fc.weight"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_converted(dtype: torch.dtype):
    model, _ = filled({name: tensor.to(dtype) if tensor.ndim else tensor for name, tensor in GIVEN.items()})
    assert model.fc.weight.dtype == torch.float32
    assert torch.equal(model.fc.weight, GIVEN["fc.weight"].to(dtype).float())


def test_a_backbone_may_lack_the_last_layers():
    model, missing = filled({name: tensor for name, tensor in GIVEN.items() if not name.startswith("fc")})
    assert missing == ["fc.weight", "fc.bias"]
    assert torch.equal(model.fc.weight, network().fc.weight)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_head_of_another_size(prefix: str):
    given = {f"{prefix}{name}": tensor for name, tensor in state(network(1, outputs=1000)).items()}
    told = "expected 3 outputs of the head fc, got 1000: --reset-head leaves the head out and keeps its fresh weights"
    assert refusal(given) == told
    model, missing = filled(given, reset_head=True)
    assert missing == ["fc.weight", "fc.bias"]
    assert torch.equal(model.fc.weight, network().fc.weight)
    assert torch.equal(model.features.conv.weight, given[f"{prefix}features.conv.weight"])


def test_a_fitting_head_is_not_reset():
    model, missing = filled(GIVEN, reset_head=True)
    assert missing == []
    assert torch.equal(model.fc.weight, GIVEN["fc.weight"])


def test_two_heads():
    def two_heads(outputs: int) -> nn.ModuleDict:
        return nn.ModuleDict({"aux": nn.Linear(4, outputs), "fc": nn.Conv2d(4, outputs, 1), "conv": nn.Conv2d(2, 4, 3)})

    model, given = two_heads(CLASSES), state(two_heads(7))
    with pytest.raises(DataError, match="expected 3 outputs of the head aux, fc, got 7"):
        fill(model, given, "w", outputs=CLASSES, reset_head=False)
    missing = fill(model, given, "w", outputs=CLASSES, reset_head=True)
    assert missing == ["aux.weight", "aux.bias", "fc.weight", "fc.bias"]
    assert torch.equal(model["conv"].weight, given["conv.weight"])


def test_an_inner_layer_of_as_many_channels_as_classes_is_no_head():
    def inner(width: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(2, width, 1), nn.GroupNorm(1, width), nn.Conv2d(width, CLASSES, 1))

    with pytest.raises(DataError, match=r"with 0.weight \(and 4 more\) of shape \(7, 2, 1, 1\) in place of \(3, 2, 1"):
        fill(inner(CLASSES), state(inner(7)), "w", outputs=CLASSES, reset_head=True)


OTHER = "expected the tensors of this network, got those of another one: "


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"fc.weight": None, "fc.bias": None, "head.weight": torch.ones(3, 4), "features.conv.bias": torch.ones(5)},
            "without fc.weight (and 1 more), with head.weight, which the network lacks, "
            "with features.conv.bias of shape (5,) in place of (4,)",
        ),
        ({"more": torch.ones(1)}, "with more, which the network lacks"),
        ({"fc.weight": torch.ones(3, 5)}, "with fc.weight of shape (3, 5) in place of (3, 4)"),
        ({"module.fc.bias": torch.ones(3)}, "with module.fc.bias, which the network lacks"),
    ],
)
def test_weights_of_another_network_name_the_first_mismatches(changes: dict[str, Tensor | None], message: str):
    given = {name: tensor for name, tensor in {**GIVEN, **changes}.items() if tensor is not None}
    assert refusal(given) == f"{OTHER}{message}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fc.weight": torch.ones(3, 4, dtype=torch.int8)}, "expected fc.weight in floating point, got int8"),
        ({"fc.weight": torch.full((3, 4), torch.nan)}, "expected finite numbers in fc.weight, got nan or inf"),
        ({"fc.bias": torch.tensor([1e300, 0, 0], dtype=torch.float64)}, "expected finite numbers in fc.bias, got nan"),
        (
            {"features.norm.running_var": torch.full((4,), torch.inf)},
            "expected finite numbers in features.norm.running",
        ),
    ],
)
def test_values_that_are_no_weights_are_refused(changes: dict[str, Tensor], message: str):
    assert refusal({**GIVEN, **changes}).startswith(message)


@pytest.mark.parametrize("given", [{}, {"features.norm.running_mean": torch.ones(4)}])
def test_files_without_parameters_are_refused(given: dict[str, Tensor]):
    assert refusal(given) == "expected parameters of the network, got none"
