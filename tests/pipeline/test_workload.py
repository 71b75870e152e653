from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from slimprune.errors import DataError, SlimpruneError, UnsupportedModelError, UsageError
from slimprune.models import save_weights
from slimprune.pipeline.workload import SAMPLES, Given, Workload, named_workload, own_workload, seeded
from slimprune.recipe import make_recipe
from slimprune.tasks import find_task
from slimprune.training import mean_iou, top1
from tests.conftest import tiny_images


def named(settings: dict[str, Any], **changes: Any) -> Workload:
    return named_workload(make_recipe({**settings, **changes}).with_defaults(), "cpu")


def network(classes: int = 2) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 6 * 6, classes))


def loader(count: int = 10, shuffle: bool = False) -> DataLoader[tuple[Tensor, ...]]:
    images = torch.arange(count).view(-1, 1, 1, 1).float().expand(-1, 3, 8, 8)
    return DataLoader(TensorDataset(images, torch.arange(count) % 2), batch_size=4, shuffle=shuffle)


def own(model: Any, **given: Any) -> Workload:
    return own_workload(model, Given(**{"train_batches": loader(), "test_batches": loader(), **given}), "cpu", seed=0)


class Lambda(nn.Module):
    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.function = function

    def forward(self, inputs: Tensor) -> object:
        return self.function(inputs)


class TrainsBadly(Lambda):
    def forward(self, inputs: Tensor) -> object:
        if self.training:
            raise KeyError("targets")
        return inputs


def test_a_named_workload_has_model_batches_and_samples(settings: dict[str, Any], arch: str) -> None:
    work = named(settings)
    assert [len(inputs) for inputs, _ in work.test_batches] == [8, 8, 8, 8, 8, 1]
    assert work.samples.shape == (41, 3, 16, 16)
    assert torch.equal(work.example, work.samples[:2])
    assert (work.origin.arch, work.origin.inputs.classes) == (arch, 2)
    assert (work.loss, work.metric) == (F.cross_entropy, top1)
    assert work.model.training


def test_equal_seeds_give_equal_weights_and_leave_the_caller_s_generator(settings: dict[str, Any]) -> None:
    state = torch.get_rng_state()
    weights = [named(settings, seed=seed).model[0].weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_masks_make_it_a_segmentation(masked_data: str) -> None:
    work = named({"arch": "unet:depth=2,width=4", "data": masked_data})
    assert (work.loss, work.metric) == (find_task("segmentation").losses["bce"], mean_iou)
    assert work.loss(torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4)).item() == pytest.approx(0.6931, abs=1e-4)


@pytest.mark.parametrize("name", ["bce", "dice", "bce+dice"])
def test_losses_go_by_name(masked_data: str, name: str) -> None:
    work = named({"arch": "unet:depth=2,width=4", "data": masked_data, "loss": name})
    assert work.loss is find_task("segmentation").losses[name]
    given = Given(loader(), loader(), "classification", "cross-entropy")
    assert own_workload(network(), given, "cpu", seed=0).loss is F.cross_entropy


def test_a_factory_s_outputs_by_name_are_brought_to_one(masked_data: str, arch: str, tmp_path: Path) -> None:
    arch = f"{arch.removesuffix(':net')}:mapped"
    plain = named({"arch": arch, "data": masked_data})
    assert plain.model(plain.example).shape == (2, 1, 16, 16)
    assert plain.origin.main_output
    assert plain.model.training
    # Weights go by the factory's own names.
    save_file({"head.bias": torch.tensor([7.0])}, tmp_path / "weights.safetensors")
    filled = named({"arch": arch, "data": masked_data, "weights": tmp_path / "weights.safetensors"})
    assert filled.model.state_dict()["model.head.bias"].item() == 7.0


def test_pixels_of_named_data_are_those_that_were_stored_and_others_are_stretched(masked_data: str) -> None:
    work = named({"arch": "unet:depth=2,width=4", "data": masked_data})
    assert torch.equal(work.pixels(work.samples), tiny_images(17))
    images = torch.linspace(-3, 5, 24).view(2, 3, 2, 2)
    pixels = own(network(), test_batches=loader()).pixels(images)
    assert [(int(image.min()), int(image.max())) for image in pixels] == [(0, 255)] * 2
    assert int(own(network()).pixels(torch.full((1, 3, 2, 2), 4.0)).max()) == 0


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"loss": "bce"}, UsageError, "expected a loss for classification (auto, cross-entropy), got 'bce'"),
        ({"arch": None}, UsageError, "expected an architecture (--arch), got none"),
        ({"arch": "unet:depth=2"}, UsageError, "expected an architecture for classification (the task of tensors:"),
        ({"arch": "{file}:one_class"}, UnsupportedModelError, "give an output of shape (2, 2), got (2, 1)"),
        ({"arch": "{file}:picky"}, UnsupportedModelError, "Picky fails on inputs (2, 3, 16, 16): no images of this"),
        ({"data": "tensors:nowhere"}, DataError, "nowhere/train.safetensors"),
    ],
)
def test_refuses_what_does_not_fit(
    settings: dict[str, Any], arch: str, changes: dict[str, Any], error: type[SlimpruneError], message: str
) -> None:
    if changes.get("arch"):
        changes = {"arch": changes["arch"].format(file=arch.removesuffix(":net"))}
    with pytest.raises(error) as caught:
        named(settings, **changes)
    assert message in str(caught.value)


def test_weights_from_a_file_take_the_place_of_initial_ones(settings: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    plain, other = named(settings), named(settings, seed=1)
    save_weights(other.model, file)
    filled = named(settings, weights=file)
    assert all(map(torch.equal, filled.model.state_dict().values(), other.model.state_dict().values()))
    assert filled.fingerprint != plain.fingerprint
    # A backbone's weights: the head keeps its initial ones.
    save_file({"0.weight": torch.ones(8, 3, 3, 3)}, file)
    backbone = named(settings, weights=file)
    assert (backbone.model[0].weight == 1).all()
    assert torch.equal(backbone.model[8].weight, plain.model[8].weight)
    assert backbone.fingerprint != filled.fingerprint


def test_weights_that_do_not_fit_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    save_file({"9.weight": torch.ones(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(DataError, match=r"weights .*weights\.safetensors: expected .* with 9\.weight"):
        named(settings, weights=tmp_path / "weights.safetensors")
    with pytest.raises(DataError, match=r"weights none\.safetensors cannot be read: No such file or directory"):
        named(settings, weights="none.safetensors")


def test_the_fingerprint_follows_model_and_data_and_nothing_else(settings: dict[str, Any], masked_data: str) -> None:
    assert named(settings).fingerprint == named(settings, ratio=0.7, batch_size=4).fingerprint
    assert named(settings).fingerprint != named(settings, seed=1).fingerprint
    relu, silu = (own(nn.Sequential(nn.Flatten(), kind())).fingerprint for kind in (nn.ReLU, nn.SiLU))
    assert relu != silu
    few, more = (own(nn.Flatten(), test_batches=loader(count)).fingerprint for count in (10, 11))
    assert few != more


CODE = """
import torch
from torch import nn

class Net(nn.Linear):
    def forward(self, images):
        return super().forward(images.flatten(1)).{}()

def net(num_classes):
    return Net(3 * 16 * 16, num_classes)
"""


def test_the_fingerprint_follows_code_and_labels(settings: dict[str, Any], tmp_path: Path) -> None:
    """What `repr`, initial weights and images do not show."""
    file, labels = tmp_path / "code.py", torch.arange(40) % 2
    images = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8)
    save_file({"images": images, "labels": labels}, tmp_path / "test.safetensors")
    found = []
    for function, given in (("relu", labels), ("relu", labels), ("tanh", labels), ("relu", 1 - labels)):
        file.write_text(CODE.format(function))
        save_file({"images": images, "labels": given}, tmp_path / "train.safetensors")
        found.append(named(settings, arch=f"{file}:net", data=f"tensors:{tmp_path}").fingerprint)
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_an_own_model_is_copied_and_left_untouched() -> None:
    model = network().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    work = own(model)
    with torch.no_grad():
        work.model[0].weight.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training
    assert work.origin.arch is None


def test_own_batches_give_samples_in_their_order_and_scoring_batches_without_end() -> None:
    work = own(network(), test_batches=loader(100))
    assert work.samples[:, 0, 0, 0].tolist() == list(range(SAMPLES))
    scoring = iter(work.scoring_batches)
    assert [len(next(scoring)[0]) for _ in range(6)] == [4, 4, 2, 4, 4, 2]


def test_shuffling_loaders_are_read_reproducibly_and_leave_the_caller_s_generator() -> None:
    model, state = network(), torch.get_rng_state()
    first, second = (own(model, test_batches=loader(100, shuffle=True)).samples for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


class Dictionaries:
    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        yield {"inputs": torch.zeros(2, 3, 8, 8), "targets": torch.zeros(2)}


NO_BATCHES: list[Any] = []
THIRD_CLASS = [(torch.zeros(2, 3, 8, 8), torch.tensor([0, 2]))]


@pytest.mark.parametrize(
    ("model", "given", "error", "message"),
    [
        (3, {}, UnsupportedModelError, "expected an architecture name or a torch.nn.Module, got int"),
        (nn.Linear, {}, UnsupportedModelError, "torch.nn.Module, got type"),
        (network(), {"train_batches": None}, UsageError, "expected train_batches beside a model object, got none"),
        (network(), {"test_batches": None}, UsageError, "expected test_batches beside a model object, got none"),
        (network(), {"train_batches": iter(())}, UsageError, "gone through every epoch, got a tuple_iterator"),
        (network(), {"task": "tagging"}, UsageError, "expected a task (classification, binary, multi-label, "),
        (network(), {"test_batches": NO_BATCHES}, DataError, "expected batches, got none"),
        (network(), {"test_batches": Dictionaries()}, DataError, "(inputs, targets) of two tensors, got dict"),
        (network(), {"test_batches": THIRD_CLASS}, UnsupportedModelError, "the loss fails on outputs (2, 2) and"),
        (network(), {"loss": lambda output, target: output}, UnsupportedModelError, "a scalar tensor, got (4, 2)"),
        (network(), {"loss": lambda output, target: 1.0}, UnsupportedModelError, "a scalar tensor, got float"),
        (Lambda(lambda x: {"logits": x}), {}, UnsupportedModelError, "Lambda to give one tensor, got dict"),
        (
            TrainsBadly(lambda x: x),
            {},
            UnsupportedModelError,
            "TrainsBadly in training mode fails on inputs (2, 3, 8, 8)",
        ),
        (nn.Linear(5, 2), {}, UnsupportedModelError, "Linear fails on inputs (4, 3, 8, 8): "),
    ],
)
def test_refuses_own_objects_that_do_not_fit(
    model: Any, given: dict[str, Any], error: type[SlimpruneError], message: str
) -> None:
    with pytest.raises(error) as caught:
        own(model, **given)
    assert message in str(caught.value)


def test_refuses_a_model_that_cannot_be_copied() -> None:
    model = network()
    model.cache = model[0].weight * 2  # type: ignore[assignment]
    with pytest.raises(UnsupportedModelError, match="expected tensors that can be copied, got cache of Sequential"):
        own(model)


def test_seeded_puts_the_generator_back_after_an_error() -> None:
    def draw_and_stop() -> None:
        with seeded(3):
            drawn.append(torch.rand(1))
            raise ValueError("stop")

    state, drawn = torch.get_rng_state(), []
    for _ in range(2):
        with pytest.raises(ValueError, match="stop"):
            draw_and_stop()
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(drawn[0], drawn[1])


def head_of(model: nn.Module) -> str:
    return [name for name, _ in model.named_parameters()][-1].rpartition(".")[0]


def test_given_weights_of_other_classes_need_a_reset_head(settings: dict[str, Any], tmp_path: Path) -> None:
    given = named(settings, seed=1).model
    head, file = head_of(given), tmp_path / "w.pth"
    tensors = dict(given.state_dict())
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}}, file)
    assert named(settings, weights=file).without_weights == ()
    tensors |= {f"{head}.weight": tensors[f"{head}.weight"].repeat(500, 1), f"{head}.bias": torch.zeros(1000)}
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}}, file)
    with pytest.raises(DataError, match=f"expected 2 outputs of the head {head}, got 1000: --reset-head"):
        named(settings, weights=file)
    work = named(settings, weights=file, reset_head=True)
    assert work.without_weights == (f"{head}.weight", f"{head}.bias")
    assert torch.equal(work.model[0].weight, given[0].weight)
    assert torch.equal(work.model.get_submodule(head).weight, named(settings).model.get_submodule(head).weight)


def test_only_some_architectures_have_pretrained_weights(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected an architecture with pretrained weights"):
        named(settings, pretrained=True)
