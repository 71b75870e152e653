import json
from dataclasses import asdict

from slimprune.budget import Budget, Candidate, LatencyRecord, Plan, Rounding, TimedNetwork, allocate
from tests.networks import named

ROW = {"dense_ms": 10.0, "slim_ms": 5.0, "speedup": 2.0, "interval": [1.6, 2.5], "pairs": 48}
TIMING = LatencyRecord(
    "onnxruntime", "onnxruntime 1.20", "cpu (a)", 2, 8,
    Rounding(16, "pays", (Candidate(8, 90, 5), Candidate(16, 100, 5))),
    (TimedNetwork(0.4, {}), TimedNetwork(0.45, ROW)), 1,
)  # fmt: skip


def test_what_was_measured_survives_json():
    assert LatencyRecord.from_json(json.loads(json.dumps(asdict(TIMING)))) == TIMING
    plain = LatencyRecord("torch", "torch 2", "cpu (a)", 1, 1)
    assert LatencyRecord.from_json(json.loads(json.dumps(asdict(plain)))) == plain
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
