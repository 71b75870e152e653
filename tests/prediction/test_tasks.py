"""What `predict` says of the outputs of every task, beside what the network computes."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import slimprune
from slimprune.cli import run
from slimprune.errors import VerificationError
from slimprune.prediction import predict, write_masks
from slimprune.preprocessing import Preprocessing

LOGITS = torch.tensor([2.0, 1.0, -1.0])


class Fixed(nn.Module):
    """The same numbers for every image."""

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("values", values)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.values + 0 * images.sum((1, 2, 3))[:, None]


def written(folder, model, output, names=()):
    how = Preprocessing((0.0,) * 3, (1.0,) * 3, 8, 8, class_names=names)
    metadata = {"output": output} if output else {}
    file = folder / "net.onnx"
    slimprune.export_onnx(model.eval(), torch.rand(2, 3, 8, 8), file, preprocessing=how, metadata=metadata)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "image.png")
    return file, folder / "image.png", torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("", LOGITS.softmax(0)),
        ("classes", LOGITS.softmax(0)),
        ("labels", LOGITS.sigmoid()),
    ],
)
def test_classes_share_a_probability_of_one_and_labels_do_not(tmp_path, output, expected):
    net, image, _ = written(tmp_path, Fixed(LOGITS), output, ("a", "b", "c"))
    found = predict(net, image)[0].classes
    assert [one.name for one in found] == ["a", "b", "c"]
    assert [one.probability for one in found] == pytest.approx(expected.tolist(), abs=1e-6)


def test_one_logit_is_yes_or_no(tmp_path):
    net, image, _ = written(tmp_path, Fixed(torch.tensor([-1.5])), "logit", ("no", "yes"))
    found = {one.name: one.probability for one in predict(net, image)[0].classes}
    assert found == {"no": pytest.approx(1 / (1 + np.exp(-1.5))), "yes": pytest.approx(1 / (1 + np.exp(1.5)))}


def test_values_are_numbers_and_no_probabilities(tmp_path, capsys):
    net, image, _ = written(tmp_path, Fixed(LOGITS), "values", ("x", "y", "z"))
    found = predict(net, image)[0]
    assert (found.values, found.classes) == ({"x": 2.0, "y": 1.0, "z": -1.0}, ())
    assert run(["predict", str(net), str(image)]) == 0
    assert capsys.readouterr().out.split()[1:] == ["2", "x", "1", "y", "-1", "z"]


def test_classes_of_pixels_are_written_as_their_numbers(tmp_path, capsys):
    network = nn.Conv2d(3, 3, 1)
    net, image, pixels = written(tmp_path, network, "class map", ("a", "b", "c"))
    expected = network(pixels)[0].argmax(0)
    found = predict(net, image)[0]
    assert found.mask is not None
    assert np.array_equal(found.mask, expected.numpy())
    covered = {name: float((expected == k).double().mean()) for k, name in enumerate("abc")}
    assert found.shares == {name: share for name, share in covered.items() if share}
    assert run(["predict", str(net), str(image), "--out", str(tmp_path / "maps"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)[0]
    assert np.array_equal(np.asarray(Image.open(printed["mask"])), found.mask)


def test_images_are_written_as_pixels(tmp_path):
    net, image, pixels = written(tmp_path, nn.Hardtanh(0.25, 0.75), "image")
    found = predict(net, image)
    file = write_masks(found, tmp_path / "out")[image]
    expected = (255 * pixels[0].clamp(0.25, 0.75)).round().permute(1, 2, 0)
    assert np.abs(np.asarray(Image.open(file)).astype(int) - expected.numpy()).max() <= 1


def test_outputs_that_only_their_owner_can_read_are_refused(tmp_path):
    net, image, _ = written(tmp_path, Fixed(LOGITS), "other")
    with pytest.raises(VerificationError, match=r"can be read as other of .* got \[3\] per image"):
        predict(net, image)
