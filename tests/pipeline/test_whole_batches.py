"""`compress` with a `forward_fn`, with several inputs and with mappings."""

import json

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import slimprune
from slimprune.errors import DataError, UnsupportedModelError, UsageError

GENERATOR = torch.Generator().manual_seed(0)
IMAGES, WEIGHTS = torch.rand(32, 3, 8, 8, generator=GENERATOR), torch.rand(32, 1, generator=GENERATOR)
LABELS = (IMAGES.mean((1, 2, 3)) > IMAGES.mean()).long()
SETTINGS = {"ratio": 0.4, "epochs": 1, "lr": 0.01, "criterion": "taylor", "draws": 1}


class Weighted(nn.Module):
    """Two inputs, and a mapping as the output."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net, self.norm, self.head = nn.Conv2d(3, 10, 3), nn.BatchNorm2d(10), nn.Linear(10, 2)

    def forward(self, image, weight):
        features = F.relu(self.norm(self.net(image))).mean((2, 3))
        return {"logits": self.head(features * weight), "doubled": 2 * weight}


class Logits(Weighted):
    """The same with one output."""

    def forward(self, image, weight):
        return super().forward(image, weight)["logits"]


def mappings():
    parts = zip(IMAGES.split(16), WEIGHTS.split(16), LABELS.split(16), strict=True)
    return [{"image": image, "weight": weight, "label": label, "name": "x"} for image, weight, label in parts]


def by_name(model, batch):
    return model(batch["image"], batch["weight"])


def loss(output, batch):
    return F.cross_entropy(output["logits"], batch["label"])


def hits(output, batch):
    correct = (output["logits"].argmax(1) == batch["label"]).sum().reshape(1)
    return correct, torch.full_like(correct, len(batch["label"]))


OWN = {"forward_fn": by_name, "loss": loss, "metric": slimprune.Metric("hits", hits)}


@pytest.mark.parametrize("when", ["before-training", "after-training"])
def test_a_forward_fn_scores_trains_and_exports(tmp_path, when):
    model, batches = Weighted(), mappings()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    given = {**SETTINGS, **OWN, "train_batches": batches, "test_batches": batches, "when": when}
    ending = "onnx" if when == "before-training" else "slim"
    report = slimprune.compress(model, out=tmp_path / f"net.{ending}", **given)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert json.loads((tmp_path / "net.report.json").read_text())["metric"]["name"] == "hits"
    slim = slimprune.load(tmp_path / "net.slim", model=Weighted())
    assert slim.net.out_channels == report.plan.widths["net"] < 10
    # 0 MACs of the norm: widths w give 27 * 36 * w for the convolution and 2 * w for the head
    assert report.slim.cost.macs == (27 * 36 + 2) * slim.net.out_channels
    if ending == "slim":
        return
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    assert [one.name for one in session.get_inputs()] == ["image", "weight"]
    assert [one.name for one in session.get_outputs()] == ["logits", "doubled"]
    logits, _ = session.run(None, {"image": IMAGES[:3].numpy(), "weight": WEIGHTS[:3].numpy()})
    assert torch.from_numpy(logits).allclose(slim(IMAGES[:3], WEIGHTS[:3])["logits"], atol=1e-5)


def test_several_inputs_have_a_task_by_name(tmp_path):
    batches = [((image, weight), label) for image, weight, label in (
        tuple(batch[key] for key in ("image", "weight", "label")) for batch in mappings()
    )]  # fmt: skip
    report = slimprune.compress(
        Logits(), train_batches=batches, test_batches=batches, out=tmp_path / "net.onnx", **SETTINGS
    )
    assert report.judged.metric == "top1"
    names = [one.name for one in onnxruntime.InferenceSession(tmp_path / "net.onnx").get_inputs()]
    assert names == ["image", "weight"]


@pytest.mark.parametrize(
    ("options", "error", "found"),
    [
        ({"loss": "auto"}, UsageError, "a loss of .output, batch. beside a forward_fn, got 'auto'"),
        ({"metric": "top1"}, UsageError, "a metric of .output, batch. beside a forward_fn, got 'top1'"),
        (
            {"forward_fn": lambda model, batch: model(batch["x"])},
            UnsupportedModelError,
            "the forward_fn fails with Wei",
        ),
        ({"loss": lambda output, batch: output}, UnsupportedModelError, "expected the loss .* scalar"),
        ({"mixup": 0.2}, UsageError, "no --mixup beside a forward_fn or several inputs"),
        ({"of": "latency"}, UsageError, "no --latency budget beside a forward_fn or several inputs"),
        ({"test_batches": []}, DataError, "expected batches, got none"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_step(tmp_path, options, error, found):
    steps = []
    given = {**SETTINGS, **OWN, "train_batches": mappings(), "test_batches": mappings(), **options}
    with pytest.raises(error, match=found):
        slimprune.compress(Weighted(), out=tmp_path / "n.onnx", listener=lambda *told: steps.append(told), **given)
    assert [told for told in steps if told[0].startswith("train")] == []
