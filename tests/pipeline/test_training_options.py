"""Options of the training as fields of a recipe: what they do, and what is refused before the first step."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import slimprune
from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.graph import find_groups, free_groups
from slimprune.models import save_weights
from slimprune.pipeline import stages as steps
from slimprune.pipeline.class_weights import count_targets
from slimprune.pipeline.regularizers import group_lasso, penalty_of
from slimprune.pipeline.workload import load_data, named_workload
from slimprune.recipe import make_recipe
from slimprune.tasks import find_task
from slimprune.types import REMARK, ignore


@pytest.fixture
def weights(settings: dict[str, Any], tmp_path: Path) -> Path:
    work = named_workload(make_recipe({**settings, "seed": 5}).with_defaults(), "cpu")
    save_weights(work.model, tmp_path / "given.safetensors")
    return tmp_path / "given.safetensors"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """The arguments of every training, by the name of its folder."""
    found: dict[str, dict[str, Any]] = {}
    train = steps.train

    def watched(model: nn.Module, batches: Any, tests: Any, settings: Any, **options: Any) -> Any:
        found[options["checkpoint"].name] = {"settings": settings, "model": model, **options}
        return train(model, batches, tests, settings, **options)

    monkeypatch.setattr(steps, "train", watched)
    return found


OPTIONS: dict[str, Any] = {
    "optimizer": "adamw",
    "warm_up": 0.2,
    "label_smoothing": 0.1,
    "class_weights": "1,2,1,1",
    "ema": 0.9,
    "mixup": 0.2,
    "cutmix": 1,
    "patience": 3,
    "epochs": 2,
}


def test_the_options_reach_the_training_of_both_networks(
    settings: dict[str, Any], calls: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    work = named_workload(make_recipe(settings).with_defaults(), "cpu")
    classes = work.model(work.example).shape[1]
    given = {**settings, **OPTIONS, "class_weights": [1.0] * (classes - 1) + [2.0]}
    report = slimprune.compress(**given, train_dense=True, out=tmp_path / "a.slim")
    assert list(calls) == ["train dense", "train"]
    for call in calls.values():
        made = call["settings"]
        assert (made.optimizer, made.warm_up, made.label_smoothing, made.ema) == ("adamw", 0.2, 0.1, 0.9)
        assert (made.mixup, made.cutmix, made.patience, made.lr) == (0.2, 1, 3, 1e-3)
        assert made.class_weights == (*[1.0] * (classes - 1), 2.0)
    assert report.to_json()["recipe"]["optimizer"] == "adamw"


def test_random_crops_change_the_training_images(settings: dict[str, Any]) -> None:
    plain, cropped = (
        named_workload(make_recipe({**settings, "resized_crop": share}).with_defaults(), "cpu") for share in (None, 0.3)
    )
    assert not torch.equal(next(iter(plain.train_batches))[0], next(iter(cropped.train_batches))[0])
    assert torch.equal(plain.samples, cropped.samples)


def test_a_slim_network_imitates_the_dense_one_as_given(
    settings: dict[str, Any], weights: Path, calls: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    given = {**settings, "weights": weights, "epochs": 2, "rounds": 2, "distill": 0.5, "temperature": 2}
    slimprune.compress(**given, out=tmp_path / "a.slim")
    dense = named_workload(make_recipe({**settings, "seed": 5}).with_defaults(), "cpu").model
    assert list(calls) == ["train round 1", "train"]
    for call in calls.values():
        assert (call["settings"].distill, call["settings"].temperature) == (0.5, 2)
        for name, tensor in call["teacher"].named_parameters():
            assert torch.equal(tensor, dense.get_parameter(name))


@pytest.mark.parametrize("changes", [{"train_dense": True}, {"when": "after-training"}], ids=str)
def test_the_teacher_is_trained_first(
    settings: dict[str, Any], calls: dict[str, dict[str, Any]], tmp_path: Path, changes: dict[str, Any]
) -> None:
    slimprune.compress(**settings, **changes, distill=1, out=tmp_path / "a.slim")
    assert list(calls) == ["train dense", "train"]
    assert calls["train dense"]["settings"].distill is None
    assert calls["train"]["teacher"] is calls["train dense"]["model"]


@pytest.mark.parametrize("name", ["bn-l1", "polarization", "group-lasso"])
def test_a_regularizer_acts_on_the_dense_training_alone(
    settings: dict[str, Any], calls: dict[str, dict[str, Any]], tmp_path: Path, name: str
) -> None:
    given = {**settings, "when": "after-training", "regularizer": name, "regularizer_strength": 0.01}
    slimprune.compress(**given, out=tmp_path / "a.slim")
    penalty = calls["train dense"]["penalty"]
    assert (penalty.name, penalty.strength) == (name, 0.01)
    assert calls["train"]["penalty"] is None


def test_the_group_lasso_is_the_sum_of_norms_over_all_producers() -> None:
    class Added(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1, bias=False)
            self.head = nn.Linear(2, 3)
            with torch.no_grad():
                self.one.weight.copy_(torch.tensor([3.0, 0]).view(2, 1, 1, 1))
                self.two.weight.copy_(torch.tensor([4.0, 0]).view(2, 1, 1, 1))
                self.one.bias.copy_(torch.tensor([0.0, 2.0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head((self.one(x) + self.two(x)).mean((2, 3)))

    model = Added()
    groups = free_groups(find_groups(model, torch.zeros(2, 1, 3, 3)))
    # Channel 0: sqrt(3^2 + 4^2); channel 1: the bias alone.
    assert float(group_lasso(groups, model).detach()) == pytest.approx(5 + 2)


def test_a_penalty_shrinks_what_it_penalises(settings: dict[str, Any], tmp_path: Path) -> None:
    sizes = []
    for strength in (1e-9, 0.05):
        recipe = make_recipe(
            {**settings, "when": "after-training", "regularizer": "group-lasso", "regularizer_strength": strength}
        ).with_defaults()
        work = named_workload(recipe, "cpu")
        store = tmp_path / f"{strength}" / "train dense"
        start = steps.starting_networks(recipe, work, store, ignore, penalty=penalty_of(recipe, work))
        groups = free_groups(find_groups(work.model, work.example))
        sizes.append(group_lasso(groups, start.scored).item())
    assert sizes[1] < 0.95 * sizes[0]


def test_events_are_written_next_to_the_output(settings: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    slimprune.compress(**settings, train_dense=True, log="tensorboard", out=tmp_path / "a.slim")
    folders = {file.parent.name for file in (tmp_path / "a.tensorboard").rglob("events.out.*")}
    assert folders == {"train", "train-dense"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"distill": 0.5}, "expected --train-dense, or weights of a trained network, beside --distill, got neither"),
        ({"distill": 1.5}, "distill: expected less than or equal to 1, got 1.5"),
        ({"label_smoothing": 1}, "label_smoothing: expected less than 1, got 1"),
        ({"class_weights": "1,2,3,4,5,6"}, r"expected one number per class in class_weights \(\d+\), got 6"),
        ({"class_weights": "1,-2"}, "class_weights: expected finite numbers above 0, or balanced, got '1,-2'"),
        ({"class_weights": "even"}, "class_weights: expected finite numbers above 0, or balanced, got 'even'"),
        ({"milestones": "1"}, "expected ascending milestones in 1 ... 0, got 1"),
        (
            {"milestones": [2], "epochs": 4, "dense_epochs": 2, "train_dense": True},
            "expected ascending milestones in 1 ... 1, got 2 of the dense network",
        ),
        (
            {"milestones": [1], "schedule": "cosine", "epochs": 4},
            "expected schedule step with milestones, got cosine",
        ),
        ({"warm_up": 3}, "expected a warm_up of at least 0 and below the 1 epochs, got 3.0"),
        (
            {"warm_up": 3, "epochs": 4, "dense_epochs": 2, "train_dense": True},
            "expected a warm_up of at least 0 and below the 2 epochs, got 3.0 of the dense network",
        ),
        (
            {"warm_up": 3, "epochs": 5, "rounds": 2, "when": "after-training"},
            "expected a warm_up of at least 0 and below the 2 epochs, got 3.0 of each of 2 rounds",
        ),
        ({"log": ""}, "log: expected tensorboard or a folder, got ''"),
        ({"optimizer": "adam"}, "optimizer: expected 'sgd' or 'adamw', got 'adam'"),
        ({"regularizer": "l0"}, "regularizer: expected"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_before_training(
    settings: dict[str, Any], calls: dict[str, Any], tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        slimprune.compress(**{**settings, **changes}, out=tmp_path / "a.slim")
    assert calls == {}


def test_a_log_that_cannot_be_written_is_refused_before_training(
    settings: dict[str, Any], calls: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "events").write_text("")
    with pytest.raises(UsageError, match="events is no folder that can be written to"):
        slimprune.compress(**settings, log=str(tmp_path / "events"), out=tmp_path / "a.slim")
    assert calls == {}
    assert [file.name for file in tmp_path.iterdir()] == ["events"]


def test_balanced_weights_are_those_of_the_training_images(
    settings: dict[str, Any], calls: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    given = {**settings, "train_size": 13}
    slimprune.compress(**given, class_weights="balanced", out=tmp_path / "a.slim")
    data = load_data(make_recipe(given).with_defaults().named())
    counts = data.class_counts()
    wanted = (counts.sum() / (len(counts) * counts)).tolist()
    assert calls["train"]["settings"].class_weights == pytest.approx(wanted)
    assert len(set(wanted)) > 1


@pytest.mark.parametrize(
    ("task", "targets", "counts"),
    [
        ("classification", [torch.tensor([0, 2, 2]), torch.tensor([2])], [1, 0, 3]),
        ("segmentation", [torch.tensor([[[[0.0, 1.0], [1.0, 1.0]]]])], [1, 3]),
        ("semantic-segmentation", [torch.tensor([[[0, 2], [255, 2]]])], [1, 0, 2]),
    ],
)
def test_targets_of_own_batches_are_counted(task: Any, targets: list[torch.Tensor], counts: list[int]) -> None:
    batches = [(torch.zeros(len(part), 1), part) for part in targets]
    assert count_targets(batches, find_task(task), classes=3).tolist() == counts


@pytest.mark.parametrize(
    "labels", [torch.tensor([0, 3]), torch.tensor([-1]), torch.zeros(2, 3)], ids=["above", "below", "shares"]
)
def test_targets_that_are_no_labels_are_not_counted(labels: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"expected labels \[N\] in 0 ... 2 for balanced class_weights, got"):
        count_targets([(torch.zeros(len(labels), 1), labels)], find_task("classification"), classes=3)


def test_a_report_says_that_training_stopped_early(settings: dict[str, Any], tmp_path: Path) -> None:
    given = {**settings, "lr": 1e-30, "schedule": "step", "patience": 1, "epochs": 5}
    report = slimprune.compress(**given, out=tmp_path / "a.slim")
    assert report.training is not None
    assert report.training.epochs < 5
    assert f"{report.training.epochs} of 5 epochs (stopped early), final" in (tmp_path / "a.report.md").read_text()


def own(task: str = "classification", **changes: Any) -> slimprune.Report:
    masks = task == "segmentation"
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1 if masks else 4, 3, padding=1))
    if not masks:
        model = nn.Sequential(model, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    torch.manual_seed(0)
    images = torch.randn(32, 3, 8, 8)
    targets = (images[:, :1] > 0).float() if masks else torch.arange(32) % 4
    batches = list(zip(images.split(8), targets.split(8), strict=True))
    given: dict[str, Any] = {"train_batches": batches, "test_batches": batches, "task": task, "ratio": 0.4, "draws": 1}
    return slimprune.compress(model, **{**given, "epochs": 1, **changes})


@pytest.mark.parametrize(
    ("changes", "kind", "sentence"),
    [
        ({"task": "segmentation", "mixup": 0.2}, UnsupportedModelError, r"expected an output \[N, classes\] for mixup"),
        ({"task": "segmentation", "label_smoothing": 0.1}, UsageError, "expected the loss cross-entropy with label_"),
        ({"task": "segmentation", "class_weights": [1, 2]}, UsageError, "expected one number in class_weights"),
        ({"resized_crop": 0.5}, UsageError, "expected no resized_crop beside a model object and its batches, got 0.5"),
        (
            {"when": "after-training", "regularizer": "bn-l1"},
            UnsupportedModelError,
            "expected batch norm layers with trainable gains for the regularizer, got none",
        ),
    ],
    ids=str,
)
def test_what_does_not_fit_own_batches_is_refused(
    tmp_path: Path, changes: dict[str, Any], kind: type[Exception], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence):
        own(**changes, out=tmp_path / "a.slim")
    assert not (tmp_path / "a.slim").exists()


def test_the_foreground_of_own_masks_may_weigh_more(tmp_path: Path) -> None:
    assert own("segmentation", class_weights=[3.0], out=tmp_path / "a.slim").training is not None


@pytest.mark.parametrize(
    ("task", "weights"),
    [("classification", (1.0, 1.0, 1.0, 1.0)), ("segmentation", None)],
)
def test_own_batches_may_be_balanced(
    calls: dict[str, dict[str, Any]], tmp_path: Path, task: str, weights: tuple[float, ...] | None
) -> None:
    own(task, class_weights="balanced", out=tmp_path / "a.slim")
    found = calls["train"]["settings"].class_weights
    if weights is None:
        torch.manual_seed(0)
        share = float((torch.randn(32, 3, 8, 8)[:, :1] > 0).float().mean())
        weights = ((1 - share) / share,)
    assert found == pytest.approx(weights)


def test_a_loss_that_cannot_take_mixed_labels_is_refused_before_training(
    calls: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    def by_index(output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return nn.functional.nll_loss(output.log_softmax(1), labels)

    with pytest.raises(UnsupportedModelError, match=r"the loss fails on outputs \(8, 4\) and targets \(8, 4\)"):
        own(mixup=0.2, loss=by_index, out=tmp_path / "a.slim")
    assert calls == {}


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"patience": 1, "epochs": 2}, "--patience has no effect: no training has epochs left by then"),
        ({"temperature": 2}, "--temperature has no effect: nothing is distilled without --distill"),
        ({"regularizer": "bn-l1"}, "--regularizer has no effect: no dense network is trained before pruning"),
        (
            {"when": "after-training", "regularizer_strength": 0.1},
            "--regularizer-strength has no effect: nothing is penalised without --regularizer",
        ),
    ],
    ids=str,
)
def test_options_without_effect_are_noted(
    settings: dict[str, Any], tmp_path: Path, changes: dict[str, Any], note: str
) -> None:
    events: list[tuple[str, str]] = []
    given = {**settings, **changes, "out": tmp_path / "a.slim"}
    slimprune.compress(**given, listener=lambda stage, _, __, text: events.append((stage, text)))
    assert (REMARK, note) in events


def test_validation_holds_training_images_out_of_training_and_scoring(
    settings: dict[str, Any], calls: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    given = {**settings, "validation": 0.2}
    whole, work = (named_workload(make_recipe(one).with_defaults(), "cpu") for one in (settings, given))
    assert work.validation_batches is not None
    sizes = [sum(len(targets) for _, targets in found) for found in (
        whole.train_batches, work.train_batches, work.validation_batches, whole.test_batches, work.test_batches
    )]  # fmt: skip
    assert sizes[1] + sizes[2] == sizes[0]
    assert sizes[2] == round(0.2 * sizes[0])
    assert sizes[3] == sizes[4]
    report = slimprune.compress(**given, out=tmp_path / "a.slim")
    assert calls["train"]["validation_batches"] is not None
    assert report.training is not None
    found = report.to_json()["training"]
    assert found is not None
    assert found["validation"] == report.training.history[-1].test_metric
    assert found["top1"] == report.training.final


def test_recipes_without_validation_keep_their_hashes(settings: dict[str, Any]) -> None:
    recipe = make_recipe(settings)
    assert recipe.hash == recipe.hash_without("validation")
    assert recipe.model_copy(update={"validation": 0.1}).hash != recipe.hash
