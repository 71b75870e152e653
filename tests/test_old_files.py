"""Files of earlier versions still load: `old_files` was written before the package was laid out as it is today."""

import json
from pathlib import Path

import torch

import slimprune
from slimprune.files import ReportDocument, read_document, read_value
from slimprune.graph import ChannelGroup
from slimprune.recipe import make_recipe, read_recipe
from slimprune.report import markdown, page, report_html
from slimprune.surgery import read

OLD = Path(__file__).parent / "old_files"
REPORT = read_document(ReportDocument, (OLD / "report.json").read_bytes(), "report")


def test_a_bundle_loads_and_computes() -> None:
    model = slimprune.load(OLD / "bundle")
    assert sum(parameter.numel() for parameter in model.parameters()) == REPORT["params"]["slim"]
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_a_bundle_s_plan_is_understood() -> None:
    bundle = read(OLD / "bundle")
    assert bundle.plan.widths == {row["group"]: row["slim"] for row in REPORT["widths"]}
    assert bundle.plan.budget.ratios == {"params": 0.97, "channels": 0.5}


def test_a_recipe_means_what_it_meant() -> None:
    recipe = make_recipe(read_recipe(OLD / "recipe.yaml")).with_defaults()
    assert recipe.hash == REPORT["recipe"]["hash"]
    plain = recipe.model_dump(mode="json")
    assert {name: plain[name] for name in REPORT["recipe"] if name in plain} == {
        name: value for name, value in REPORT["recipe"].items() if name in plain
    } | {"out": None}


def test_a_report_is_drawn() -> None:
    for text in (markdown(REPORT), page(REPORT), report_html(REPORT, OLD)):
        assert "33.9 kB" in text


def test_roles_under_their_former_names() -> None:
    slot = json.loads((OLD / "bundle" / "slim.json").read_text())["plan"]["groups"][0]["slots"][0]
    group = {"id": "a", "width": 1, "protected_reason": None, "slots": [{**slot, "role": "mixing"}]}
    assert read_value(ChannelGroup, json.dumps(group), "group").slots[0].role == "cross-channel-norm"
