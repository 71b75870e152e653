"""A document as `Report.to_json` makes it, small enough to check every line that is made of it."""

from typing import Any


def document(**changes: Any) -> dict[str, Any]:
    """`stem` and `body` are slimmed to a quarter; `head` is protected."""
    return {
        "schema_version": 1,
        "recipe": {"arch": "vgg19", "ratio": 0.75, "of": "params", "protect": ["a", "b"], "steps": None},
        "environment": {"device": "cpu (x86_64)", "threads": 2},
        "channels": {"dense": 1200, "slim": 300, "removed": 0.75},
        "params": {"dense": 4_000_000, "slim": 998_000, "removed": 0.7505},
        "macs": {"dense": 10**9, "slim": 10**9, "removed": 0.0},
        "weight_bytes": {"dense": 16_000_000, "slim": 4_800},
        "budget": {"quantity": "params", "requested": 0.75, "achieved": 0.7505, "also": []},
        "rule": "global",
        "widths": [
            {"group": "0", "layer": "stem", "dense": 64, "slim": 16},
            {"group": "0", "layer": "body.conv2", "dense": 64, "slim": 16},
            {"group": "2", "layer": "head", "dense": 10, "slim": 10},
        ],
        "protected": [{"layer": "head", "reason": "model output"}],
        "proof": {"max_rel_diff": 1.2e-14, "tolerance": 1e-5, "passed": True, "structural_groups": []},
        "saliency": None,
        "search": None,
        "training": None,
        "onnx": None,
        "latency": [],
        "baselines": [],
        "warnings": [],
        "seconds": 3.0,
        **changes,
    }


SALIENCY = {"criterion": "prospr", "steps": 3, "draws": 1, "stability": None, "seconds": 1.26, "peak_bytes": 10}
SEARCH = {
    "rule": "uniform",
    "trials": [
        {"rule": "uniform", "epochs": 1, "loss": 0.5, "params": 10, "macs": 20},
        {"rule": "global", "epochs": 1, "loss": 0.6, "params": 10, "macs": 20},
        {"rule": "uniform", "epochs": 2, "loss": 0.4, "params": 10, "macs": 20},
    ],
    "epochs": 4,
    "seconds": 61.4,
}
LATENCY = {
    "quantity": "latency", "requested": 0.5, "achieved": 0.506, "interval": [0.49, 0.52], "dense_ms": 3.149,
    "slim_ms": 1.555, "pairs": 48, "engine": "onnxruntime", "version": "onnxruntime 1.20", "device": "cpu (a)",
    "threads": 2, "batch": 8, "also": [],
}  # fmt: skip
TIMING = {
    "engine": "onnxruntime", "version": "onnxruntime 1.20", "device": "cpu (a)", "threads": 2, "batch": 8,
    "rounding": {"round_to": 16, "reason": "keeps most MACs", "candidates": []}, "trials": [{}, {}], "chosen": 1,
}  # fmt: skip
TRAINING = {"epochs": 12, "top1": 0.93456, "best": 0.94, "final": 0.93456, "seconds": 1234.5}
ONNX = {
    "path": "a.onnx", "opset": 18, "max_abs_diff": 1.5e-6, "top1_agreement": 1.0, "samples": 64, "batches": [1, 2, 5],
    "bytes": 4_400,
}  # fmt: skip
