"""The benchmark scripts run, in small."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(script, *arguments):
    subprocess.run([sys.executable, BENCHMARKS / script, *map(str, arguments)], check=True, capture_output=True)


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
    run("saliency_cost.py", "--arch", "resnet20", "--batch", 4, "--steps", 0, 1, "--rounds", 1, "--out", out)
    rows = json.loads(out.with_suffix(".json").read_text())["rows"]
    assert [(row["steps"], row["method"]) for row in rows] == [
        (steps, method) for steps in (0, 1) for method in ("adjoint", "unrolled")
    ]
    assert all(row["seconds"] > 0 for row in rows)
    assert "| 1 | adjoint |" in out.with_suffix(".md").read_text()


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
    assert out.with_suffix(".md").read_text().startswith("2 models: 2 proven.")


TINY = ["--archs", "resnet20", "--threads", 1, "--device", "cpu", "--samples", 8, "--seconds", 0.01, "--image-size", 16]


def test_infer_speed_measures_every_plan_that_can_be_made(tmp_path):
    out = tmp_path / "infer.json"
    small = ["--budgets", "macs=0.99", "macs=0.6", "--round-to", 1, 8, "--batches", 1, "--engines", "torch"]
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
    assert document["left_out"][0].startswith("resnet20, macs=0.99, uniform, round to 8: cannot remove 0.99 of macs")
    assert document["circumstances"]["command"].startswith("python benchmarks/infer_speed.py --archs resnet20")
    assert "| resnet20 | macs=0.6 | uniform | 8 | torch | 1 |" in out.with_suffix(".md").read_text()


def test_train_speed_has_the_shape_of_the_papers_table(tmp_path):
    out = tmp_path / "train.json"
    small = ["--budgets", "params=0.8", "params=0.9", "--round-to", 1, "--batches", 4, "--score-batch", 4, "--out", out]
    run("train_speed.py", *TINY, *small, "--methods", "3sp/global")
    cells = json.loads(out.read_text())["cells"]
    assert [cell["budget"] for cell in cells] == ["params=0.8", "params=0.9"]
    for cell in cells:
        assert cell["epoch_seconds"]["slim"] == cell["slim_ms"] / 1000 * 50_000 / 4
    page = out.with_suffix(".md").read_text()
    assert "| arch | method | round to | engine | batch | dense | params=0.8 | params=0.9 |" in page
    assert "| resnet20 | 3sp/global | 1 | train | 4 |" in page
