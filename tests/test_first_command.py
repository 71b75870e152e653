"""The README's first command, for real."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_vgg19_on_the_digits(tmp_path):
    command = [
        sys.executable,
        "-m",
        "slimprune",
        "compress",
        "--arch",
        "vgg19",
        "--ratio",
        "0.9",
        "--out",
        "model.onnx",
    ]
    subprocess.run(command, check=True, cwd=tmp_path)
    report = json.loads((tmp_path / "model.report.json").read_text())
    assert report["training"]["top1"] >= 0.97
    assert report["params"]["removed"] >= 0.9
    assert report["proof"]["passed"]
    assert report["onnx"]["max_abs_diff"] <= 1e-4
    assert report["onnx"]["top1_agreement"] == 1.0
    assert report["onnx"]["samples"] >= 32
