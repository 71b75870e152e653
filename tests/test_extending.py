"""What strangers add, each in one file or one package and nowhere else, as the command line and Python use it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import flop_registry

import slimprune
from slimprune import budget, data, graph, models, pipeline, saliency
from slimprune.budget import RULES, find_rule
from slimprune.cli.choices import available
from slimprune.data import load as load_data
from slimprune.errors import DataError, SlimpruneError, UsageError
from slimprune.graph import OPERATORS
from slimprune.models import ARCHITECTURES, is_user_code
from slimprune.pipeline.trust import code_files
from slimprune.pipeline.workload import named_workload
from slimprune.recipe import make_recipe
from slimprune.saliency import make_criterion
from tests.commands import Run, error_line
from tests.extensions import install, restored

CRITERION = '''
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class LastFirst:
    """The last channels of every layer."""

    steps: int = 2
    power: float = 1.0
    batches_per_draw = 0
    deterministic = True

    def score(self, problem):
        return {group.id: torch.arange(1.0, group.width + 1) ** self.power for group in problem.groups}


@dataclass(frozen=True)
class Wrong:
    what: str = "width"
    steps = 0
    batches_per_draw = 0
    deterministic = True

    def score(self, problem):
        wrong = {"width": torch.ones(1), "sign": -torch.ones(16), "kind": 3}
        return {group.id: wrong[self.what] for group in problem.groups} if self.what != "none" else {}


@dataclass(frozen=True)
class NeedsWidth:
    width: int
    steps = 0
    batches_per_draw = 0
    deterministic = True

    def score(self, problem):
        return {}


@dataclass(frozen=True)
class NoScore:
    steps = 0


def function(problem):
    return {}
'''

RULE = '''
import numpy as np
from slimprune.budget import Rule


def squares(cost):
    """Widths in proportion to the square of the dense width."""
    return cost.width**2 / (np.arange(cost.width) + 0.5)


unscored = Rule("anything", "the same without scores", needs_scores=False, priorities=squares)


def rising(cost):
    return np.arange(cost.width)


def few(cost):
    return [1.0]


def words(cost):
    return "falling"
'''

DATA = """
import torch
from slimprune.data import TensorData


def load(image_size=16):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 3, image_size or 16, image_size or 16), dtype=torch.uint8, generator=generator)
    labels = torch.arange(40) % 2
    return TensorData.from_arrays("noise", images[:24], labels[:24], images[24:], labels[24:])


def fixed():
    return load()


def raises():
    raise OSError("no disk")


def nothing():
    return None


def demanding(url):
    return load()
"""

NETWORK = '''
import torch
from torch import nn
from torch.utils.flop_counter import register_flop_formula
from slimprune import graph


@torch.library.custom_op("stranger::folded", mutates_args=())
def folded(x: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> [N, C, H, W / 2]: the right half of every channel added to the left one."""
    return sum(x.chunk(2, 3))


@graph.register("stranger::folded", "positions are joined, channels go through")
def follow(flow, call):
    flow.set_ids(call.out, flow.ids(call["x"])[..., :1])


@register_flop_formula(torch.ops.stranger.folded)
def nothing_but_sums(x_shape, **keywords):
    return 0


class Fold(nn.Module):
    def forward(self, x):
        return folded(x)


def net(num_classes, in_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, padding=1), nn.ReLU(), Fold(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )
'''
FILES = {"criterion.py": CRITERION, "rule.py": RULE, "data.py": DATA, "network.py": NETWORK}


@pytest.fixture
def files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with a file for every extension; what they register is gone afterwards."""
    restored(monkeypatch, OPERATORS)
    formulas = dict(flop_registry)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    yield folder
    for operator in flop_registry.keys() - formulas.keys():
        del flop_registry[operator]


def kept(document: dict[str, Any]) -> dict[str, int]:
    return {entry["group"]: entry["slim"] for entry in document["widths"]}


# One file each -------------------------------------------------------------------------------------------------------


def test_a_criterion_in_one_file(files: Path, slimprune: Callable[..., Run], flags: list[str]) -> None:
    code, out, err = slimprune("plan", *flags, "--criterion", "criterion.py:LastFirst", "--json")
    assert code == 0, err
    saliency = json.loads(out)["saliency"]
    assert (saliency["criterion"], saliency["steps"], saliency["draws"]) == ("criterion.py:LastFirst", 2, 1)
    settings = dict(zip([flag[2:].replace("-", "_") for flag in flags[::2]], flags[1::2], strict=True))
    plan = pipeline.plan(**settings, criterion="criterion.py:LastFirst", steps=5, rule="uniform", twin="invert").plan
    # The controls keep those with the lowest scores, which are the first.
    for group in plan.groups:
        if group.protected_reason is None:
            assert plan.kept[group.id].tolist() == list(range(plan.widths[group.id]))


def test_a_rule_in_one_file(files: Path, slimprune: Callable[..., Run], flags: list[str]) -> None:
    documents = []
    for rule in ("rule.py:squares", "rule.py:unscored"):
        code, out, err = slimprune("plan", *flags, "--rule", rule, "--json")
        assert code == 0, err
        documents.append(json.loads(out))
    assert [document["saliency"] is None for document in documents] == [False, True]
    assert kept(documents[0]) == kept(documents[1])
    found = find_rule("rule.py:unscored")
    assert (found.name, found.description) == ("rule.py:unscored", "the same without scores")


def test_a_data_source_in_one_file(files: Path, slimprune: Callable[..., Run], flags: list[str]) -> None:
    for flag, size in ((), 16), (("--image-size", 8), 8):
        code, out, err = slimprune("plan", *flags, "--data", "data.py:load", *flag, "--json")
        assert code == 0, err
        assert json.loads(out)["recipe"]["data"] == "data.py:load"
        assert json.loads(out)["macs"]["dense"] == size**2 * 27 * 8 + (size // 2) ** 2 * 72 * 16 + 32
    assert load_data("data.py:load").height == 16


def test_an_operator_in_the_file_of_its_network(files: Path, slimprune: Callable[..., Run], flags: list[str]) -> None:
    code, out, err = slimprune(
        "plan", *flags, "--arch", "network.py:net", "--criterion", "magnitude", "--rule", "uniform", "--json"
    )
    assert code == 0, err
    document = json.loads(out)
    assert document["proof"]["passed"]
    assert kept(document)["0"] < 8
    assert ("stranger::folded", "positions are joined, channels go through") in available("operators")


BAD = [
    ("--criterion criterion.py:Wrong", 2, "expected a criterion to score the 8 channels of 0, got (1,)"),
    ("--criterion criterion.py:NeedsWidth", 2, "criterion criterion.py:NeedsWidth cannot be made: TypeError: "),
    ("--criterion criterion.py:NoScore", 2, "deterministic, score, found no batches_per_draw, deterministic, score"),
    ("--criterion criterion.py:function", 2, "criterion.py:function to be a dataclass, got a function object"),
    ("--criterion criterion.py:Absent", 2, "expected a criterion class 'Absent' in 'criterion.py', found none"),
    ("--criterion absent.py:Mine", 2, "expected a Python file, found none at 'absent.py'"),
    ("--criterion criterion.py:LastFirst --rounds 3", 2, "criterion criterion.py:LastFirst has no option 'rounds'"),
    ("--rule rule.py:rising", 2, "expected rule rule.py:rising to give falling priorities, got others for 0"),
    ("--rule rule.py:few", 2, "rule.py:few to give one priority each for the 8 channels of 0, got (1,)"),
    ("--rule rule.py:words", 2, "expected rule rule.py:words to give numbers, got str"),
    ("--rule rule.py:np", 2, "expected rule rule.py:np to be a function or a Rule, got a module object"),
    ("--data data.py:raises", 6, "data loader 'data.py:raises' raised OSError: no disk"),
    ("--data data.py:nothing", 6, "expected data loader 'data.py:nothing' to return an ImageData, got NoneType"),
    ("--data data.py:demanding", 6, "to require at most name and image_size and stream_above, got url"),
    ("--data data.py:fixed --image-size 8", 2, "no image size for data.py:fixed, whose images are 16x16, got 8"),
    ("--data data.py:torch", 6, "expected data loader 'data.py:torch' to be a function, got a module object"),
    ("--data no_such_package:load", 2, "got 'no_such_package:load'; found no module 'no_such_package'"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "fragment"), BAD, ids=[case[0] for case in BAD])
def test_what_is_wrong_with_a_file_is_one_line(
    files: Path, slimprune: Callable[..., Run], flags: list[str], arguments: str, code: int, fragment: str
) -> None:
    result = slimprune("plan", *flags, "--rule", "global", *arguments.split(" "))
    assert fragment in error_line(result)
    assert result[0] == code


@pytest.mark.parametrize("what", ["width", "sign", "kind", "none"])
def test_scores_of_a_stranger_are_checked(files: Path, what: str) -> None:
    criterion = make_criterion("criterion.py:Wrong", what=what)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 2, 3))
    groups = slimprune.find_groups(model, torch.zeros(1, 3, 8, 8))
    with pytest.raises(UsageError, match=r"of 0, got|for 0$"):
        slimprune.score(model, groups, [], torch.nn.functional.cross_entropy, criterion=criterion, draws=1)


# What runs are made from ---------------------------------------------------------------------------------------------


def test_the_code_that_a_recipe_names_belongs_to_its_fingerprint(files: Path) -> None:
    named = {"arch": "network.py:net", "data": "data.py:load", "criterion": "criterion.py:LastFirst"}
    recipe = make_recipe({**named, "rule": "rule.py:squares"}).with_defaults()
    assert [file.name for file in code_files(recipe)] == ["network.py", "data.py", "criterion.py", "rule.py"]
    assert code_files(make_recipe({"arch": "vgg11", "data": "digits", "rule": "profile:score=1,reuse=0"})) == ()
    before = named_workload(recipe, "cpu").fingerprint
    assert named_workload(recipe, "cpu").fingerprint == before
    for name in ("criterion.py", "rule.py"):
        (files / name).write_text(FILES[name] + "# changed\n")
        after = named_workload(recipe, "cpu").fingerprint
        assert after != before
        before = after


def test_a_bundle_does_not_run_the_code_that_loads_its_data_unasked(
    files: Path, slimprune: Callable[..., Run], flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    restored(monkeypatch, ARCHITECTURES)

    @models.register("of-a-test", "two convolutions")
    def net(num_classes: int) -> torch.nn.Module:
        convolutions = (torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, num_classes, 3))
        return torch.nn.Sequential(*convolutions, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())

    command = ("compress", *flags, "--arch", "of-a-test", "--data", "data.py:load", "--out", "a.onnx", "--quiet")
    assert slimprune(*command, "--rule", "uniform")[0] == 0
    (files / "data.py").write_text("raise RuntimeError('this code has run')\n")
    for command in (("export", "a.slim", "--out", "b.onnx"), ("verify", "a.slim", "a.onnx")):
        result = slimprune(*command)
        assert "loads its data by the code data.py:load: allow it with --trust-code" in error_line(result)
        assert result[0] == 2
        assert "this code has run" in error_line(slimprune(*command, "--trust-code"))
    (files / "other.py").write_text(DATA)
    assert slimprune("verify", "a.slim", "a.onnx", "--data", "other.py:load", "--quiet")[0] == 0


def test_a_comparison_notices_that_code_has_changed(files: Path, arch: str) -> None:
    base = {"arch": arch, "data": "data.py:load", "epochs": 1, "draws": 1, "batch_size": 8, "score_batch": 8}
    grid = {
        "base": {**base, "device": "cpu", "rule": "uniform"},
        "budgets": ["params=0.5"],
        "seeds": [0],
        "rows": {"mine": {"criterion": "criterion.py:LastFirst", "rule": "rule.py:squares"}, "plain": {}},
        "twins": False,
        "dense": False,
    }

    document = slimprune.compare(grid, out=Path("out"))
    for name in ("rule.py", "criterion.py", "data.py"):
        (files / name).write_text(FILES[name] + "# changed\n")
        with pytest.raises(UsageError, match=r"the code, .* that the grid names are not those that .* was made from"):
            slimprune.compare(grid, out=Path("out"))
        (files / name).write_text(FILES[name])
    again = slimprune.compare(grid, out=Path("out"))
    assert again["cells"] == document["cells"]


# Installed packages --------------------------------------------------------------------------------------------------


def test_a_package_brings_all_kinds(
    files: Path, slimprune: Callable[..., Run], flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = files / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    operator = NETWORK.replace('@graph.register("stranger::folded", "positions are joined, channels go through")\n', "")
    modules = {"slim_criterion.py": CRITERION, "slim_rule.py": RULE, "slim_data.py": DATA}
    modules["slim_network.py"] = operator.replace("stranger", "packaged")
    points = {
        "slimprune.criteria": {"pkg:last-first": "slim_criterion:LastFirst", "broken": "slim_nothing:Mine"},
        "slimprune.rules": {"squares": "slim_rule:unscored", "uniform": "slim_rule:squares"},
        "slimprune.data": {"noise": "slim_data:load"},
        "slimprune.models": {"folding": "slim_network:net"},
        "slimprune.operators": {"packaged::folded": "slim_network:follow"},
    }
    install(site, "slim-extras", modules, points)

    names = ("--arch", "folding", "--data", "noise", "--criterion", "pkg:last-first", "--rule", "squares")
    code, out, err = slimprune("plan", *flags, *names, "--twin", "invert", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["saliency"]["criterion"] == "pkg:last-first"
    assert kept(document)["0"] < 8
    assert not is_user_code("folding")
    code, out, err = slimprune("list", "rules", "--json")
    assert {"name": "squares", "description": "the same without scores (slim-extras 1.2)"} in json.loads(out)
    assert dict(available("archs"))["folding"].endswith("(slim-extras 1.2)")
    assert RULES.find("uniform").description.startswith("widths in proportion to dense width;")

    result = slimprune("plan", *flags, "--criterion", "broken")
    assert "'broken' of the package slim-extras 1.2 cannot be loaded from slim_nothing:Mine: " in error_line(result)
    assert result[0] == 2
    assert dict(available("criteria"))["broken"].startswith("unavailable: a criterion 'broken' of the package slim-ext")


def test_an_operator_rule_that_cannot_be_loaded_says_so_where_it_is_needed(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = files / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    install(site, "bad-operators", {}, {"slimprune.operators": {"cummax": "slim_nothing:follow"}})
    plain = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 2, 3))
    assert len(slimprune.find_groups(plain, torch.zeros(1, 3, 8, 8))) == 2

    class Running(torch.nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[1](self[0](x).cummax(3).values)

    with pytest.raises(SlimpruneError, match=r"'cummax' of the package bad-operators 1.2 cannot be loaded"):
        slimprune.find_groups(Running(*plain), torch.zeros(1, 3, 8, 8))


# In Python -----------------------------------------------------------------------------------------------------------


def test_registration_has_one_form(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in (saliency.CRITERIA, RULES, data.SOURCES, ARCHITECTURES, OPERATORS):
        restored(monkeypatch, registry)

    @saliency.register("none-better", "all alike")
    @dataclass(frozen=True)
    class Alike:
        steps = 0
        batches_per_draw = 0
        deterministic = True

        def score(self, problem: Any) -> Any:
            return {group.id: torch.ones(group.width) for group in problem.groups}

    @budget.register("alike", "one after the other", needs_scores=False)
    def alike(cost: Any) -> Any:
        return -torch.arange(cost.width).numpy()

    @data.register("random", "noise", takes="COUNT")
    def noise(source: str) -> Any:
        images, labels = torch.zeros(int(source), 3, 8, 8, dtype=torch.uint8), torch.arange(int(source)) % 2
        return data.TensorData.from_arrays("noise", images, labels, images, labels)

    @models.register("tiny", "one convolution", task="classification")
    def tiny(num_classes: int) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Conv2d(3, num_classes, 3), torch.nn.Flatten())

    @graph.register("cummax", "along one dimension")
    def cummax(flow: Any, call: Any) -> None:
        flow.set_ids(call.out[0], flow.ids(call["self"]))

    assert make_criterion("none-better") == Alike()
    assert find_rule("alike").priorities is alike
    assert data.load("random:6").train_size == 6
    assert models.task_of("tiny") == "classification"
    assert len(models.build("tiny", models.InputSpec(3, 8, 8, 4))[0].weight) == 4  # type: ignore[index]
    for kind, row in {
        "criteria": ("none-better", "all alike"),
        "rules": ("alike", "one after the other"),
        "data": ("random:COUNT", "noise"),
        "archs": ("tiny", "one convolution"),
        "operators": ("cummax", "along one dimension"),
    }.items():
        assert row in available(kind)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"expected a data set .*got 'random'"):
        data.load("random")
    with pytest.raises(UsageError, match="expected no options for 'tiny', got 'depth=3'"):
        models.build("tiny:depth=3", models.InputSpec(3, 8, 8, 4))
    with pytest.raises(UsageError, match=r"'prospr', which slimprune.saliency.criteria.prospr has registered"):
        saliency.register("prospr", "mine")(Alike)
    with pytest.raises(DataError, match=r"data loader 'random:many' raised ValueError: invalid literal"):
        data.load("random:many")
