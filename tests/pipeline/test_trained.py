"""Networks whose weights are given: tested as they are, scored, pruned, and only then fine-tuned."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import slimprune
from slimprune import pipeline
from slimprune.graph import keep_channels
from slimprune.models import save_weights
from slimprune.pipeline.stages import analyse, measure_network
from slimprune.pipeline.trained import with_new_statistics
from slimprune.pipeline.workload import Given, Workload, named_workload, own_workload
from slimprune.recipe import make_recipe
from slimprune.results import Accuracies
from slimprune.types import REMARK, ignore

Event = tuple[str, int, int, str]


@pytest.fixture
def work(settings: dict[str, Any]) -> Workload:
    """The workload of another seed, whose network stands for a trained one."""
    return named_workload(make_recipe({**settings, "seed": 5}).with_defaults(), "cpu")


@pytest.fixture
def file(work: Workload, tmp_path: Path) -> Path:
    path = tmp_path / "given.safetensors"
    save_weights(work.model, path)
    return path


def test_given_weights_are_tested_scored_and_fine_tuned_but_not_trained_first(
    settings: dict[str, Any], work: Workload, file: Path, tmp_path: Path
) -> None:
    events: list[Event] = []
    report = slimprune.compress(
        **settings, weights=file, dense_epochs=2, out=tmp_path / "a.slim", listener=lambda *event: events.append(event)
    )
    assert list(dict.fromkeys(stage for stage, *_ in events)) == [
        REMARK,
        "prove",
        "score",
        "reconstruct",
        "train",
        "export",
    ]
    assert report.recipe.when == "trained"
    assert report.recipe.criterion == "taylor"
    assert report.dense_training is None
    as_given = slimprune.evaluate(work.model, work.test_batches, work.metric, device="cpu")
    slim = keep_channels(work.model, report.plan.groups, report.plan.kept)
    pruned = slimprune.evaluate(with_new_statistics(slim, work, seed=0), work.test_batches, work.metric, device="cpu")
    document = report.to_json()
    found = document["accuracies"]
    assert found is not None
    assert (found["metric"], found["dense"], found["pruned"]) == ("top1", as_given, pruned)
    assert document["warnings"][0] == "--dense-epochs has no effect: the given network is trained already"
    page = (tmp_path / "a.report.md").read_text()
    assert f"- dense: {100 * as_given:.2f} % as given" in page
    assert f"- just pruned: {100 * pruned:.2f} %" in page
    assert "| top-1, just pruned |" in page
    assert "| top-1, fine-tuned |" in page


@pytest.mark.parametrize("rule", ["uniform", "early", "global"])
def test_the_channels_of_highest_score_stay_whatever_rule_sets_the_widths(
    settings: dict[str, Any], work: Workload, file: Path, rule: str
) -> None:
    report = pipeline.plan(**settings, weights=file, criterion="magnitude", rule=rule, of="macs")
    parameters = dict(work.model.named_parameters())
    for group in report.plan.groups:
        kept = report.plan.kept[group.id]
        if group.protected_reason is None and len(kept) < group.width:
            sizes = torch.zeros(group.width)
            for slot in group.slots_of("producer"):
                weight = parameters[slot.name].detach()
                if weight.ndim > 1:
                    sizes += weight.movedim(slot.dim, 0)[slot.index].flatten(1).square().sum(1)
            assert kept.tolist() == sizes.topk(len(kept)).indices.sort().values.tolist()


def test_a_named_criterion_chooses_channels_before_training_too(settings: dict[str, Any]) -> None:
    named = pipeline.plan(**settings, criterion="magnitude", rule="uniform")
    plain = pipeline.plan(**settings, rule="uniform")
    assert named.saliency is not None
    assert plain.saliency is None
    assert named.plan.widths == plain.plan.widths
    assert any(not torch.equal(named.plan.kept[group], plain.plan.kept[group]) for group in plain.plan.kept)
    assert any(note == "--draws has no effect: no channels are scored" for note in plain.warnings)


def test_a_model_object_may_be_trained_already(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    inputs = torch.randn(32, 1, 2, 2)
    batches = [(inputs, model(inputs).argmax(1))]
    report = slimprune.compress(
        model,
        train_batches=batches,
        test_batches=batches,
        when="trained",
        criterion="magnitude",
        ratio=0.3,
        epochs=1,
        out=tmp_path / "a.slim",
    )
    assert report.accuracies is not None
    assert report.accuracies.dense == 1


def labelled() -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    """A network and images with the classes that it finds itself."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 4)).eval()
        inputs = torch.randn(256, 1, 6, 6)
    return model, [(inputs, model(inputs).argmax(1))]


def test_the_layers_behind_removed_channels_are_solved_anew_unless_refused(tmp_path: Path) -> None:
    model, batches = labelled()

    def run(name: str, *, reconstruct: bool | None) -> tuple[Accuracies, str]:
        report = slimprune.compress(
            model,
            train_batches=batches,
            test_batches=batches,
            when="trained",
            ratio=0.5,
            epochs=1,
            lr=1e-9,
            weight_decay=0,
            reconstruct=reconstruct,
            out=tmp_path / f"{name}.slim",
        )
        assert report.accuracies is not None
        assert report.training is not None
        last = report.accuracies.pruned if reconstruct is False else report.accuracies.reconstructed
        assert report.training.final == last
        return report.accuracies, (tmp_path / f"{name}.report.md").read_text()

    found, page = run("solved", reconstruct=None)
    assert found.pruned is not None
    assert found.reconstructed is not None
    assert found.reconstructed > found.pruned
    assert (found.solved, found.left_out) == (1, 0)
    assert f"reconstructed: {100 * found.reconstructed:.2f} %, 1 layer solved anew by least squares, 0 left out" in page
    bare, _ = run("plain", reconstruct=False)
    assert bare == Accuracies("top1", 1.0, found.pruned)


def test_statistics_of_batch_norm_are_those_of_what_the_slim_network_sees() -> None:
    """One channel that is 1 in half of each image and 3 in the other half: mean 2, variance 1 (8/7 without bias)."""
    model = nn.Sequential(nn.BatchNorm2d(1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    image = torch.tensor([[[1.0, 3.0], [1.0, 3.0]]])
    batches: list[tuple[Tensor, Tensor]] = [(image.repeat(2, 1, 1, 1), torch.tensor([0, 1]))] * 3
    work = own_workload(model, Given(batches, batches), "cpu", 0)
    settled = with_new_statistics(work.model, work, seed=0)
    norm, untouched = settled[0], work.model[0]  # type: ignore[index]
    assert norm.running_mean.item() == 2
    assert norm.running_var.item() == pytest.approx(8 / 7)
    assert untouched.running_mean.item() == 0
    assert measure_network(settled, work.example, 1).cost == measure_network(work.model, work.example, 1).cost


def test_groups_do_not_depend_on_the_weights(settings: dict[str, Any], work: Workload, file: Path) -> None:
    recipe = make_recipe({**settings, "weights": file}).with_defaults()
    given = named_workload(recipe, "cpu")
    ids = [[group.id for group in analyse(recipe, each, ignore).groups] for each in (work, given)]
    assert ids[0] == ids[1]
