import json

from slimprune.budget import Budget, Candidate, LatencyRecord, Plan, Rounding, TimedNetwork, allocate
from slimprune.files import read_value
from tests.networks import named

ROW = {
    "engine": "onnxruntime", "device": "cpu (a)", "batch": 8, "threads": 2, "version": "onnxruntime 1.20",
    "dense_ms": 10.0, "slim_ms": 5.0, "speedup": 2.0, "iqr": {"dense": [9.9, 10.1], "slim": [4.9, 5.1]},
    "interval": [1.6, 2.5], "confidence": 0.99, "pairs": 48, "verdict": "2.00 times faster", "disturbed": 0.0,
    "macs": {"dense": 20, "slim": 10, "reduction": 2.0}, "realised_share": 1.0,
}  # fmt: skip
TIMING = LatencyRecord(
    "onnxruntime", "onnxruntime 1.20", "cpu (a)", 2, 8,
    Rounding(16, "pays", (Candidate(8, 90, 5), Candidate(16, 100, 5))),
    (TimedNetwork(0.4, ROW), TimedNetwork(0.45, ROW)), 1,
)  # fmt: skip


def test_what_was_measured_survives_json():
    assert read_value(LatencyRecord, json.dumps(TIMING.to_json()), "record") == TIMING
    plain = LatencyRecord("torch", "torch 2", "cpu (a)", 1, 1)
    assert read_value(LatencyRecord, json.dumps(plain.to_json()), "record") == plain
    assert plain.trial is None


def test_the_removed_share_and_its_interval_follow_from_the_speedup():
    assert TIMING.trial.removed == 0.5
    assert TIMING.trial.interval == (1 - 1 / 1.6, 0.6)


def test_a_plan_keeps_what_was_measured_for_it():
    _, _, groups, costs = named("resnet20")
    plan = allocate(None, groups, Budget(0.5, "macs"), costs, rule="uniform")
    assert Plan.from_json(plan.to_json()).timing is None
    timed = Plan(plan.groups, plan.kept, plan.budget, plan.rule, plan.dense, plan.slim, TIMING)
    again = Plan.from_json(timed.to_json())
    assert again.timing == TIMING
    assert again.to_json() == timed.to_json()
