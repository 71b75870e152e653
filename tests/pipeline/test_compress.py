"""`compress` as a function: from objects or names, with what it tells, leaves and resumes."""

import copy
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import slimprune
from slimprune import pipeline
from slimprune.cli.choices import available
from slimprune.errors import BudgetError, SlimpruneError, UnsupportedModelError, UsageError, VerificationError
from slimprune.graph import keep_channels
from slimprune.models import save_weights
from slimprune.pipeline import stages as steps
from slimprune.pipeline.workload import named_workload
from slimprune.recipe import make_recipe
from slimprune.surgery import read
from slimprune.types import REMARK
from tests.commands import listing
from tests.conftest import Compressed, tiny_images
from tests.data.asserts import SHARED_DATA

compressing = sys.modules["slimprune.pipeline.compress"]  # the package's name of that is the function

Event = tuple[str, int, int, str]


UNPOOLING = """
import torch
from torch import nn
from torch.nn import functional


class Unpooling(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.stem, self.body = nn.Conv2d(in_channels, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)
        self.head = nn.Linear(4, num_classes)

    def forward(self, images):
        if torch.jit.is_tracing():
            raise TypeError("there is no trace of me")
        pooled, places = functional.max_pool2d(self.stem(images).relu(), 2, return_indices=True)
        return self.head(self.body(functional.max_unpool2d(pooled, places, 2)).relu().mean((2, 3)))
"""


def own_model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(6, 2),
        )  # fmt: skip


def loader(count: int) -> DataLoader[tuple[Tensor, ...]]:
    images = tiny_images(count).float() / 255
    return DataLoader(TensorDataset(images, torch.arange(count) % 2), batch_size=8, shuffle=True)


def compress_own(model: nn.Module, out: Path, **changes: Any) -> slimprune.Report:
    given = {"train_batches": loader(32), "test_batches": loader(35), "ratio": 0.5, "epochs": 1, "draws": 1}
    return slimprune.compress(model, **{**given, "out": out, **changes})


def weights(onnx_file: Path) -> bytes:
    return (onnx_file.with_suffix(".slim") / "weights.safetensors").read_bytes()


# What a run leaves and tells -----------------------------------------------------------------------------------------


def test_the_slim_model_is_what_the_report_says(compressed: Compressed) -> None:
    model = slimprune.load(compressed.bundle, trust_code=True)
    document = compressed.document
    assert sum(parameter.numel() for parameter in model.parameters()) == document["params"]["slim"]
    layers = dict(model.named_modules())
    for entry in document["widths"]:
        layer = layers[entry["layer"]]
        assert getattr(layer, "out_channels", getattr(layer, "out_features", None)) == entry["slim"]
    assert document["proof"]["passed"]
    assert document["proof"]["max_rel_diff"] <= document["proof"]["tolerance"] == 1e-5
    assert document["onnx"]["bytes"] == compressed.onnx.stat().st_size
    assert document["recipe"]["hash"] == compressed.report.recipe.hash


def test_the_report_on_disk_is_the_report_that_is_returned(compressed: Compressed) -> None:
    assert compressed.document == json.loads(json.dumps(compressed.report.to_json()))
    page = compressed.onnx.with_suffix(".report.md").read_text()
    assert f"| parameters | 1,474 | {compressed.document['params']['slim']:,} |" in page


def test_the_dense_network_is_trained_as_a_baseline(compressed: Compressed) -> None:
    (baseline,) = compressed.document["baselines"]
    assert baseline["name"] == "dense"
    assert baseline["epochs"] == 2
    assert 0 <= baseline["top1"] == baseline["final"] <= baseline["best"] <= 1


def test_the_onnx_file_runs_on_its_own_and_says_where_it_comes_from(compressed: Compressed) -> None:
    entries = {entry.key: entry.value for entry in onnx.load(compressed.onnx).metadata_props}
    document = compressed.document
    expected = {
        "recipe_hash": document["recipe"]["hash"],
        "arch": document["recipe"]["arch"],
        "data": document["recipe"]["data"],
        "ratio": "0.5",
        "of": "params",
        "params": str(document["params"]["slim"]),
        "macs": str(document["macs"]["slim"]),
        "top1": str(document["training"]["top1"]),
        "version": document["environment"]["slimprune"],
    }
    assert {key: entries[f"slimprune.{key}"] for key in expected} == expected
    described = json.loads((compressed.bundle / "slim.json").read_text())
    assert entries["slimprune.weights_sha256"] == described["sha256"]["weights.safetensors"]
    session = onnxruntime.InferenceSession(compressed.onnx)
    images, how = torch.rand(3, 3, 16, 16), read(compressed.bundle).preprocessing
    assert how is not None
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (how.mean, how.std))
    with torch.no_grad():
        expected_output = slimprune.load(compressed.bundle, trust_code=True)((images - mean) / std)
    torch.testing.assert_close(torch.from_numpy(session.run(None, {"input": images.numpy()})[0]), expected_output)


def test_the_listener_hears_every_stage_from_start_to_end(compressed: Compressed) -> None:
    stages = list(dict.fromkeys(stage for stage, *_ in compressed.events))
    assert stages == ["prove", "score", "train dense", "train", "export"]
    for stage in stages:
        done = [(done, total) for name, done, total, _ in compressed.events if name == stage]
        assert [one for one, _ in done] == sorted(one for one, _ in done)
        assert [one == total for one, total in done].count(True) == 1
        assert done[-1][0] == done[-1][1]
    # 40 images in batches of 8, two epochs
    assert [done for stage, done, _, _ in compressed.events if stage == "train"] == list(range(1, 11))
    notes = [note for stage, _, _, note in compressed.events if stage == "train"]
    assert notes[0] == "epoch 1"
    assert re.fullmatch(r"epoch 2, top1 \d+\.\d\d %", notes[-1])


def test_segmentation(masked_data: str, tmp_path: Path) -> None:
    out = tmp_path / "unet.onnx"
    settings = {"data": masked_data, "ratio": 0.5, "of": "macs", "epochs": 1, "draws": 1, "batch_size": 8, "out": out}
    report = slimprune.compress("unet:depth=2,width=4", loss="bce+dice", train_dense=True, **settings)
    document = report.to_json()
    assert document["training"]["miou"] == document["training"]["final"]
    assert document["budget"]["achieved"] == document["macs"]["removed"] >= 0.5
    assert (document["rule"], document["recipe"]["loss"]) == ("uniform", "bce+dice")
    assert "slimprune.miou" in {entry.key for entry in onnx.load(out).metadata_props}
    assert document["onnx"]["size_step"] == 1
    assert document["onnx"]["sizes"] == [[17, 19], [8, 17], [16, 12]]
    check = pipeline.verify(out.with_suffix(".slim"), out)
    assert (check.samples, check.sizes) == (17, ((17, 19), (8, 17), (16, 12)))
    pictures = document["pictures"]
    assert listing(tmp_path / "unet.pictures") == sorted(entry["file"].split("/")[1] for entry in pictures)
    assert 3 <= len(pictures) <= 5
    assert all("mean IoU dense" in entry["title"] for entry in pictures)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "unet.onnx", "unet.pictures", "unet.report.html", "unet.report.json", "unet.report.md", "unet.slim",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED_DATA / "nuclei").is_dir(), reason="the nuclei images are not at hand")
def test_a_u_net_on_real_nuclei(tmp_path: Path) -> None:
    document = slimprune.compress(
        "unet:depth=2,width=6", data=f"hf:{SHARED_DATA / 'nuclei'}", image_size=31, train_size=128, ratio=0.3,
        epochs=10, draws=1, score_batch=8, batch_size=8, out=tmp_path / "n.onnx",
    ).to_json()  # fmt: skip
    # Nothing but background would be a mean IoU of 43 %.
    assert document["training"]["best"] > 0.5
    assert document["onnx"]["sizes"] == [[32, 34], [16, 32], [31, 24]]
    assert {picture["file"] for picture in document["pictures"]} >= {"n.pictures/image-1.png", "n.pictures/image-2.png"}
    assert listing(tmp_path)[0] == "n.onnx"


class Mapped(nn.Module):
    """A segmentation as torchvision's, which give their output by name."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1))
        self.head, self.aux = nn.Conv2d(8, 2, 1), nn.Conv2d(8, 2, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.body(images)
        return {"out": self.head(features), "aux": self.aux(features)}


def test_a_model_object_with_outputs_by_name(tmp_path: Path) -> None:
    images = tiny_images(20).float() / 255
    batches = DataLoader(TensorDataset(images, (images[:, :1] > 0.5).float()), batch_size=8, shuffle=True)
    model, state = Mapped(), torch.get_rng_state()
    report = compress_own(
        model, tmp_path / "a.onnx", train_batches=batches, test_batches=batches, task="segmentation", loss="dice"
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert report.recipe.loss == "dice"
    slim = slimprune.load(tmp_path / "a.slim", model=model)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    larger = torch.rand(3, 3, 21, 30)
    with torch.no_grad():
        expected = slim(larger)
    torch.testing.assert_close(
        torch.from_numpy(session.run(None, {"input": larger.numpy()})[0]), expected, rtol=1e-4, atol=1e-5
    )
    assert expected.shape == (3, 2, 21, 30)
    assert listing(tmp_path / "a.pictures")


def test_a_loss_of_another_task_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected a loss for classification \(auto, cross-entropy\), got 'dice'"):
        slimprune.compress(**settings, loss="dice", out=tmp_path / "a.slim")
    assert listing(tmp_path) == []


# Objects instead of names --------------------------------------------------------------------------------------------


def test_a_model_object_is_left_untouched_and_equal_seeds_give_equal_weights(tmp_path: Path) -> None:
    model = own_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator = torch.get_rng_state()
    first = compress_own(model, tmp_path / "a.slim")
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    torch.rand(7)
    compress_own(model, tmp_path / "b.slim")
    assert weights(tmp_path / "a.slim") == weights(tmp_path / "b.slim")
    document = first.to_json()
    recipe = document["recipe"]
    assert (recipe["arch"], recipe["data"], recipe["batch_size"]) == (None, "own batches", None)
    slim = slimprune.load(tmp_path / "a.slim", model=model)
    assert sum(parameter.numel() for parameter in slim.parameters()) == document["params"]["slim"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"data": "digits"}, UsageError, "expected no data beside a model object and its batches, got 'digits'"),
        ({"batch_size": 3}, UsageError, "expected no batch_size beside a model object"),
        ({"arch": "vgg19"}, UsageError, "expected no arch beside a model object"),
        ({"validation": 0.1}, UsageError, "expected no validation beside a model object and its batches, got 0.1"),
        ({"weights": "w.safetensors"}, UsageError, "expected no weights beside a model object and its batches"),
        ({"when": "rewind", "rewind_step": 5}, UsageError, "within the 4 steps of the dense training, got 5"),
        ({"also": {"params": 0.5}}, UsageError, "expected each quantity once in a budget, got params twice"),
        ({"train_batches": None}, UsageError, "expected train_batches beside a model object, got none"),
        ({"out": None}, UsageError, "expected an ONNX file to write (--out), got none"),
        ({"criterion": "3sp", "steps": 2}, UsageError, "criterion 3sp has no option 'steps'"),
        ({"rule": "uniform", "criterion": "nosuch"}, UsageError, "expected a criterion"),
        ({"ratio": 0.999}, BudgetError, "a ratio of 0.9"),
        ({"model": nn.Linear}, UnsupportedModelError, "expected an architecture name or a torch.nn.Module, got type"),
        ({"model": "vgg19"}, UsageError, "expected a model object beside batches or a loss, got 'vgg19'"),
    ],
)
def test_refuses_what_does_not_go_together(
    tmp_path: Path, changes: dict[str, Any], error: type[SlimpruneError], message: str
) -> None:
    model = changes.get("model", own_model())
    with pytest.raises(error) as caught:
        compress_own(model, **{"out": tmp_path / "a.slim", **{k: v for k, v in changes.items() if k != "model"}})
    assert message in str(caught.value)
    assert listing(tmp_path) == []


class Untraceable(nn.Module):
    """Works in torch, but not for an exporter: what is done depends on the values."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 2)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.body(images).relu().mean((2, 3))
        output: Tensor = self.head(features)
        return output if float(output.detach()[0, 0]) < 1e9 else output + 1


def test_a_model_that_cannot_be_exported_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    stages: list[str] = []
    with pytest.raises(UnsupportedModelError, match="exporter"):
        compress_own(Untraceable(), tmp_path / "a.onnx", listener=lambda stage, *_: stages.append(stage))
    assert "train" not in stages
    assert listing(tmp_path) == []


def test_a_bundle_alone_needs_no_export(tmp_path: Path) -> None:
    report = compress_own(Untraceable(), tmp_path / "a.slim")
    assert report.onnx is None
    assert {path.name for path in tmp_path.iterdir()} == {"a.report.html", "a.report.json", "a.report.md", "a.slim"}
    slim = slimprune.load(tmp_path / "a.slim", model=Untraceable())
    assert slim.body.weight.shape[0] == report.plan.widths["body"] < 8


# Other starts --------------------------------------------------------------------------------------------------------


@dataclass
class Trainings:
    """The networks that were trained, by stage, before and after their training."""

    before: dict[str, nn.Module] = field(default_factory=dict)
    after: dict[str, nn.Module] = field(default_factory=dict)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    found, train = Trainings(), steps.run_training

    def watched(settings: Any, work: Any, module: nn.Module, store: Path, *rest: Any, **options: Any) -> Any:
        found.before[store.name] = copy.deepcopy(module)
        result = train(settings, work, module, store, *rest, **options)
        found.after[store.name] = copy.deepcopy(module)
        return result

    monkeypatch.setattr(steps, "run_training", watched)
    monkeypatch.setattr(compressing, "run_training", watched)
    return found


def assert_inherits(slim: nn.Module, dense: nn.Module, plan: slimprune.Plan) -> None:
    """The slim network has the dense one's parameters at the kept channels."""
    expected = dict(keep_channels(dense, plan.groups, plan.kept).named_parameters())
    for name, tensor in slim.named_parameters():
        assert torch.equal(tensor, expected[name]), name


STAGES = {"before-training": ["prove", "score", "train", "export"]}
STAGES["after-training"] = STAGES["rewind"] = ["prove", "train dense", "score", "train", "export"]


@pytest.mark.parametrize(
    "changes",
    [
        {"when": "after-training"},
        {"when": "rewind", "rewind_step": 0},
        {"when": "rewind", "rewind_step": 10},
        {"when": "before-training"},
    ],
    ids=str,
)
def test_the_slim_network_starts_from_the_kept_weights_of_its_schedule(
    settings: dict[str, Any], tmp_path: Path, trainings: Trainings, changes: dict[str, Any]
) -> None:
    events: list[Event] = []
    wanted = {**settings, **changes, "epochs": 1, "dense_epochs": 2, "train_dense": True, "out": tmp_path / "a.slim"}
    wanted["reconstruct"] = False
    report = slimprune.compress(**wanted, listener=lambda *event: events.append(event))
    trained = changes["when"] == "after-training" or changes.get("rewind_step") == 10
    dense = (trainings.after if trained else trainings.before)["train dense"]
    assert_inherits(trainings.before["train"], dense, report.plan)
    document = report.to_json()
    (baseline,) = document["baselines"]
    assert (baseline["name"], baseline["epochs"], document["training"]["epochs"]) == ("dense", 2, 1)
    assert document["recipe"]["when"] == changes["when"]
    if changes["when"] != "before-training":
        assert list(dict.fromkeys(stage for stage, *_ in events)) == STAGES[changes["when"]]


def test_scores_of_the_trained_network_choose_other_channels(settings: dict[str, Any], tmp_path: Path) -> None:
    trained, rewound, initial = (
        slimprune.compress(**settings, when=when, dense_epochs=20, out=tmp_path / "a.slim").plan
        for when in ("after-training", "rewind", "before-training")
    )
    kept = [{group: channels.tolist() for group, channels in p.kept.items()} for p in (trained, rewound, initial)]
    assert kept[0] == kept[1] != kept[2]


def test_a_model_object_can_be_trained_first(tmp_path: Path, trainings: Trainings) -> None:
    model = own_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = compress_own(model, tmp_path / "a.slim", when="after-training", epochs=2, reconstruct=False)
    assert_inherits(trainings.before["train"], trainings.after["train dense"], report.plan)
    assert report.dense_training is not None
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(name.startswith(".") for name in listing(tmp_path))


def test_planning_does_not_train(settings: dict[str, Any]) -> None:
    for when in ("after-training", "rewind"):
        with pytest.raises(UsageError, match=f"to plan without training, got {when}"):
            pipeline.plan(**settings, when=when)


def test_weights_from_a_file_decide_scores_and_result(
    settings: dict[str, Any], tmp_path: Path, trainings: Trainings
) -> None:
    file, outs = tmp_path / "w.safetensors", [tmp_path / "plain.slim", tmp_path / "filled.slim"]
    work = named_workload(make_recipe({**settings, "seed": 5}).with_defaults(), "cpu")
    save_weights(work.model, file)
    plain = slimprune.compress(**settings, out=outs[0])
    filled = slimprune.compress(**settings, weights=file, out=outs[1])
    assert_inherits(trainings.before["train"], work.model, filled.plan)
    assert plain.plan.to_json() != filled.plan.to_json()
    assert weights(outs[0]) != weights(outs[1])
    assert plain.recipe.hash != filled.recipe.hash
    assert filled.to_json()["recipe"]["weights"] == str(file)


def test_initial_weights_may_be_rescaled_or_drawn_anew(
    settings: dict[str, Any], tmp_path: Path, trainings: Trainings
) -> None:
    starts, plans = {}, set()
    for init in ("keep", "rescale", "reinit"):
        report = slimprune.compress(**settings, init=init, out=tmp_path / "a.slim")
        starts[init] = dict(trainings.before["train"].named_parameters())
        plans.add(report.plan.to_json())
    assert len(plans) == 1
    gain = (16 / report.plan.widths["3"]) ** 0.5
    assert gain > 1
    torch.testing.assert_close(starts["rescale"]["8.weight"], gain * starts["keep"]["8.weight"])
    dense = named_workload(make_recipe(settings).with_defaults(), "cpu").model.get_parameter("8.weight")
    assert torch.isin(starts["reinit"]["8.weight"], gain * dense).all()
    assert not torch.equal(starts["reinit"]["8.weight"], starts["rescale"]["8.weight"])


def test_twins_have_the_widths_of_the_plan_and_other_channels(
    settings: dict[str, Any], tmp_path: Path, trainings: Trainings
) -> None:
    plans = []
    for twin in (None, "shuffle", "invert"):
        plans.append(slimprune.compress(**settings, twin=twin, out=tmp_path / "a.slim").plan)
        dense = named_workload(make_recipe(settings).with_defaults(), "cpu").model
        assert_inherits(trainings.before["train"], dense, plans[-1])
    assert plans[0].widths == plans[1].widths == plans[2].widths
    assert len({str([channels.tolist() for channels in plan.kept.values()]) for plan in plans}) == 3


def test_a_second_limit_is_met_as_well(settings: dict[str, Any], tmp_path: Path) -> None:
    document = slimprune.compress(**settings, also={"macs": 0.8}, out=tmp_path / "a.slim").to_json()
    assert document["params"]["removed"] >= 0.5
    assert document["macs"]["removed"] >= 0.8
    assert document["recipe"]["and"] == {"macs": 0.8}
    same = pipeline.plan(**settings, **{"and": "macs=0.8"})
    assert same.recipe.hash == document["recipe"]["hash"]
    assert same.to_json()["widths"] == document["widths"] != pipeline.plan(**settings).to_json()["widths"]


# Interruption --------------------------------------------------------------------------------------------------------


def stop_at(epoch: int) -> Callable[..., None]:
    return stop_in("train", epoch)


def stop_in(stage: str, epoch: int) -> Callable[..., None]:
    def listener(heard: str, done: int, total: int, note: str) -> None:
        if heard == stage and note.startswith(f"epoch {epoch}"):
            raise KeyboardInterrupt

    return listener


@pytest.mark.parametrize("changes", [{"when": "after-training"}, {"when": "rewind", "rewind_step": 7}], ids=str)
def test_a_run_that_is_stopped_in_either_training_ends_in_the_same_weights(
    settings: dict[str, Any], tmp_path: Path, changes: dict[str, Any]
) -> None:
    wanted = {**settings, **changes, "epochs": 3, "init": "reinit"}
    slimprune.compress(**wanted, out=tmp_path / "straight.slim")
    for stage in ("train dense", "train"):
        with pytest.raises(KeyboardInterrupt) as caught:
            slimprune.compress(**wanted, out=tmp_path / "a.slim", listener=stop_in(stage, 3))
        assert "the same command goes on" in caught.value.__notes__[0]
    events: list[Event] = []
    report = slimprune.compress(**wanted, out=tmp_path / "a.slim", listener=lambda *event: events.append(event))
    assert {stage for stage, *_ in events} == {"train", "export"}
    assert epochs_heard(events) == [3]
    assert weights(tmp_path / "a.slim") == weights(tmp_path / "straight.slim")
    assert report.dense_training is not None
    assert report.dense_training.epochs == 3
    assert not any(name.startswith(".") for name in listing(tmp_path))


def test_a_run_whose_weights_file_was_changed_meanwhile_starts_anew(settings: dict[str, Any], tmp_path: Path) -> None:
    file, wanted = tmp_path / "w.safetensors", {**settings, "epochs": 3, "out": tmp_path / "a.slim"}
    for seed in (1, 2):
        save_weights(named_workload(make_recipe({**settings, "seed": seed}).with_defaults(), "cpu").model, file)
        if seed == 1:
            with pytest.raises(KeyboardInterrupt):
                slimprune.compress(**wanted, weights=file, listener=stop_at(3))
    events: list[Event] = []
    slimprune.compress(**wanted, weights=file, listener=lambda *event: events.append(event))
    assert epochs_heard(events) == [1, 2, 3]


def epochs_heard(events: list[Event]) -> list[int]:
    return list(dict.fromkeys(int(note.split()[1].strip(",")) for stage, *_, note in events if stage == "train"))


def test_a_stopped_run_resumes_and_takes_its_plan_from_the_stage(settings: dict[str, Any], tmp_path: Path) -> None:
    wanted = {**settings, "epochs": 3}
    with pytest.raises(KeyboardInterrupt) as caught:
        slimprune.compress(**wanted, out=tmp_path / "a.slim", listener=stop_at(3))
    assert "the same command goes on" in caught.value.__notes__[0]
    events: list[Event] = []
    slimprune.compress(**wanted, out=tmp_path / "a.slim", listener=lambda *event: events.append(event))
    assert epochs_heard(events) == [3]
    assert {stage for stage, *_ in events} == {"train", "export"}
    assert not any(name.startswith(".") for name in listing(tmp_path))


def test_a_run_whose_architecture_was_changed_meanwhile_starts_anew(
    settings: dict[str, Any], arch: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    source = Path(arch.removesuffix(":net")).read_text()
    file.write_text(source)
    wanted = {**settings, "arch": f"{file}:net", "epochs": 3, "out": tmp_path / "a.slim"}
    with pytest.raises(KeyboardInterrupt):
        slimprune.compress(**wanted, listener=stop_at(3))
    file.write_text(source.replace("nn.ReLU()", "nn.SiLU()"))
    events: list[Event] = []
    slimprune.compress(**wanted, listener=lambda *event: events.append(event))
    assert epochs_heard(events) == [1, 2, 3]
    assert any(stage == "score" for stage, *_ in events)


def test_a_model_object_cannot_be_resumed_so_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        compress_own(own_model(), tmp_path / "a.slim", epochs=3, listener=stop_at(3))
    assert not hasattr(caught.value, "__notes__")
    assert listing(tmp_path) == []


# The other commands ---------------------------------------------------------------------------------------------------


def test_a_rule_without_scores_scores_nothing(settings: dict[str, Any]) -> None:
    events: list[Event] = []
    report = pipeline.plan(**settings, rule="uniform", listener=lambda *event: events.append(event))
    assert report.saliency is None
    assert {stage for stage, *_ in events} == {REMARK, "prove"}


def test_an_impossible_budget_is_refused_before_scoring(settings: dict[str, Any]) -> None:
    events: list[Event] = []
    with pytest.raises(BudgetError, match=r"the floor .* leaves 46 of 1,474"):
        pipeline.plan(**{**settings, "ratio": 0.99}, listener=lambda *event: events.append(event))
    assert {stage for stage, *_ in events} == {"prove"}


def test_a_network_that_fvcore_cannot_trace_is_planned_with_a_note(settings: dict[str, Any], tmp_path: Path) -> None:
    file, heard = tmp_path / "unpooling.py", []
    file.write_text(UNPOOLING)
    wanted = {**settings, "arch": f"{file}:Unpooling", "of": "macs", "ratio": 0.3, "rule": "uniform"}
    report = pipeline.plan(**wanted, listener=lambda *event: heard.append(event))
    document = report.to_json()
    assert document["macs"]["dense"] == 16 * 16 * (8 * 3 + 4 * 8) * 9 + 4 * 2
    assert document["macs"]["removed"] >= 0.3
    assert (document["fvcore_macs"]["dense"], document["fvcore_macs"]["slim"]) == (None, None)
    assert document["fvcore_macs"]["note"].startswith("expected a model that fvcore can trace on an input [1, 3, 16, 1")
    assert [note for stage, *_, note in heard if stage == REMARK and "no effect" not in note] == [
        f"no second count of MACs: {document['fvcore_macs']['note']}"
    ]


def test_an_exported_bundle_is_the_file_that_compress_wrote(compressed: Compressed, tmp_path: Path) -> None:
    check = pipeline.export(compressed.bundle, tmp_path / "again.onnx", trust_code=True)
    assert check.path.read_bytes() == compressed.onnx.read_bytes()
    assert listing(tmp_path) == ["again.onnx"]


def test_a_file_of_other_weights_is_told_by_its_metadata(compressed: Compressed, tmp_path: Path) -> None:
    other = slimprune.load(compressed.bundle, trust_code=True)
    slimprune.export_onnx(other, torch.zeros(2, 3, 16, 16), tmp_path / "x.onnx", metadata={"weights_sha256": "0"})
    with pytest.raises(VerificationError, match=r"x\.onnx to be made from the weights of .*, got other weights"):
        pipeline.verify(compressed.bundle, tmp_path / "x.onnx", trust_code=True)


@pytest.mark.parametrize(("kind", "name"), [("archs", "unet"), ("data", "tensors:DIR"), ("rules", "global")])
def test_available_names_are_described(kind: Any, name: str) -> None:
    rows = dict(available(kind))
    assert name in rows
    assert all(rows.values())
