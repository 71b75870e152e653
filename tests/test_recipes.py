"""Every file in recipes/ is valid, and every grid runs to its end on a tiny stand-in."""

from pathlib import Path
from typing import Any

import pytest

import slimprune
from slimprune.comparison.grid import make_grid
from slimprune.pipeline.stages import check_names
from slimprune.recipe import make_recipe, names_segmentation, read_recipe

ROOT = Path(__file__).parents[1] / "recipes"
FILES = sorted([*ROOT.glob("*.yaml"), *ROOT.glob("arena/*.yaml")])
GRIDS = [file for file in FILES if "budgets" in read_recipe(file)]


@pytest.mark.parametrize("file", [file for file in FILES if file not in GRIDS], ids=lambda file: file.stem)
def test_the_recipes_are_valid(file: Path) -> None:
    recipe = make_recipe(read_recipe(file)).with_defaults()
    check_names(recipe)
    assert recipe.out is not None
    assert recipe.out.stem == file.stem


@pytest.mark.parametrize("file", GRIDS, ids=lambda file: file.stem)
def test_the_grids_are_valid(file: Path) -> None:
    grid = make_grid(read_recipe(file))
    assert grid.title
    for budget in grid.budgets:
        for cell in grid.row_cells(budget):
            check_names(cell.recipe)


def test_all_networks_of_the_arena_have_the_same_rows() -> None:
    rows = {file.stem: list(make_grid(read_recipe(file)).methods()) for file in GRIDS if file.parent.name == "arena"}
    assert len(rows) == 7
    assert all(names == rows["vgg19-macs95"] for names in rows.values())
    assert rows["vgg19-macs95"][0] == "uniform"


TOO_LARGE = ("weights", "image_size", "train_size", "amp", "round_to", "milestones")


def tiny(given: dict[str, Any], arch: str, data: str) -> dict[str, Any]:
    """The same rows on a tiny network and tiny data: few epochs and steps, 1 seed, 1 budget, 1 draw."""
    histories = {fields.get("when") for fields in given.get("rows", {}).values()}
    epochs = 7 if "early-bird" in histories else 2 if histories & {"gradual", "during-training"} else 1
    small = {
        "arch": arch,
        "data": data,
        "epochs": epochs,
        "draws": 1,
        "batch_size": 16,
        "score_batch": 8,
        "device": "cpu",
    }
    kept = {name: value for name, value in given["base"].items() if name not in TOO_LARGE}
    changes = {"steps": 2, "prune_epoch": 1}
    rows = {
        row: {name: min(value, changes[name]) if name in changes else value for name, value in fields.items()}
        for row, fields in given.get("rows", {}).items()
    }
    base = {**kept, **small, **({"rounds": 2} if "rounds" in kept else {})}
    quantity = given["budgets"][0].partition("=")[0]
    return {**given, "base": base, "rows": rows, "seeds": [0], "budgets": [f"{quantity}=0.5"], "paper": []}


QUICK = ("figure2-resnet20-cifar10", "methods-cpu-resnet20", "nuclei-unet-cpu", "table10-pretrained-init")
"""One of each kind; the others have similar rows."""


@pytest.mark.parametrize(
    "file",
    [pytest.param(file, marks=() if file.stem in QUICK else pytest.mark.slow, id=file.stem) for file in GRIDS],
)
def test_the_grids_run(file: Path, arch: str, data: str, masked_data: str, tmp_path: Path) -> None:
    given = read_recipe(file)
    masks = names_segmentation(given["base"]["arch"])
    given = tiny(given, *(("unet:depth=2,width=4", masked_data) if masks else (arch, data)))
    document = slimprune.compare(given, out=tmp_path)
    rows = {row["row"]: row for row in document["tables"][0]["rows"]}
    baselines = {"dense"} if given.get("dense", True) else set()
    baselines |= {"uniform at equal params", "uniform at equal MACs"} if given.get("uniform", True) else set()
    assert set(make_grid(given).methods()) | baselines <= set(rows)
    assert all(row["n"] == 1 for row in rows.values())
    assert (tmp_path / "compare.png").exists()
