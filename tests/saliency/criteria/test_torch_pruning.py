"""Every `tp:` criterion against torch-pruning itself, used as its documentation shows, on its own dependency graph."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import torch_pruning
from torch import nn
from torch_pruning import importance as importances

from slimprune.comparison import compare, make_grid
from slimprune.errors import UnsupportedModelError
from slimprune.graph import find_groups, free_groups
from slimprune.models import InputSpec, build
from slimprune.saliency import Problem, criteria, make_criterion, score
from slimprune.saliency.criteria.torch_pruning import GradientImportance, WeightImportance
from tests.networks import Residual, toy

IMAGES, LABELS = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 1, 0, 2])


def plain():
    """Convolutions without biases, norms, a linear layer behind a flatten."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 7, 3, stride=2, bias=False), nn.BatchNorm2d(7), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(28, 9, bias=False), nn.ReLU(), nn.Linear(9, 10),
    )  # fmt: skip


def resnet20():
    return build("resnet20", InputSpec(3, 16, 16, 10))


def problem_of(make):
    torch.manual_seed(0)
    network = make()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight)
    groups = free_groups(find_groups(network, IMAGES))
    prepared = Problem.prepare(network, groups, F.cross_entropy, "consumer", torch.float32)
    return replace(prepared, batches=[(IMAGES, LABELS)], seed=11)


def output_layer(network):
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


def as_documented(network, importance):
    """Leaves in the importance and in the network what torch-pruning's documentation has the user compute."""
    if isinstance(importance, importances.TaylorImportance):
        F.cross_entropy(network(IMAGES), LABELS).backward()
    if isinstance(importance, importances.HessianImportance):
        for loss in F.cross_entropy(network(IMAGES), LABELS, reduction="none"):
            network.zero_grad()
            loss.backward(retain_graph=True)
            importance.accumulate_grad(network)
    if isinstance(importance, importances.OBDCImportance):
        pruner = torch_pruning.BasePruner(network, IMAGES, importance, ignored_layers=[output_layer(network)])
        pruner._downstream_node_as_root_if_attention = lambda group: (
            group
        )  # None in 1.6.1, on which the next line fails
        importance._prepare_model(network.train(), pruner)
        F.cross_entropy(network(IMAGES), LABELS).backward()
        importance.step()
        importance._rm_hooks(network)
    if isinstance(importance, importances.ActivationImportance):
        with importance.compute_importance(network):
            network(IMAGES)


def its_scores(network, groups, importance):
    """By group id, torch-pruning's score of the channels of the layer that makes a group, in the order of its rows."""
    graph = torch_pruning.DependencyGraph().build_dependency(network, example_inputs=IMAGES)
    network.train()
    as_documented(network, importance)
    scores = {}
    for group in groups:
        layer = network.get_submodule(group.id)
        kind = "linear" if isinstance(layer, nn.Linear) else "conv"
        function = getattr(torch_pruning, f"prune_{kind}_out_channels")
        scores[group.id] = importance(graph.get_pruning_group(layer, function, list(range(group.width))))
    return scores


REFERENCES = {
    "tp:magnitude": importances.MagnitudeImportance,
    "tp:lamp": importances.LAMPImportance,
    "tp:fpgm": importances.FPGMImportance,
    "tp:taylor": importances.TaylorImportance,
    "tp:hessian": importances.HessianImportance,
    "tp:obdc": lambda: importances.OBDCImportance(num_classes=10),
    "tp:activation": importances.ActivationImportance,
    "tp:bn-scale": importances.BNScaleImportance,
}


@pytest.mark.parametrize("make", [plain, resnet20])
@pytest.mark.parametrize("name", REFERENCES)
def test_scores_are_those_of_torch_pruning(name, make):
    problem = problem_of(make)
    if name == "tp:bn-scale":
        behind_norms = [group for group in problem.groups if group.slots_of("norm")]
        problem = replace(problem, groups=behind_norms)
    found = make_criterion(name).score(problem)
    expected = its_scores(problem.network, problem.groups, REFERENCES[name]())
    for group, scores in expected.items():
        if len(scores) > len(found[group]):
            # Only the flattened layer counts here: torch-pruning then divides by the mean over columns, not channels.
            scores = scores[: len(found[group])] / (len(scores) / len(found[group]))
        assert torch.allclose(found[group], scores, rtol=1e-6, atol=1e-6), group


def test_random_scores_are_those_of_its_generator_from_the_seed():
    problem = problem_of(plain)
    state = torch.get_rng_state()
    found = make_criterion("tp:random").score(problem)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(((values > 0) & (values < 1)).all() for values in found.values())
    assert all(
        torch.equal(values, again)
        for values, again in zip(found.values(), make_criterion("tp:random").score(problem).values(), strict=True)
    )
    other = make_criterion("tp:random").score(replace(problem, seed=12))
    assert not torch.equal(found["0"], other["0"])


@pytest.mark.parametrize("name", REFERENCES)
def test_the_network_is_left_as_it_was(name):
    problem = problem_of(resnet20)
    before = {key: value.clone() for key, value in problem.network.state_dict().items()}
    make_criterion(name).score(problem)
    assert all(torch.equal(before[key], value) for key, value in problem.network.state_dict().items())
    assert all(parameter.grad is None for parameter in problem.network.parameters())
    assert not any(module._forward_hooks or hasattr(module, "_importance") for module in problem.network.modules())


def test_every_importance_of_the_library_has_a_name():
    mine = {entry.name for entry in criteria() if entry.name.startswith("tp:")}
    assert mine == {*REFERENCES, "tp:random"}
    classes = {
        kind for kind in vars(importances).values()
        if isinstance(kind, type) and issubclass(kind, importances.Importance) and kind.__name__[:5] != "Group"
    }  # fmt: skip
    assert len(classes - {importances.Importance}) == len(mine)


def test_listing_does_not_import_the_library():
    code = (
        "import sys; from slimprune.cli.choices import available; names = dict(available('criteria'));"
        "assert 'tp:taylor' in names; assert 'torch_pruning' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_an_importance_with_other_settings_is_a_criterion_too():
    model = toy(Residual)
    groups = find_groups(model, IMAGES)
    first = importances.TaylorImportance(multivariable=True)
    found = score(model, groups, [(IMAGES, LABELS)], F.cross_entropy, criterion=GradientImportance(first), draws=1)
    usual = score(model, groups, [(IMAGES, LABELS)], F.cross_entropy, criterion="tp:taylor", draws=1)
    assert not torch.allclose(found.by_group["stem"], usual.by_group["stem"])
    own = WeightImportance(importances.MagnitudeImportance(p=1, normalizer=None, group_reduction="sum"))
    problem = Problem.prepare(model, free_groups(groups), F.cross_entropy, "consumer", torch.float32)
    rows, columns = model.inner.weight.abs().sum((1, 2, 3)), model.outer.weight.abs().sum((0, 2, 3))
    assert torch.allclose(own.score(problem)["inner"], rows + columns + model.inner_bn.weight.abs(), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("tp:bn-scale", resnet20, "the same score for every channel from torch-pruning: train first"),
        ("tp:bn-scale", plain, "BNScaleImportance of torch-pruning knows no layer of group 8"),
        ("tp:obdc", lambda: toy(Residual), "OBDCImportance of torch-pruning fails on group stem: RuntimeError"),
    ],
)
def test_what_it_cannot_score_is_refused(name, make, message):
    model = make()
    batches = [(IMAGES, LABELS)]
    with pytest.raises(UnsupportedModelError, match=message):
        score(model, find_groups(model, IMAGES), batches, F.cross_entropy, criterion=name, draws=1)


def test_single_samples_need_rows():
    problem = replace(problem_of(plain), loss=lambda output, target: output.square().mean(), batches=[(IMAGES, 5)])
    assert make_criterion("tp:hessian").score(problem)
    short = replace(problem, batches=[(IMAGES, LABELS[:2])])
    with pytest.raises(UnsupportedModelError, match=r"with a row for each sample, got 2 sizes: \[2, 4\]"):
        make_criterion("tp:hessian").score(short)


def test_a_grid_puts_it_beside_the_others(arch, data, tmp_path):
    base = {"arch": arch, "data": data, "epochs": 1, "draws": 1, "batch_size": 8, "score_batch": 8, "device": "cpu"}
    grid = {"base": base, "budgets": ["params=0.5"], "seeds": [0], "criteria": ["prospr", "tp:magnitude"]}
    assert list(make_grid(grid).methods()) == ["prospr", "tp:magnitude"]
    document = compare({**grid, "dense": False, "twins": False}, out=tmp_path / "out")
    rows = {row["row"]: row for row in document["tables"][0]["rows"]}
    assert {"prospr", "tp:magnitude"} <= rows.keys()
    cells = [cell for cell in document["cells"] if cell["row"] == "tp:magnitude"]
    assert [cell.get("error") for cell in cells] == [None]


def test_a_plan_by_it_from_the_command_line(slimprune):
    flags = ("--arch", "resnet20", "--data", "digits", "--criterion", "tp:taylor", "--ratio", "0.5", "--draws", "1")
    code, out, err = slimprune("plan", *flags, "--json")
    assert code == 0, err
    plan = json.loads(out)
    assert 0.5 <= plan["budget"]["achieved"] < 0.55
    assert plan["saliency"]["criterion"] == "tp:taylor"
