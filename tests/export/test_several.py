"""Networks with several inputs or outputs: names, free dimensions and verification of each."""

import onnxruntime
import pytest
import torch
from torch import nn

import slimprune
from slimprune.errors import DataError, UnsupportedModelError, UsageError, VerificationError

GENERATOR = torch.Generator().manual_seed(0)
IMAGES, EXTRA = torch.rand(7, 3, 8, 8, generator=GENERATOR), torch.rand(7, 5, generator=GENERATOR)
PAIR = (IMAGES[:2], EXTRA[:2])


class Two(nn.Module):
    """An image and numbers in, classes and a box out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image, self.extra = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(5, 8)
        self.classes, self.box = nn.Linear(8, 4), nn.Linear(8, 2)

    def forward(self, image, extra):
        both = self.image(image).relu().mean((2, 3)) + self.extra(extra).relu()
        return {"classes": self.classes(both), "box": self.box(both), "index": self.classes(both).argmax(1)}


def shapes(path):
    session = onnxruntime.InferenceSession(path)
    return {one.name: one.shape for one in session.get_inputs()}, {one.name: one.shape for one in session.get_outputs()}


def test_every_tensor_has_its_name_and_a_free_batch_and_all_outputs_are_verified(tmp_path):
    model, file = Two(), tmp_path / "two.onnx"
    assert slimprune.export_onnx(model, PAIR, file, metadata={"made": "here"}).opset == 18
    assert shapes(file) == (
        {"image": ["batch", 3, 8, 8], "extra": ["batch", 5]},
        {"classes": ["batch", 4], "box": ["batch", 2], "index": ["batch"]},
    )
    check = slimprune.verify_onnx(model, file, (IMAGES, EXTRA))
    assert (check.samples, check.batches, check.top1_agreement) == (7, (1, 2, 5), 1.0)
    assert 0 < check.max_abs_diff < 1e-5
    with torch.no_grad():
        model.box.bias[0] += 0.1
    with pytest.raises(VerificationError, match="expected outputs within"):
        slimprune.verify_onnx(model, file, (IMAGES, EXTRA))


def test_an_index_that_differs_is_found(tmp_path):
    model, file = Two(), tmp_path / "two.onnx"
    slimprune.export_onnx(model, PAIR, file, forward_fn=lambda net, pair: net(*pair)["index"])
    with torch.no_grad():
        model.classes.bias[1] += 100
    with pytest.raises(VerificationError, match="got inf"):
        slimprune.verify_onnx(model, file, (IMAGES, EXTRA), forward_fn=lambda net, pair: net(*pair)["index"])


def test_further_dimensions_are_free_where_the_file_computes_the_same_at_other_sizes(tmp_path):
    file = tmp_path / "two.onnx"
    slimprune.export_onnx(Two(), PAIR, file, free={"image": {2: "height", 3: "width"}})
    assert shapes(file)[0]["image"] == ["batch", 3, "height", "width"]
    larger = torch.rand(3, 3, 12, 20, generator=GENERATOR)
    assert slimprune.verify_onnx(Two(), file, (larger, EXTRA[:3]), batches=(1, 3)).max_abs_diff < 1e-5


@pytest.mark.parametrize(
    ("batch", "forward_fn", "inputs", "outputs"),
    [
        (PAIR, lambda net, pair: net(*pair)["box"], ["input_0", "input_1"], ["output"]),
        (
            {"image": PAIR[0], "more": [PAIR[1]]},
            lambda net, one: tuple(net(one["image"], one["more"][0]).values())[:2],
            ["image", "more_0"],
            ["output_0", "output_1"],
        ),
        (
            {"image": PAIR[0], "box": PAIR[1]},
            lambda net, one: {"box": net(one["image"], one["box"])["box"]},
            ["image", "box"],
            ["box_output"],
        ),
    ],
    ids=["tuple", "dict", "one name on both sides"],
)
def test_names_with_a_forward_fn_are_keys_and_numbers(batch, forward_fn, inputs, outputs, tmp_path):
    file = tmp_path / "net.onnx"
    slimprune.export_onnx(Two(), batch, file, forward_fn=forward_fn)
    assert tuple(map(list, shapes(file))) == (inputs, outputs)
    assert slimprune.verify_onnx(Two(), file, batch, batches=(1, 2), forward_fn=forward_fn).top1_agreement == 1


def test_one_tensor_in_a_tuple_may_have_several_outputs(tmp_path):
    file = tmp_path / "net.onnx"
    forward_fn = lambda net, parts: (net(parts[0]), net(parts[0]).relu())  # noqa: E731
    slimprune.export_onnx(nn.Linear(5, 3), (EXTRA,), file, forward_fn=forward_fn)
    assert list(shapes(file)[1]) == ["output_0", "output_1"]


class Ignores(nn.Module):
    def forward(self, image, extra):
        return image.mean((2, 3))


class Mixes(nn.Module):
    def forward(self, image, extra):
        return image.flatten() @ image.flatten()


@pytest.mark.parametrize(
    ("model", "example", "options", "error", "found"),
    [
        (Two(), (IMAGES, EXTRA[:3]), {}, DataError, r"equally many samples each"),
        (Two(), ([], []), {}, DataError, "got none"),
        (Two(), (IMAGES[:2],), {}, UnsupportedModelError, "expected a model that takes inputs"),
        (Mixes(), PAIR, {}, UnsupportedModelError, r"expected 2 rows of output for 2 samples, got \[\]"),
        (Two(), PAIR, {"free": {"picture": {2: "height"}}}, UsageError, r"\(image, extra\), got 'picture'"),
        (Two(), PAIR, {"free": {"image": {0: "height"}}}, UsageError, "got 0: 'height'"),
        (IMAGES, IMAGES, {"free": {"image": {2: "height"}}}, UsageError, "beside an example that is no tensor"),
        (Two(), PAIR, {"free": {"extra": {1: "numbers"}}}, UnsupportedModelError, "."),
        (Two(), PAIR, {"input": "uint8"}, UsageError, "preprocessing"),
    ],
)
def test_what_cannot_be_exported_is_refused(model, example, options, error, found, tmp_path):
    with pytest.raises(error, match=found):
        slimprune.export_onnx(model, example, tmp_path / "net.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_a_file_of_other_inputs_is_refused(tmp_path):
    file = tmp_path / "two.onnx"
    slimprune.export_onnx(Two(), PAIR, file)
    with pytest.raises(VerificationError, match="expected inputs input_0, input_1, got image, extra"):
        slimprune.verify_onnx(Two(), file, PAIR, forward_fn=lambda net, pair: net(*pair))


def test_an_input_that_the_model_does_not_use_is_part_of_the_file(tmp_path):
    slimprune.export_onnx(Ignores(), PAIR, tmp_path / "net.onnx")
    assert list(shapes(tmp_path / "net.onnx")[0]) == ["image", "extra"]
