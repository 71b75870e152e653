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


def test_saliency_cost_measures_each_number_of_steps(tmp_path):
    out = tmp_path / "cost.json"
    run("saliency_cost.py", "--arch", "resnet20", "--batch", 4, "--steps", 0, 1, "--out", out)
    rows = json.loads(out.read_text())["rows"]
    assert [row["steps"] for row in rows] == [0, 1]
    assert all(row["seconds"] > 0 for row in rows)


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
