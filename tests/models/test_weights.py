import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from slimprune.errors import DataError
from slimprune.models import load_weights, save_weights


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


def test_parameters_and_buffers_survive_a_file(file: Path):
    first, second = network(1), network(2)
    first(torch.randn(8, 3, 3, 3))  # moves the running statistics
    save_weights(first, file)
    assert load_weights(second, file) == []
    assert_same(state(second), state(first))
    assert [path.name for path in file.parent.iterdir()] == ["weights.safetensors"]
    assert_same(load_file(file), state(first))


def test_a_file_in_a_new_folder_replaces_one_that_is_there(tmp_path: Path):
    file = tmp_path / "new" / "er" / "weights.safetensors"
    for seed in (1, 2):
        save_weights(network(seed), file)
    loaded = network(0)
    load_weights(loaded, file)
    assert_same(state(loaded), state(network(2)))


def test_channels_last_weights_are_saved_like_others(file: Path):
    model = network(1).to(memory_format=torch.channels_last)
    save_weights(model, file)
    loaded = network(0)
    load_weights(loaded, file)
    assert_same(state(loaded), state(network(1)))


def test_what_a_backbone_s_file_lacks_is_listed_and_kept(file: Path):
    tensors = {name: tensor for name, tensor in state(network(1)).items() if not name.startswith(("4.", "1.running"))}
    save_file(tensors, file)
    model = network(2)
    assert load_weights(model, file) == ["4.weight", "4.bias"]
    found = state(model)
    assert torch.equal(found["0.weight"], tensors["0.weight"])
    assert torch.equal(found["4.weight"], network(2)[4].weight)


def test_other_precisions_are_converted(file: Path):
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state(network(1)).items()}
    save_file(half, file)
    model = network(2)
    load_weights(model, file)
    assert model[0].weight.dtype == torch.float32
    assert torch.equal(model[0].weight, half["0.weight"].float())


class Tied(nn.Module):
    def __init__(self, seed: int):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight


@pytest.mark.parametrize("names", [["first.weight"], ["second.weight"], ["first.weight", "second.weight"]])
def test_a_tied_weight_goes_by_any_of_its_names(file: Path, names: list[str]):
    tensors = Tied(1).state_dict()
    save_file({name: tensors[name].clone() for name in [*names, "first.bias"]}, file)
    model = Tied(2)
    assert load_weights(model, file) == ["second.bias"]
    assert model.first.weight is model.second.weight
    assert torch.equal(model.second.weight, tensors["first.weight"])


def test_a_tied_network_survives_a_file(file: Path):
    save_weights(Tied(1), file)
    model = Tied(2)
    assert load_weights(model, file) == []
    assert_same(state(model), state(Tied(1)))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"0.bias": torch.ones(4), "9.weight": torch.ones(2, 4)}, "the model has no 9.weight"),
        ({"0.bias": torch.ones(4), "module.0.bias": torch.ones(4)}, "the model has no module.0.bias"),
        ({"0.bias": torch.ones(4), "4.weight": torch.ones(3, 4)}, "expected 4.weight of shape (2, 4), got (3, 4)"),
        ({"0.bias": torch.ones(4), "4.bias": torch.ones(1)}, "expected 4.bias of shape (2,), got (1,)"),
        ({"1.running_mean": torch.ones(4)}, "expected parameters of the model, got none"),
        ({}, "expected parameters of the model, got none"),
    ],
)
def test_files_that_do_not_fit_are_refused_and_change_nothing(file: Path, tensors: dict[str, Tensor], message: str):
    save_file(tensors, file)
    model = network()
    with pytest.raises(DataError) as caught:
        load_weights(model, file)
    assert str(caught.value) == f"weights {file}: {message}"
    assert_same(state(model), state(network()))


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 100, b'\x08\0\0\0\0\0\0\0{\n"a":\n\n', None])
def test_unreadable_files_are_refused_in_one_line(file: Path, content: bytes | None):
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_weights(network(), file)
    assert str(caught.value).startswith(f"weights {file} cannot be read: ")
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"weights .*none\.safetensors cannot be read: No such file or directory"):
        load_weights(network(), tmp_path / "none.safetensors")


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('a pickle was run')",)


@pytest.mark.parametrize("dump", [lambda trap, file: file.write_bytes(pickle.dumps(trap)), torch.save])
def test_pickles_are_refused_and_not_run(file: Path, dump):
    dump(Trap(), file)
    with pytest.raises(DataError, match="cannot be read"):
        load_weights(network(), file)
