"""`compare` on tiny networks: what a table holds, what is run, and how an interrupted run goes on."""

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import slimprune
import slimprune.comparison.compare
from slimprune.comparison import cells, make_grid
from slimprune.errors import SlimpruneError, UsageError
from slimprune.models import save_weights
from slimprune.pipeline import stages as steps
from slimprune.pipeline.staging import resumable_folder
from slimprune.pipeline.workload import named_workload
from slimprune.recipe import make_recipe
from tests.commands import Run, error_line, listing

Document = dict[str, Any]
Event = tuple[str, int, int, str]

FOLLOWERS = ["uniform at equal params", "uniform at equal MACs", "{0}: shuffle", "{0}: reinit", "{0}: invert"]


@pytest.fixture(scope="session")
def grid(arch: str, data: str) -> dict[str, Any]:
    """Two methods, two seeds, one budget: 2 dense, 4 cells, 4 uniform ones and 6 twins."""
    base = {"arch": arch, "data": data, "epochs": 2, "draws": 1, "batch_size": 8, "score_batch": 8, "device": "cpu"}
    return {"title": "tiny", "base": base, "budgets": ["params=0.5"], "seeds": [0, 1], "criteria": ["3sp", "synflow"]}


@pytest.fixture(scope="session")
def compared(grid: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Document, Path, list[Event]]:
    """The document, the folder and what was told on the way."""
    out, events = tmp_path_factory.mktemp("compared") / "out", []
    document = slimprune.compare(grid, out=out, listener=lambda *event: events.append(event))
    return document, out, events


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seed of every network that is trained."""
    seen: list[int] = []
    train = steps.train

    def counted(model: Any, batches: Any, tests: Any, settings: Any, **keywords: Any) -> Any:
        seen.append(settings.seed)
        return train(model, batches, tests, settings, **keywords)

    monkeypatch.setattr(steps, "train", counted)
    return seen


def timeless(document: Document) -> Document:
    """Without what a clock or a memory meter says."""
    plain = json.loads(json.dumps(document))
    for cell in plain["cells"]:
        cell.pop("training_seconds", None)
        if cell.get("scoring"):
            cell["scoring"] = {k: v for k, v in cell["scoring"].items() if k not in ("seconds", "peak_bytes")}
    for table in plain["tables"]:
        for row in table["rows"]:
            for name in ("scoring_seconds", "scoring_peak_bytes", "training_seconds"):
                row.pop(name)
    return dict(plain)


def rows(document: Document, table: int = 0) -> dict[str, dict[str, Any]]:
    return {row["row"]: row for row in document["tables"][table]["rows"]}


# What a table holds --------------------------------------------------------------------------------------------------


def test_every_table_has_the_rows_the_baselines_and_the_twins_of_the_winner(compared: Any) -> None:
    document, _, _ = compared
    (table,) = document["tables"]
    assert table["winner"] in ("3sp", "synflow")
    expected = ["dense", "3sp", "synflow", *(name.format(table["winner"]) for name in FOLLOWERS)]
    assert [row["row"] for row in table["rows"]] == expected
    assert {row["n"] for row in table["rows"]} == {2}
    cells_found = [(cell["row"], cell["seed"]) for cell in document["cells"]]
    assert cells_found == [(name, seed) for name in expected for seed in (0, 1)]


def test_twins_have_the_widths_of_the_winner_and_uniform_has_its_cost(compared: Any) -> None:
    document, _, _ = compared
    winner = document["tables"][0]["winner"]
    by_name = {(cell["row"], cell["seed"]): cell for cell in document["cells"]}
    for seed in (0, 1):
        best = by_name[winner, seed]
        for kind in ("shuffle", "reinit", "invert"):
            twin = by_name[f"{winner}: {kind}", seed]
            assert (twin["widths"], twin["params"], twin["macs"]) == (best["widths"], best["params"], best["macs"])
            assert twin["hash"] != best["hash"]
        for of, name in (("params", "uniform at equal params"), ("macs", "uniform at equal MACs")):
            # One channel of the second layer more would be above: 9 * 8 weights, a bias, two of the norm, two columns.
            assert 0 <= best[of] - by_name[name, seed][of] <= (9 * 8 + 5 if of == "params" else best[of] // 4)


def test_a_record_says_all_about_its_cell(compared: Any) -> None:
    document, out, _ = compared
    cell = document["cells"][2]
    stored = json.loads((out / "cells" / f"{cell['hash']}.json").read_text())
    assert stored.items() <= cell.items()
    assert (cell["row"], cell["kind"], cell["budget"], cell["seed"]) == ("3sp", "row", "params=0.5", 0)
    assert slimprune.Recipe.model_validate(cell["recipe"]).hash == cell["hash"]
    assert cell["metric"] == "top1"
    assert 0 <= cell["final"] <= cell["best"] <= 1
    assert cell["train_loss"] > 0
    assert cell["channels"] == sum(cell["widths"].values())
    assert cell["params"] <= 0.5 * 1474
    assert cell["kept"]["params"] == cell["params"] / 1474
    assert cell["scoring"]["draws"] == 1
    assert {"device", "threads", "torch"} <= cell["environment"].keys()
    assert {cell["epochs"] for cell in document["cells"]} == {2}


def test_all_rows_start_from_the_same_network_and_batches(compared: Any, grid: dict[str, Any], tmp_path: Path) -> None:
    """A cell is what `compress` makes of its recipe."""
    cell = compared[0]["cells"][4]
    recipe = {k: v for k, v in cell["recipe"].items() if v is not None}
    report = slimprune.compress(recipe.pop("arch"), **{**recipe, "out": tmp_path / "a.slim"})
    assert report.training is not None
    assert report.training.history[-1].train_loss == cell["train_loss"]
    assert report.slim.cost.params == cell["params"]


def test_the_folder_holds_the_tables_and_nothing_unfinished(compared: Any) -> None:
    document, out, _ = compared
    names = [f"cells/{name}.json" for name in {cell["hash"] for cell in document["cells"]}]
    names += [f"compare.{suffix}" for suffix in ("html", "json", "md", "png", "svg")] + ["layers.png", "layers.svg"]
    assert listing(out) == sorted(["cells", *names])
    assert json.loads((out / "compare.json").read_text()) == json.loads(json.dumps(document))
    assert "# tiny" in (out / "compare.md").read_text()


def test_the_listener_hears_of_every_cell(compared: Any) -> None:
    _, _, events = compared
    assert {(stage, total) for stage, _, total, _ in events} == {("cells", 2 + 4 + 4 + 6)}
    assert [done for _, done, _, _ in events] == sorted(done for _, done, _, _ in events)
    assert events[-1][1] == 16
    assert any(note.startswith("3sp, params=0.5, seed 1: epoch 2") for *_, note in events)
    assert any(note.startswith("dense, seed 0: top1 ") for *_, note in events)


def test_several_budgets_and_one_that_cannot_be_met(grid: dict[str, Any], tmp_path: Path) -> None:
    changes = {"budgets": ["params=0.5", "params=0.999"], "seeds": [0], "criteria": ["magnitude"], "twins": False}
    events: list[Event] = []
    document = slimprune.compare({**grid, **changes}, out=tmp_path, listener=lambda *event: events.append(event))
    assert list(rows(document)) == ["dense", "magnitude", *FOLLOWERS[:2]]
    row = rows(document, 1)["magnitude"]
    assert (row["n"], row["mean"], document["tables"][1]["winner"]) == (0, None, None)
    assert row["refused"].startswith("cannot remove 0.999 of params")
    assert list(rows(document, 1)) == ["dense", "magnitude"]
    assert events[-1][1:3] == (5, 5)
    assert "no result" in (tmp_path / "compare.md").read_text()


def test_a_cell_that_fails_is_a_row_without_a_result(
    grid: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one method the training diverges with one seed; the other is compared all the same."""
    trained = cells.run_training

    def diverging(settings: Any, work: Any, model: Any, store: Path, *rest: Any, **options: Any) -> Any:
        if settings.seed == 1 and '"3sp"' in (store.parent / "plan.json").read_text():
            raise SlimpruneError("training stopped: expected a finite loss, got nan")
        return trained(settings, work, model, store, *rest, **options)

    monkeypatch.setattr(cells, "run_training", diverging)
    changes = {"dense": False, "twins": False}
    document = slimprune.compare({**grid, **changes}, out=tmp_path)
    assert document["tables"][0]["winner"] == "synflow"
    assert (rows(document)["3sp"]["n"], rows(document)["3sp"]["refused"][:16]) == (1, "training stopped")
    assert "3sp has no result with seed 1: training stopped" in " ".join(document["tables"][0]["findings"])


def test_a_dense_network_that_fails_is_a_row_without_a_result_and_so_is_what_starts_from_it(
    grid: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = steps.run_training

    def diverging(settings: Any, work: Any, model: Any, store: Path, *rest: Any, **options: Any) -> Any:
        if store.name == "train dense":
            raise SlimpruneError("training stopped: expected a finite loss, got nan")
        return trained(settings, work, model, store, *rest, **options)

    monkeypatch.setattr(steps, "run_training", diverging)
    late = {"late": {"criterion": "magnitude", "when": "after-training"}}
    changes = {"seeds": [0], "criteria": ["magnitude"], "rows": late, "twins": False}
    document = slimprune.compare({**grid, **changes}, out=tmp_path)
    found = rows(document)
    assert {name for name, row in found.items() if row["mean"] is None} == {"dense", "late"}
    assert found["late"]["refused"].startswith("the dense network's training stopped")
    assert document["tables"][0]["winner"] == "magnitude"
    assert (tmp_path / "compare.png").exists()


def test_cells_made_from_other_code_are_not_taken(grid: dict[str, Any], arch: str, tmp_path: Path) -> None:
    code = tmp_path / "code.py"
    code.write_text(Path(arch.removesuffix(":net")).read_text())
    changes = {"base": {**grid["base"], "arch": f"{code}:net"}, "seeds": [0], "criteria": ["magnitude"]}
    given = {**grid, **changes, "dense": False, "twins": False}
    first = slimprune.compare(given, out=tmp_path / "out")
    assert slimprune.compare(given, out=tmp_path / "out") == first
    code.write_text(code.read_text() + "\n# changed\n")
    with pytest.raises(UsageError, match=r"magnitude, params=0.5, seed 0: the code, weights or data"):
        slimprune.compare(given, out=tmp_path / "out")


def test_rows_after_training_pay_for_the_dense_network_and_may_not_win(
    grid: dict[str, Any], tmp_path: Path, trainings: list[int]
) -> None:
    late = {"criterion": "magnitude", "when": "after-training"}
    back = {"criterion": "magnitude", "when": "rewind", "rewind_step": 1, "dense_epochs": 1}
    changes = {"rows": {"late": late, "back": back}, "seeds": [0], "criteria": ["random"], "twins": False}
    document = slimprune.compare({**grid, **changes}, out=tmp_path)
    epochs = {name: row["epochs"] for name, row in rows(document).items()}
    assert epochs == {"dense": 2, "random": 2, "late": 2 + 2, "back": 1 + 2, FOLLOWERS[0]: 2, FOLLOWERS[1]: 2}
    # dense (which `late` starts from), random, late, dense for `back`, back, uniform (the same widths at both equals)
    assert len(trainings) == 6
    assert "Not of equal cost: late (4 epochs)" in " ".join(document["tables"][0]["findings"])


def test_scores_are_shared_unless_the_criterion_narrows_towards_the_budget(
    grid: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[str] = []
    score = cells.score_channels

    def counted(recipe: Any, *rest: Any) -> Any:
        scored.append(recipe.criterion)
        return score(recipe, *rest)

    monkeypatch.setattr(cells, "score_channels", counted)
    changes = {"budgets": ["params=0.5", "params=0.4"], "rules": ["global", "tempered"], "seeds": [0]}
    base = {**grid["base"], "epochs": 1, "rounds": 2}
    slimprune.compare({**grid, **changes, "base": base, "twins": False, "dense": False}, out=tmp_path)
    assert sorted(scored) == ["3sp"] + ["synflow"] * 4


# What is run again ---------------------------------------------------------------------------------------------------


def test_the_same_command_again_runs_nothing_and_a_changed_grid_its_new_cells(
    grid: dict[str, Any], compared: Any, trainings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    document, out, _ = compared
    before = (out / "compare.svg").stat().st_mtime_ns
    with monkeypatch.context() as patched:
        patched.setattr(cells, "named_workload", None)
        assert slimprune.compare(grid, out=out) == json.loads(json.dumps(document))
    assert (out / "compare.svg").stat().st_mtime_ns == before
    # A row by another name is the same cell.
    renamed = {**grid, "criteria": ["3sp"], "rows": {"flow": {"criterion": "synflow"}}}
    again = slimprune.compare(renamed, out=out)
    assert trainings == []
    assert rows(again)["flow"]["mean"] == rows(document)["synflow"]["mean"]
    slimprune.compare({**grid, "rows": {"noise": {"criterion": "random"}}}, out=out)
    assert trainings == [0, 1]
    slimprune.compare(grid, out=out)


class HaltError(Exception):
    pass


def stop_after(cells_done: int, epoch: int) -> Callable[..., None]:
    def listener(stage: str, done: int, total: int, note: str) -> None:
        if done == cells_done and f"epoch {epoch}," in note:
            raise HaltError

    return listener


def test_an_interrupted_run_goes_on_and_ends_as_if_it_had_not_been(
    grid: dict[str, Any], compared: Any, tmp_path: Path, trainings: list[int]
) -> None:
    # The note of a step carries the metric of the epoch before it: this is the first step of the second epoch.
    with pytest.raises(HaltError) as caught:
        slimprune.compare(grid, out=tmp_path, listener=stop_after(4, 2))
    assert caught.value.__notes__ == [f"the same command goes on from what is finished in {tmp_path}"]
    assert len(list((tmp_path / "cells").iterdir())) == 4
    stopped = list((tmp_path / ".unfinished").glob("*/train/checkpoint.json"))
    assert [json.loads(file.read_text())["epoch"] for file in stopped] == [1]
    # 2 dense, 2 finished, 1 stopped; then what is left of 16.
    assert len(trainings) == 5
    document = slimprune.compare(grid, out=tmp_path)
    assert len(trainings) == 5 + 16 - 4
    assert timeless(document) == timeless(compared[0])
    assert not (tmp_path / ".unfinished").exists()


def test_equal_networks_are_trained_once(grid: dict[str, Any], trainings: list[int], tmp_path: Path) -> None:
    rows = {
        "uniform": {"rule": "uniform"},
        "as uniform": {"rule": "profile:score=0,reuse=0"},
        "early": {"rule": "early"},
    }
    given = {**grid, "criteria": [], "rows": rows, "dense": False, "twins": False, "uniform": False}
    document = slimprune.compare(given, out=tmp_path / "out")
    by_row = {(cell["row"], cell["seed"]): cell for cell in document["cells"]}
    assert sorted(trainings) == [0, 0, 1, 1]
    for seed in (0, 1):
        one, same = by_row["uniform", seed], by_row["as uniform", seed]
        assert one["training"] == same["training"]
        assert (one["final"], one["widths"], one["epochs"]) == (same["final"], same["widths"], same["epochs"])
        assert (one["rule"], one["hash"]) != (same["rule"], same["hash"])
        assert by_row["early", seed]["training"] != one["training"]
    assert by_row["uniform", 0]["training"] != by_row["uniform", 1]["training"]


def test_a_training_that_may_stop_early_is_not_shared(
    grid: dict[str, Any], trainings: list[int], tmp_path: Path
) -> None:
    base = {**grid["base"], "validation": 0.25, "patience": 5}
    rows = {"uniform": {"rule": "uniform"}, "as uniform": {"rule": "profile:score=0,reuse=0"}}
    given = {**grid, "base": base, "criteria": [], "rows": rows, "dense": False, "twins": False, "uniform": False}
    document = slimprune.compare({**given, "seeds": [0]}, out=tmp_path / "out")
    assert trainings == [0, 0]
    assert not any("training" in cell for cell in document["cells"])


def test_several_at_once_give_what_one_after_the_other_gives(
    grid: dict[str, Any], compared: Any, tmp_path: Path
) -> None:
    heard: list[Event] = []
    state = torch.random.get_rng_state()
    document = slimprune.compare(grid, out=tmp_path, jobs=3, listener=lambda *event: heard.append(event))
    assert timeless(document) == timeless(compared[0])
    assert [done for _, done, _, _ in heard] == sorted(done for _, done, _, _ in heard)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_an_error_in_one_of_several_stops_the_others(grid: dict[str, Any], tmp_path: Path) -> None:
    def listener(stage: str, done: int, total: int, note: str) -> None:
        # Any step of any network: which cells are at work once three are done is left to the threads.
        if done >= 3 and "epoch" in note:
            raise HaltError

    with pytest.raises(HaltError):
        slimprune.compare(grid, out=tmp_path, jobs=2, listener=listener)
    assert not any(thread.name.startswith("ThreadPool") for thread in threading.enumerate())
    assert len(list((tmp_path / "cells").iterdir())) < 6


def test_rows_may_differ_in_their_regularizer(
    grid: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    penalties: list[str | None] = []
    train = steps.train

    def watched(*arguments: Any, penalty: Any = None, **keywords: Any) -> Any:
        penalties.append(penalty and penalty.name)
        return train(*arguments, penalty=penalty, **keywords)

    monkeypatch.setattr(steps, "train", watched)
    late = {"criterion": "bn-scale", "when": "after-training"}
    changes = {
        "rows": {"plain": late, "sparse": {**late, "regularizer": "bn-l1"}}, "criteria": [], "seeds": [0],
        "twins": False, "base": {**grid["base"], "epochs": 1},
    }  # fmt: skip
    slimprune.compare({**grid, **changes}, out=tmp_path)
    # dense (which `plain` starts from), plain, dense for `sparse`, sparse, uniform (the same widths at both equals)
    assert sorted(penalties, key=str) == [None] * 4 + ["bn-l1"]


def test_rows_of_a_trained_network_imitate_it(
    grid: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = named_workload(make_recipe({**grid["base"], "seed": 5}).with_defaults(), "cpu")
    save_weights(work.model, tmp_path / "given.safetensors")
    first = next(iter(dict(work.model.named_parameters())))
    teachers: list[torch.Tensor | None] = []
    train = steps.train

    def watched(*arguments: Any, teacher: Any = None, **keywords: Any) -> Any:
        teachers.append(teacher and teacher.get_parameter(first).clone())
        return train(*arguments, teacher=teacher, **keywords)

    monkeypatch.setattr(steps, "train", watched)
    base = {**grid["base"], "epochs": 1, "weights": tmp_path / "given.safetensors", "distill": 0.5}
    changes = {"base": base, "criteria": ["magnitude"], "seeds": [0], "twins": False}
    slimprune.compare({**grid, **changes}, out=tmp_path / "out", jobs=2)
    # magnitude, uniform twice; the dense network is tested as given
    assert len(teachers) == 3
    assert all(teacher is not None and torch.equal(teacher, work.model.get_parameter(first)) for teacher in teachers)


# What it refuses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("faster", [True, False])
def test_the_precision_is_the_same_in_all_cells(
    grid: dict[str, Any], monkeypatch: pytest.MonkeyPatch, faster: bool
) -> None:
    running = sys.modules["slimprune.comparison.compare"]
    monkeypatch.setattr(running, "faster_in_bfloat16", lambda device: (faster, f"measured on {device}"))
    left_open, decided = make_grid({**grid, "base": {**grid["base"], "amp": "auto"}}), make_grid(grid)
    assert running._with_precision(decided) == (decided, None)
    found, reason = running._with_precision(left_open)
    assert reason == "measured on cpu"
    assert {cell.recipe.amp for cell in [*found.row_cells("params=0.5"), *found.dense_cells()]} == {faster}


def test_names_are_checked_before_anything_is_built(grid: dict[str, Any], tmp_path: Path) -> None:
    changes: list[tuple[dict[str, Any], str]] = [
        ({"criteria": ["snap"]}, "expected a criterion"),
        ({"rules": ["fair"]}, "expected a rule"),
        ({"rows": {"a": {"criterion": "3sp", "steps": 3}}}, "criterion 3sp has no option 'steps'"),
        ({"rows": {"a": {"mixup": 0.2}}}, "expected mixup in base, since all rows are trained alike"),
        ({"base": {**grid["base"], "log": "tensorboard"}}, "expected no log, which differs from cell to cell"),
        ({"base": {**grid["base"], "distill": 0.5}}, "distill"),
    ]
    for change, line in changes:
        with pytest.raises(UsageError, match=line):
            slimprune.compare({**grid, **change}, out=tmp_path / "new")
    with pytest.raises(UsageError, match="expected jobs of at least 1, got 0"):
        slimprune.compare(grid, out=tmp_path / "new", jobs=0)
    assert listing(tmp_path) == []


def test_networks_with_dropout_are_not_trained_side_by_side(grid: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "drop.py"
    file.write_text(
        "from torch import nn\n"
        "def net(num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),\n"
        "        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, num_classes))\n"
    )
    given = {**grid, "base": {**grid["base"], "arch": f"{file}:net"}, "seeds": [0], "dense": False}
    with pytest.raises(UsageError, match=r"expected jobs of 1 for .*, which draws random numbers in training"):
        slimprune.compare(given, out=tmp_path / "out", jobs=2)


def test_a_second_process_in_the_same_folder_is_refused(grid: dict[str, Any], tmp_path: Path) -> None:
    with (
        resumable_folder(tmp_path / "out"),
        pytest.raises(UsageError, match=r"expected to be the only run that makes .*out, got another at work"),
    ):
        slimprune.compare(grid, out=tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot write .*file: Not a directory"):
        slimprune.compare(grid, out=tmp_path / "file")
    assert listing(tmp_path) == ["file"]


def test_a_foreign_file_among_the_cells_is_named(grid: dict[str, Any], compared: Any, tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    for cell in compared[0]["cells"]:
        (tmp_path / "cells" / f"{cell['hash']}.json").write_text("{}")
    with pytest.raises(UsageError, match=r"the record of a cell, \S+\.json, cannot be read: .*remove it"):
        slimprune.compare(grid, out=tmp_path)


# The command ---------------------------------------------------------------------------------------------------------


def test_the_command(
    grid: dict[str, Any], compared: Any, folder: Path, slimprune: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    small = {**grid, "seeds": [0], "dense": False, "twins": False}
    Path("mine.yaml").write_text(json.dumps(small))
    code, out, err = slimprune("compare", "mine.yaml", "--trust-code", "--jobs", 2)
    assert code == 0
    assert [line.split(":")[0] for line in err.splitlines()] == [f"cell {number}/4" for number in (1, 2, 3, 4)]
    assert " 3sp, params=0.5, seed 0: top1 " in err
    assert out.startswith("mine holds compare.html and .md (all columns), .json, .svg and .png\n")
    assert "removed: params=0.5, 1 seed, * the winner, Δ to uniform at equal cost" in out
    assert max(map(len, out.splitlines())) <= 80
    code, out, err = slimprune("compare", "mine.yaml", "--trust-code", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["tables"][0]["budget"] == "params=0.5"
    assert slimprune("compare", "mine.yaml", "--trust-code", "--quiet") == (0, "", "")


def test_the_command_refuses_in_one_line(folder: Path, slimprune: Callable[..., Run]) -> None:
    Path("bad.yaml").write_text("{base: {arch: vgg11}, budgets: [params=0.5], seeds: [0], criteria: [3sp], rule: x}")
    result = slimprune("compare", "bad.yaml")
    assert result[0] == 2
    assert error_line(result) == "error: unknown field 'rule' (did you mean 'rules'?)"
    assert listing(folder) == ["bad.yaml"]


def test_an_interrupted_command_says_that_it_goes_on(
    grid: dict[str, Any], folder: Path, slimprune: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.yaml").write_text(json.dumps({**grid, "seeds": [0], "dense": False, "twins": False}))
    finish = cells.RunCache.train
    trained: list[str] = []

    def interrupted(self: Any, cell: Any, *rest: Any) -> Any:
        if trained:
            raise KeyboardInterrupt
        trained.append(cell.row)
        return finish(self, cell, *rest)

    monkeypatch.setattr(cells.RunCache, "train", interrupted)
    code, out, err = slimprune("compare", "mine.yaml", "--trust-code", "--quiet")
    assert (code, out) == (130, "")
    assert err == "error: interrupted; the same command goes on from what is finished in mine\n"
    assert len(list(Path("mine/cells").iterdir())) == 1
