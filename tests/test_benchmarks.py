"""The benchmark scripts run, in small."""

import importlib.util
import json
import runpy
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import slimprune

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(script, *arguments):
    """In this process: importing torch takes longer than most of them."""
    with mock.patch("sys.argv", [script, *map(str, arguments)]), mock.patch("sys.path", [str(BENCHMARKS), *sys.path]):
        runpy.run_path(str(BENCHMARKS / script), run_name="__main__")


def test_rules_writes_each_cell_once(tmp_path):
    out = tmp_path / "rules.json"
    small = ["--arch", "resnet20", "--epochs", 1, "--draws", 1, "--batch-size", 16, "--train-size", 32]
    small += ["--test-size", 32, "--budgets", "params=0.5", "--seeds", 0, "--threads", 1, "--out", out]
    run("rules.py", *small, "--rules", "uniform")
    first = json.loads(out.read_text())["cells"]
    run("rules.py", *small, "--rules", "uniform", "global")
    cells = json.loads(out.read_text())["cells"]
    assert [cell["rule"] for cell in cells] == ["uniform", "global"]
    assert cells[0] == first[0]
    assert {"command", "device", "threads", "torch"} <= cells[1]["circumstances"].keys()
    assert "| resnet20 | params=0.5 | global |" in out.with_suffix(".md").read_text()


def test_saliency_cost_measures_each_number_of_steps_by_both_methods(tmp_path):
    out = tmp_path / "cost"
    run("saliency_cost.py", "--arch", "resnet20", "--batch", 4, "--steps", 1, "--rounds", 1, "--out", out)
    rows = json.loads(out.with_suffix(".json").read_text())["rows"]
    assert [(row["steps"], row["method"]) for row in rows] == [(1, method) for method in ("adjoint", "unrolled")]
    assert all(row["seconds"] > 0 for row in rows)
    assert "| 1 | adjoint |" in out.with_suffix(".md").read_text()


def test_scale_predicts_draws_and_runs_some_of_them(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("scale", BENCHMARKS / "scale.py")
    scale = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "scale", scale)
    spec.loader.exec_module(scale)
    out = tmp_path / "scale"
    small = [
        "--arch",
        "resnet20",
        "--batch",
        4,
        "--size",
        16,
        "--steps",
        1,
        3,
        "--steps-stored",
        1,
        "--large-batch-here",
        6,
        "--out",
        out,
    ]
    large = ["--large-batch", 8, "--large-size", 32, "--large-steps", 3, 100, "--large-stored", 64]
    monkeypatch.setattr("sys.argv", ["scale.py", *map(str, [*small, *large])])
    monkeypatch.setattr(scale, "run", lambda what, *numbers: scale.RUNS[what](scale.parse(), *numbers))
    scale.main()
    document = json.loads(out.with_suffix(".json").read_text())
    confirmed, vector = document["confirmed"], 4 * document["passes"]["parameters"]
    # of one step: the final loss; of three, the third of which is a product: two more; with one vector: 3 + 2 + 1
    done = [(row["batch"], row["steps"], row["stored"], row["gradients"]) for row in confirmed]
    assert done == [(4, 1, 0, 1), (4, 3, 0, 3), (4, 3, 1, 6), (6, 1, 0, 1)]
    assert all(row["measured"]["cpu_seconds"] > 0 for row in confirmed)
    three, hundred, with_fewer = document["large"]
    assert hundred["peak_bytes"] - with_fewer["peak_bytes"] == pytest.approx(36 * vector)
    assert hundred["peak_bytes"] - three["peak_bytes"] == pytest.approx(97 * vector)
    assert document["passes"]["second_order_bytes"] > document["passes"]["forward_bytes"] > 0
    assert "| 100 | 64 | 8 | 32 |" in out.with_suffix(".md").read_text()


def test_zoo_runs_each_model_once(tmp_path):
    out = tmp_path / "zoo.json"
    run("zoo.py", "--models", "shufflenet_v2_x0_5", "--out", out)
    first = json.loads(out.read_text())["models"]
    run("zoo.py", "--models", "shufflenet_v2_x0_5", "squeezenet1_1", "--out", out)
    rows = json.loads(out.read_text())["models"]
    assert [row["model"] for row in rows] == ["shufflenet_v2_x0_5", "squeezenet1_1"]
    assert rows[0] == first[0]
    assert all(row["outcome"] == "proven" and row["trains"] is True and row["removed"] > 0.4 for row in rows)
    assert {"command", "device", "threads", "torch"} <= rows[0]["circumstances"].keys()
    run("zoo.py", "--models", "squeezenet1_1", "timm:test_resnet", "--against", "torch-pruning", "--out", out)
    found = json.loads(out.read_text())
    assert found["models"] == rows
    assert [row["outcome"] for row in found["torch-pruning"]] == ["right", "right"]
    page = out.with_suffix(".md").read_text()
    assert "## torchvision\n\n- slimprune: 2 models: 2 proven\n- torch-pruning: 1 models: 1 right" in page
    assert "## timm, one small model for each family\n\n- slimprune: not run\n- torch-pruning: 1 models" in page


@pytest.mark.slow
def test_zoo_knows_networks_of_other_libraries(tmp_path):
    out, name = tmp_path / "zoo.json", "transformers:Bert"
    run("zoo.py", "--set", "third-party", "--models", name, "--out", out)
    run("zoo.py", "--set", "third-party", "--models", name, "--against", "torch-pruning", "--out", out)
    found = json.loads(out.read_text())
    (row,) = found["models"]
    assert (row["model"], row["outcome"], row["trains"], row["side"]) == (name, "proven", True, 12)
    assert row["find_seconds"] <= row["seconds"]
    assert "transformers" in row["circumstances"]
    assert [row["model"] for row in found["torch-pruning"]] == [name]
    page = out.with_suffix(".md").read_text()
    assert "## transformers\n\n- slimprune: 1 models: 1 proven\n- torch-pruning: 1 models: 1 " in page


TINY = ["--archs", "resnet20", "--threads", 1, "--device", "cpu", "--samples", 8, "--seconds", 0.01]
TINY += ["--image-sizes", 16]


def test_infer_speed_measures_every_plan_that_can_be_made(tmp_path):
    out = tmp_path / "infer.json"
    small = ["--of", "macs", "--ratios", 0.99, 0.6, "--round-to", 1, 8, "--batches", 1, "--engines", "torch"]
    run("infer_speed.py", *TINY, *small, "--out", out)
    document = json.loads(out.read_text())
    cells = document["cells"]
    assert [(cell["budget"], cell["round_to"]) for cell in cells] == [
        ("macs=0.99", 1),
        ("macs=0.6", 1),
        ("macs=0.6", 8),
    ]
    assert all(cell["engine"] == "torch" and cell["batch"] == 1 and cell["pairs"] == 8 for cell in cells)
    assert all(cell["macs"]["reduction"] >= 2.5 for cell in cells)
    reason = "resnet20, 16, macs=0.99, uniform, round to 8: cannot remove 0.99 of macs"
    assert document["left_out"][0].startswith(reason)
    assert document["circumstances"]["command"].startswith("python benchmarks/infer_speed.py --archs resnet20")
    assert "| resnet20 | 16 | macs=0.6 | uniform | 8 | torch | 1 |" in out.with_suffix(".md").read_text()


def test_train_speed_has_the_shape_of_the_papers_table_and_goes_on_where_it_stopped(tmp_path):
    out = tmp_path / "train.json"
    small = ["--round-to", 8, "--batches", 4, "--score-batch", 4, "--out", out, "--methods", "3sp/global", "uniform"]
    run("train_speed.py", *TINY, *small, "--ratios", 0.4)
    first = json.loads(out.read_text())["cells"]
    run("train_speed.py", *TINY, *small, "--ratios", 0.4, 0.5)
    cells = json.loads(out.read_text())["cells"]
    assert cells[:4] == first
    plans = [("params=0.4", "3sp/global"), ("params=0.4", "uniform"), ("params=0.5", "3sp/global")]
    plans.append(("params=0.5", "uniform"))
    expected = [(*plan, engine) for plan in plans for engine in ("train", "train-fast")]
    assert [(cell["budget"], cell["method"], cell["engine"]) for cell in cells] == expected
    page = out.with_suffix(".md").read_text()
    head = "| arch | pixels | method | round to | engine | batch | dense | params=0.4 | params=0.5 | paper, table 7 |"
    assert head in page
    seconds = cells[0]["dense_ms"] / 1000 * 50_000 / 4
    assert f"| resnet20 | 16 | 3sp/global | 8 | train | 4 | {seconds:.1f} |" in page


def test_latency_budget_goes_on_from_what_it_has_and_says_what_follows(tmp_path):
    out = tmp_path / "latency.json"
    about = {"arch": "resnet20", "batch": 1, "ratio": 0.5}
    again = {"removed": 0.51, "interval": [1.9, 2.2], "dense_ms": 4.0, "slim_ms": 1.96, "threads": 1}
    again |= {"engine": "onnxruntime", "device": "cpu (a)", "version": "onnxruntime 1"}
    latency = {"method": "latency", "macs_kept": 0.4, "round_to": 16, "planned": {"achieved": 0.5}, "again": again}
    latency |= {"widths": {}, "plans_timed": 2, "command": "slimprune plan"}
    rows = [{**about, **latency}, {**about, "method": "macs, round to 8", "macs_kept": 0.32}]
    out.write_text(json.dumps({"rows": rows}))
    small = ["--archs", "resnet20", "--batches", 1, "--round-to", 8, "--threads", 1, "--out", out]
    run("latency_budget.py", *small)
    assert json.loads(out.read_text())["rows"] == rows
    page = out.with_suffix(".md").read_text()
    row = "| resnet20 | 1 | 50.0 % | 50.0 % | 51.0 % (47.4-54.5) | 4.00 | 1.96 | 16 | 2 | 40.0 % | 32.0 % |"
    assert row in page
    assert "met within 5 % on re-measurement (-2.0 % latency); 25.0 % more MACs than macs, round to 8." in page


def test_macs_at_equal_latency_lie_between_the_nearest_networks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from latency_budget import at_equal_latency

    tried = [{"relative": one, "macs_kept": kept} for one, kept in ((1.2, 0.5), (0.9, 0.4), (0.5, 0.1), (1.1, 0.44))]
    assert at_equal_latency(tried) == pytest.approx(0.42)
    assert at_equal_latency(tried[:1]) == 0.5


def test_precision_measures_each_seed_once(arch, data, tmp_path, monkeypatch):
    monkeypatch.setattr("slimprune.timing.precision.SAMPLING", slimprune.Sampling(8, 0.01))
    monkeypatch.setattr("slimprune.timing.sampling.WARM_UP_SECONDS", 0.01)
    out = tmp_path / "precision.json"
    small = ["--arch", arch, "--data", data, "--epochs", 1, "--batches", 1, "--samples", 8, "--seconds", 0.01]
    small += ["--out", out]
    run("precision.py", *small)
    first = json.loads(out.read_text())["cells"]
    run("precision.py", *small, "--seeds", 0)
    [cell] = json.loads(out.read_text())["cells"]
    assert [cell] == first
    assert [file["precision"] for file in cell["files"]] == ["fp32", "fp16", "int8"]
    assert [len(file["speed"]) for file in cell["files"]] == [0, 1, 1]
    assert {"command", "int8_instructions", "load_average", "torch"} <= cell["circumstances"].keys()
    page = out.with_suffix(".md").read_text()
    assert f"| {arch} | {data} | {100 * cell['removed']['macs']:.1f} % of macs | 0 | int8 |" in page


def test_stability_keeps_its_draws(tmp_path):
    out = tmp_path / "stability"
    small = ["--networks", "vgg11-digits", "--most-steps", 0, "--most-draws", 2, "--out", out]
    run("stability.py", *small)
    first = json.loads(out.with_suffix(".json").read_text())["rows"]
    run("stability.py", *small, "--tables-only")
    assert json.loads(out.with_suffix(".json").read_text())["rows"] == first
    assert {(row["average"], row["draws"]) for row in first} == {("signed", 1), ("absolute", 1)}
    assert all(-1 <= row["within"] <= 1 and row["seconds"] > 0 for row in first)


def test_width_search_starts_all_searches_from_one_network(arch, data, tmp_path, monkeypatch):
    monkeypatch.setattr("slimprune.pipeline.learned.GENERATIONS", 2)
    monkeypatch.setattr("slimprune.pipeline.learned.POPULATION", 6)
    out = tmp_path / "search"
    run("width_search.py", "--arch", arch, "--data", data, "--ratio", 0.5, "--sharing-epochs", 1, "--out", out)
    first, second = json.loads(out.with_suffix(".json").read_text())["rows"]
    assert [one["search"] for one in (first, second)] == ["cross-entropy", "evolution"]
    assert first["evaluations"] == second["evaluations"] == 12
    assert first["uniform_loss"] == second["uniform_loss"]
    assert first["generations"][0] == pytest.approx(second["generations"][0], abs=0.05)


def imported(name, monkeypatch):
    """Import a script with its neighbours, as if it had been started."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_power_laws_are_found_in_widths_that_follow_them(monkeypatch):
    script = imported("power_laws", monkeypatch)
    costs = np.array([1000.0, 500.0, 250.0, 100.0])
    widths = np.stack([2 * costs**0.5, 0.5 * costs, np.full(4, 7.0)], axis=1)
    offsets, slopes = script.power_laws(costs, widths)
    assert np.exp(offsets) == pytest.approx([2, 0.5, 7])
    assert slopes == pytest.approx([0.5, 1, 0], abs=1e-9)
    # 250 = 1000^(1/2) * 62.5^(1/2): halfway in logarithms between two networks of costs 1000 and 62.5
    halfway = script.crossing([1000.0, 62.5], [np.array([0.0, 1.0]), np.array([-2.0, 3.0])], 250.0)
    assert halfway == pytest.approx([-1, 2])


@pytest.mark.parametrize(
    ("name", "ways"), [("power_laws", ["pruning", "power laws"]), ("slimming", ["loss", "loss per cost"])]
)
def test_rivals_are_trained_beside_uniform_widths_of_no_lower_cost(name, ways, monkeypatch, tmp_path, capsys):
    script = imported(name, monkeypatch)
    monkeypatch.setattr(script, "ROUNDS", 2, raising=False)
    small = ["--network", "resnet8-macs50", "--epochs", 1, "--train-size", 160, "--data", "digits"]
    arguments = [name, *small, "--seeds", 0, "--out", tmp_path / "found"]
    monkeypatch.setattr(sys, "argv", [*map(str, arguments)])
    script.main()
    found = json.loads((tmp_path / "found.json").read_text())
    for way in ("uniform", *ways):
        assert 0.97 * found["0"]["uniform"]["macs"] < found["0"][way]["macs"] <= 6_250_000
        assert found["0"][way]["params"] <= found["0"]["uniform"]["params"]
        assert 0 < found["0"][way]["final"] < 1
    page = (tmp_path / "found.md").read_text()
    assert all(f"| {way} | " in page for way in ways)
    script.main()  # nothing is run again
    assert json.loads((tmp_path / "found.json").read_text()) == found
    assert capsys.readouterr().out.count("seed 0, uniform") == 1
